"""The questions: each changes a container group or deployments, and answers with evidence."""

from __future__ import annotations

import contextlib
import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .azure import DEPLOYMENTS, GROUPS, Azure, Json, Refused, began, view

NAME = "live"
LISTED = 12
MEMBERS = frozenset(
    {"containers", "initContainers", "imageRegistryCredentials", "restartPolicy", "ipAddress"}
    | {"osType", "volumes", "diagnostics", "subnetIds", "dnsConfig", "sku", "priority"}
    | {"encryptionProperties", "extensions", "confidentialComputeProperties"}
    | {"provisioningState", "instanceView"}
)
"""Of a container group's properties in version 2023-05-01."""


PUBLISHED = frozenset({"isCustomProvisioningTimeout", "provisioningTimeoutInSeconds"})
"""Members of newer versions that published answers show: the double shows them too."""


@dataclass
class Asked:
    """Azure, the document that is deployed, and what the questions so far found out."""

    azure: Azure
    document: Json
    answers: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)

    def tagged(self, **tags: str) -> Json:
        """The document with these tags."""
        return {**copy.deepcopy(self.document), "tags": tags}

    def fresh(self, **tags: str) -> Json:
        """The group with these tags, running."""
        _patiently(lambda: self.azure.put(NAME, self.tagged(**tags)))
        self.azure.until(NAME, lambda shown: shown is not None and shown.get("tags") == tags)
        return self.azure.running(NAME)

    def pause(self) -> None:
        """Wait until a look shows what an accepted change did."""
        time.sleep(5 + self.answers.get("stale", 0))


def stale(asked: Asked) -> float:
    """Seconds for which a GET shows what was there before an accepted PUT."""
    asked.fresh(round="one")
    asked.azure.put(NAME, asked.tagged(round="two"))
    _, seconds = asked.azure.until(
        NAME, lambda shown: shown is not None and shown["tags"].get("round") == "two"
    )
    asked.evidence["states"] = list(_states(asked))
    return round(seconds, 1) if seconds > 2.5 else 0.0


def _states(asked: Asked) -> Iterator[tuple[str, str]]:
    """The states that an update passes from now on, with that of the container."""
    last = ("", "")
    until = asked.azure.clock() + 60
    while asked.azure.clock() < until:
        shown = asked.azure.show(NAME)
        if shown is not None:
            container = str((view(shown).get("currentState") or {}).get("state", "no view"))
            now = (str(shown["properties"].get("provisioningState")), container)
            if now != last:
                yield now
            last = now
            if now == ("Succeeded", "Running"):
                return
        time.sleep(0.5)


def states(asked: Asked) -> list[str]:
    """The provisioning states that were seen in the update of the first question."""
    return list(dict.fromkeys(state for state, _ in asked.evidence["states"]))


def view_missing(asked: Asked) -> bool:
    """Whether the instance view was missing in one of them."""
    return any(container == "no view" for _, container in asked.evidence["states"])


def patch(asked: Asked) -> str:
    """What a PATCH of tags does: "replaced", "merged", "restarts" or "refused"."""
    before = asked.fresh(one="1", two="2")
    try:
        asked.azure.rest("patch", asked.azure.container(NAME), GROUPS, {"tags": {"two": "3"}})
    except Refused as error:
        asked.evidence["patch"] = str(error)[:500]
        return "refused"
    shown, _ = asked.azure.until(
        NAME, lambda shown: shown is not None and shown["tags"].get("two") == "3"
    )
    asked.pause()
    after = asked.azure.running(NAME)
    asked.evidence["patch"] = {"before": began(before), "after": began(after)}
    if began(before) != began(after):
        return "restarts"
    assert shown is not None
    return "merged" if "one" in shown["tags"] else "replaced"


def put_restarts(asked: Asked) -> bool:
    """Whether a PUT without a change restarts the container."""
    before = asked.fresh(round="same")
    asked.azure.put(NAME, asked.tagged(round="same"))
    asked.pause()
    return began(before) != began(asked.azure.running(NAME))


def unknown_members(asked: Asked) -> list[str]:
    """Properties in a GET that the version of the API does not have."""
    shown = asked.fresh(round="members")
    found = sorted(set(shown["properties"]) - MEMBERS)
    for each in shown["properties"].get("imageRegistryCredentials") or []:
        known = {"server", "username", "password", "identity", "identityUrl"}
        found += [f"imageRegistryCredentials.{name}" for name in sorted(set(each) - known)]
    asked.evidence["shown"] = shown
    return found


def takes_shown(asked: Asked) -> list[str]:
    """Those of these members that are taken in a PUT, each tried alone."""
    shown, taken = asked.evidence["shown"]["properties"], []
    for name in asked.answers["unknown_members"]:
        if "." in name:
            continue
        document = asked.tagged(round=name)
        document["properties"][name] = shown[name]
        try:
            _patiently(partial(asked.azure.put, NAME, document))
        except Refused as error:
            asked.evidence[f"takes_shown {name}"] = str(error)[:500]
        else:
            taken.append(name)
    return taken


def put_while_creating(asked: Asked) -> str:
    """ "taken", or the code of the refusal, right after another PUT."""
    asked.fresh(round="before")
    asked.azure.put(NAME, asked.tagged(round="first"))
    return _tried(lambda: asked.azure.put(NAME, asked.tagged(round="second")))


def delete_while_creating(asked: Asked) -> str:
    """The same for a DELETE, while a container is made for the first time."""
    _gone(asked)
    asked.azure.put(NAME, asked.tagged(round="new"))
    return _tried(lambda: asked.azure.delete(NAME))


def shown_after_delete(asked: Asked) -> float:
    """Seconds for which a GET shows a group whose deletion was accepted."""
    asked.fresh(round="last")
    _patiently(lambda: asked.azure.delete(NAME))
    _, seconds = asked.azure.until(NAME, lambda shown: shown is None)
    return round(seconds, 1)


def _gone(asked: Asked) -> None:
    if asked.azure.show(NAME) is not None:
        _patiently(lambda: asked.azure.delete(NAME))
        asked.azure.until(NAME, lambda shown: shown is None)


def _tried(act: Callable[[], None]) -> str:
    try:
        act()
    except Refused as error:
        return error.code or str(error)[:200]
    return "taken"


def _patiently(act: Callable[[], None]) -> None:
    """Ask again as long as Azure refuses because of an earlier change."""
    for _ in range(60):
        try:
            act()
        except Refused as error:
            if "ransition" not in str(error):
                raise
            time.sleep(5)
        else:
            return
    raise TimeoutError("Azure is still busy")


def ids(asked: Asked) -> str:
    """How the id of the group comes back: "as sent", "lower" or "upper" or "otherwise"."""
    _patiently(lambda: asked.azure.put(NAME, asked.tagged(round="ids")))
    shown, _ = asked.azure.until(NAME, lambda shown: shown is not None)
    assert shown is not None
    sent, found = asked.azure.container(NAME), str(shown["id"])
    asked.evidence["id"], asked.evidence["location"] = found, shown["location"]
    forms = {sent: "as sent", sent.lower(): "lower", sent.upper(): "upper"}
    return forms.get(found, "otherwise")


def location(asked: Asked) -> str:
    """How the location comes back: "plain", or as it is for people."""
    shown = str(asked.evidence["location"])
    return "plain" if shown == shown.lower().replace(" ", "") else shown


def deployments_known_at_once(asked: Asked) -> int:
    """Of so many deployments, how many the list knew when the PUT was answered."""
    known = 0
    for number in range(LISTED):
        asked.azure.rest("put", _deployment(asked, number), DEPLOYMENTS, _record(number))
        known += any(each["name"] == f"live-{number}" for each in _listed(asked)[0])
    return known


def deployments_with_outputs(asked: Asked) -> bool:
    """Whether the list shows the outputs of deployments that are done."""
    for number in range(LISTED):
        while _state(asked, number) not in ("Succeeded", "Failed"):
            time.sleep(1)
    return all(each["properties"].get("outputs") for each in _listed(asked)[0])


def deployments_pages(asked: Asked) -> int:
    """In how many pages the list comes."""
    return _listed(asked)[1]


def _deployment(asked: Asked, number: int) -> str:
    return f"{asked.azure.path}/providers/Microsoft.Resources/deployments/live-{number}"


def _record(number: int) -> Json:
    schema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
    value = {"type": "string", "value": json.dumps({"number": number})}
    template = {
        **{"$schema": schema, "contentVersion": "1.0.0.0", "resources": []},
        "outputs": {"record": value},
    }
    return {"properties": {"mode": "Incremental", "template": template}}


def _state(asked: Asked, number: int) -> str:
    shown = asked.azure.rest("get", _deployment(asked, number), DEPLOYMENTS)
    return str(shown["properties"]["provisioningState"])


def _listed(asked: Asked) -> tuple[list[Json], int]:
    found: list[Json] = []
    page: str | None = f"{asked.azure.path}/providers/Microsoft.Resources/deployments"
    pages = 0
    while page:
        answer = asked.azure.rest("get", page, DEPLOYMENTS)
        found += answer["value"]
        page, pages = answer.get("nextLink"), pages + 1
    return found, pages


QUESTIONS: tuple[Callable[[Asked], Any], ...] = (
    *(stale, states, view_missing, patch, put_restarts, unknown_members, takes_shown),
    *(put_while_creating, delete_while_creating, shown_after_delete, ids, location),
    *(deployments_known_at_once, deployments_with_outputs, deployments_pages),
)


def ask(asked: Asked, seconds: float, say: Callable[[str], None]) -> Json:
    """Put all questions; the answers, the evidence, and the habits to set in the double.

    A question that cannot be answered has its error as evidence and does not stop the others.
    """
    until = asked.azure.clock() + seconds
    for question in QUESTIONS:
        name = question.__name__
        if asked.azure.clock() > until:
            asked.evidence[f"{name}: not asked"] = f"{seconds:.0f} s are over"
            continue
        try:
            asked.answers[name] = question(asked)
            say(f"{name}: {asked.answers[name]}")
        except (Refused, TimeoutError, KeyError) as error:
            asked.evidence[f"{name}: failed"] = f"{type(error).__name__}: {error}"[:2000]
            say(f"{name}: not answered, {type(error).__name__}")
            with contextlib.suppress(Refused, TimeoutError):
                _gone(asked)
    return {
        "answers": asked.answers,
        "habits": habits(asked.answers),
        "evidence": asked.evidence,
    }


def habits(answers: Json) -> Json:
    """What to set in the double (`aci.habits`), as far as it was answered."""
    made: Json = {}
    if "stale" in answers:
        made["stale_seconds"] = answers["stale"]
    if "patch" in answers:
        made["patch"] = answers["patch"]
    if "unknown_members" in answers:
        plain = {name for name in answers["unknown_members"] if "." not in name}
        made["unknown"] = bool(plain - PUBLISHED)
        made["delegated"] = any("isDelegated" in name for name in answers["unknown_members"])
    if answers.get("unknown_members") and "takes_shown" in answers:
        made["takes_shown"] = bool(answers["takes_shown"])
    if "delete_while_creating" in answers:
        taken = answers["delete_while_creating"] == "taken"
        made["delete_while_creating"] = "taken" if taken else "refused"
    return made
