"""Commands in the subnet of a container group: each in a group of its own that runs once.

It has no address. What it printed and how it ended are read through Azure, so nobody outside has to
reach the network.
"""

from __future__ import annotations

import contextlib
import re
import secrets as randomness
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.deploy.az import Az, AzError
from engine.deploy.targets.aci import document as documents
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.aci.live import live_of
from engine.deploy.targets.aci.network import VERIFYING_CPU, VERIFYING_MEMORY_GB
from engine.deploy.targets.aci.shape import restorable
from engine.deploy.targets.aci.target import file_for
from engine.deploy.targets.base import Document, Ended, Places, images
from engine.errors import EngineError

CONTAINER = "verification"
FIRST_POLL_SECONDS, POLL_SECONDS = 0.5, 3.0
_DELETE_SECONDS = 900.0
_LONGEST = 63 - len("-verify-123abc")


class InsideSubnet:
    """See ``engine.deploy.targets.base.Inside``."""

    def __init__(self, az: Az, environment: GroupEnvironment, places: Places) -> None:
        self._az = az
        self._environment = environment
        self._prefix = f"{environment.name[:_LONGEST]}-verify-"
        self._root = (
            f"/subscriptions/{places.subscription}/resourceGroups/{environment.resource_group}"
            "/providers/Microsoft.ContainerInstance/containerGroups"
        )

    def run(
        self,
        command: Sequence[str],
        secrets: Mapping[str, str],
        seconds: float,
        watch: Callable[[str], None],
    ) -> Ended:
        """See ``Inside``: with image, identity and subnet of the group that is there."""
        group = self._get(self._environment.name)
        if group is None:
            raise EngineError(
                f"container group {self._environment.name} is not there",
                "`.venv/bin/python -m engine.deploy up ENV` deploys it",
            )
        self._delete(self._names(ended=True))
        name = f"{self._prefix}{randomness.token_hex(3)}"
        document = _document(name, restorable(group), command, secrets)
        try:
            with file_for(documents.file_for_az(document)) as (path, stdin):
                self._az.change(
                    *("container", "create", *self._place(name), "--file", path, "--no-wait"),
                    *("--location", self._environment.region),
                    stdin=stdin,
                    patience=0,
                )
            return self._ended(name, time.monotonic() + seconds, watch)
        finally:
            self._delete([name])

    def clear(self) -> tuple[str, ...]:
        """See ``Inside``."""
        left = self._names(ended=False)
        self._delete(left)
        return tuple(left)

    def _ended(self, name: str, give_up: float, watch: Callable[[str], None]) -> Ended:
        pause = FIRST_POLL_SECONDS
        while True:
            group = self._get(name)
            state = _state(group) if group else {}
            if state.get("state") == "Terminated":
                place = (*self._place(name), "--container-name", CONTAINER)
                lines = tuple(self._az.lines("container", "logs", *place))
                return Ended(int(state.get("exitCode") or 0), lines)
            live = live_of(group) if group else None
            if live is not None and live.failure:
                raise EngineError(f"container group {name} cannot run: {live.failure}", _FIX)
            said = live.state if live is not None else "not shown yet"
            if time.monotonic() >= give_up:
                raise EngineError(f"container group {name} did not come to its end: {said}", _FIX)
            watch(said)
            time.sleep(pause)
            pause = min(2 * pause, POLL_SECONDS)

    def _names(self, *, ended: bool) -> list[str]:
        """Groups that commands were run in; ``ended``: only those that have come to their end."""
        pattern = re.compile(re.escape(self._prefix) + "[0-9a-f]{6}", re.IGNORECASE)
        found: list[str] = []
        page: str | None = f"{self._root}?api-version={documents.API_VERSION}"
        while page:
            answer = self._az.json("rest", "--method", "get", "--url", page)
            found += [str(each["name"]) for each in answer["value"]]
            page = answer.get("nextLink")
        mine = [name for name in found if pattern.fullmatch(name)]
        return [name for name in mine if not ended or self._has_ended(name)]

    def _has_ended(self, name: str) -> bool:
        group = self._get(name)
        return group is not None and _state(group).get("state") == "Terminated"

    def _delete(self, names: Sequence[str]) -> None:
        for name in names:
            command = ("container", "delete", *self._place(name), "--yes")
            # One that is left bills until the next command, `recover` or `down` removes it.
            with contextlib.suppress(AzError):
                self._az.change(*command, limit=_DELETE_SECONDS)

    def _place(self, name: str) -> tuple[str, ...]:
        return ("--resource-group", self._environment.resource_group, "--name", name)

    def _get(self, name: str) -> dict[str, Any] | None:
        url = f"{self._root}/{name}?api-version={documents.API_VERSION}"
        found: dict[str, Any] | None = self._az.find("rest", "--method", "get", "--url", url)
        return found


_FIX = (
    "`.venv/bin/python -m engine.deploy doctor ENV` looks at the subnet: without a NAT gateway no "
    "image can be pulled"
)


def _document(
    name: str, group: Document, command: Sequence[str], secrets: Mapping[str, str]
) -> Document:
    """A group that runs a command once, where and as what another group runs."""
    properties = group["properties"]
    size = {"cpu": VERIFYING_CPU, "memoryInGB": VERIFYING_MEMORY_GB}
    container = {
        "image": next(images(group)),
        "command": list(command),
        "resources": {"requests": size, "limits": dict(size)},
        "environmentVariables": [
            {"name": key, "secureValue": value} for key, value in secrets.items()
        ],
    }
    same = {key: properties[key] for key in ("imageRegistryCredentials", "subnetIds")}
    return {
        "apiVersion": documents.API_VERSION,
        "name": name,
        "location": group["location"],
        "identity": group["identity"],
        "properties": {
            "osType": "Linux",
            "restartPolicy": "Never",
            **same,
            "containers": [{"name": CONTAINER, "properties": container}],
        },
    }


def _state(group: Mapping[str, Any]) -> Mapping[str, Any]:
    view = group["properties"]["containers"][0]["properties"].get("instanceView") or {}
    state: Mapping[str, Any] = view.get("currentState") or {}
    return state
