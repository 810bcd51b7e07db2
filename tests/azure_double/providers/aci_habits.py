"""What Azure does with container groups and does not document: either behaviour can be set.

The defaults are what published answers show; where there are none, what needs no time.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field, fields
from typing import Any

from ..arm.errors import ArmError

Json = dict[str, Any]
_UNKNOWN = "isOfTomorrow"


@dataclass
class Habits:
    """How Azure behaves.

    Attributes:
        delegated: imageRegistryCredentials show ``isDelegatedIdentity`` (three published answers).
        unknown: answers show members that the version of the API does not know, at every depth;
            ``isCreatedFromStandbyPool`` came so.
        takes_shown: such members are ignored in a PUT; else they are refused.
        patch: tags are "replaced" or "merged", the group also "restarts", or the PATCH is
            "refused" (azure-rest-api-specs issue 29821).
        delete_while_creating: "taken" or "refused" (docs: ContainerGroupTransitioning).
        update_with_share: of a group that mounts one: "taken" or "refused" (azure-docs pull request
            89738 says that it might not work).
        stale_seconds: after a change a GET shows for so long what was there before.
        first_state, first_seconds: after an update the state is shown so for so long, with the
            containers of before.
    """

    delegated: bool = True
    unknown: bool = True
    takes_shown: bool = False
    patch: str = "replaced"
    delete_while_creating: str = "taken"
    update_with_share: str = "taken"
    stale_seconds: float = 0
    first_state: str = "Accepted"
    first_seconds: float = 0
    _seen: dict[str, tuple[float, Json | None, bool]] = field(default_factory=dict)

    def change(self, values: Json) -> Json:
        """Set some of them by name; answers with all.

        Raises:
            ValueError: there is no such habit.
        """
        names = {each.name for each in fields(self)} - {"_seen"}
        if unknown := set(values) - names:
            raise ValueError(f"no habit {sorted(unknown)}; there are {sorted(names)}")
        for name, value in values.items():
            setattr(self, name, value)
        return {name: getattr(self, name) for name in sorted(names)}

    def changed(self, key: str, before: Json | None, *, update: bool = False) -> None:
        """A group changes now, its containers too if it is an ``update``; ``before`` is what a GET
        showed of it.
        """
        self._seen[key] = (time.monotonic(), copy.deepcopy(before), update)

    def seen(self, key: str, now: Json | None) -> Json | None:
        """What a GET shows of a group that is ``now`` so; None: there is none."""
        changed, before, update = self._seen.get(key, (float("-inf"), None, False))
        age = time.monotonic() - changed
        if age < self.stale_seconds:
            return self.dressed(before)
        if update and now and before and age < self.first_seconds:
            now["properties"]["provisioningState"] = self.first_state
            pairs = zip(
                [now, *now["properties"]["containers"]],
                [before, *before["properties"]["containers"]],
                strict=True,
            )
            for new, old in pairs:
                if view := old["properties"].get("instanceView"):
                    new["properties"]["instanceView"] = view
        return self.dressed(now)

    def dressed(self, shown: Json | None) -> Json | None:
        """An answer with members that nobody set."""
        if shown is None:
            return None
        shown = copy.deepcopy(shown)
        properties = shown["properties"]
        if self.delegated:
            for each in properties.get("imageRegistryCredentials") or []:
                each["isDelegatedIdentity"] = False
        if self.unknown:
            properties["isCreatedFromStandbyPool"] = False
            places = [properties, properties.get("ipAddress"), shown.get("identity")]
            places += [each["properties"] for each in properties["containers"]]
            for each in filter(None, places):
                each[_UNKNOWN] = {"known": "later"}
        return shown

    def undressed(self, sent: Json) -> Json:
        """A body without the members of ``dressed``, where Azure ignores them."""
        return _without(sent) if self.takes_shown else sent

    def check_update(self, sent: Json) -> None:
        """Refuse the update of a group that was made of this document.

        Raises:
            ArmError: 400, if that is the habit.
        """
        if self.update_with_share == "refused" and sent["properties"].get("volumes"):
            raise ArmError(
                400, "UpdateNotSupported", "A container group with a file share is not updated."
            )

    def check_patch(self) -> None:
        """Refuse a PATCH of tags.

        Raises:
            ArmError: 400, if that is the habit.
        """
        if self.patch == "refused":
            raise ArmError(
                400, "InvalidRequestContent", "The workspace key of the container group is missing."
            )


def _without(value: Any) -> Any:
    if isinstance(value, list):
        return [_without(item) for item in value]
    if isinstance(value, dict):
        names = (_UNKNOWN, "isDelegatedIdentity", "isCreatedFromStandbyPool")
        return {name: _without(item) for name, item in value.items() if name not in names}
    return value
