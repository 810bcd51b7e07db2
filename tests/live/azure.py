"""Asks Azure through `az rest`, as the deploy does, and keeps the answers apart from refusals."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
GROUPS, DEPLOYMENTS = "2023-05-01", "2025-04-01"
"""Versions of the API that the deploy uses."""
POLL_SECONDS = 1.0
CHANGE_SECONDS = 300.0


class Refused(Exception):
    """Azure, or `az`, refused; ``code`` is Azure's, where it gave one."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        found = re.search(r'"code": ?"([A-Za-z]+)"|\(([A-Za-z]+)\)', text)
        self.code = (found[1] or found[2]) if found else ""
        self.missing = "NotFound" in text or "Not Found" in text


@dataclass
class Azure:
    """One resource group of a subscription.

    Attributes:
        environment: of the processes of `az`.
        subscription: its id, without a path.
        group: the name of the resource group.
    """

    environment: Mapping[str, str]
    subscription: str
    group: str
    clock: Callable[[], float] = field(default=time.monotonic)

    @property
    def path(self) -> str:
        """The identifier of the resource group."""
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"

    def az(self, *arguments: str, body: Any = None) -> Any:
        """Run `az`; what it prints as JSON, None where it prints nothing.

        Raises:
            Refused: it failed.
        """
        done = subprocess.run(
            ["az", *arguments, "--output", "json"],
            env=dict(self.environment),
            input=json.dumps(body) if body is not None else "",
            capture_output=True,
            text=True,
            timeout=CHANGE_SECONDS,
            check=False,
        )
        if done.returncode:
            raise Refused(done.stderr)
        return json.loads(done.stdout) if done.stdout.strip() else None

    def rest(self, method: str, path: str, version: str, body: Any = None) -> Any:
        """One request to ARM; see ``az``. A path may be the address of a further page."""
        url = path if "api-version=" in path else f"{path}?api-version={version}"
        given = ("--body", "@-") if body is not None else ()
        return self.az("rest", "--method", method, "--url", url, *given, body=body)

    def container(self, name: str) -> str:
        """The identifier of a container group."""
        return f"{self.path}/providers/Microsoft.ContainerInstance/containerGroups/{name}"

    def show(self, name: str) -> Json | None:
        """A container group; None where there is none."""
        try:
            found: Json = self.rest("get", self.container(name), GROUPS)
        except Refused as error:
            if error.missing:
                return None
            raise
        return found

    def put(self, name: str, document: Json) -> None:
        """Ask for a container group; returns when Azure has accepted it."""
        self.rest("put", self.container(name), GROUPS, document)

    def delete(self, name: str) -> None:
        """Ask for its end; returns when Azure has accepted it."""
        self.rest("delete", self.container(name), GROUPS)

    def until(self, name: str, wanted: Callable[[Json | None], bool]) -> tuple[Json | None, float]:
        """Look until it is so; what was seen, and after how many seconds.

        Raises:
            TimeoutError: it does not become so.
        """
        began = self.clock()
        while not wanted(shown := self.show(name)):
            if self.clock() - began > CHANGE_SECONDS:
                raise TimeoutError(f"{name} stays as it is: {json.dumps(shown)[:500]}")
            time.sleep(POLL_SECONDS)
        return shown, self.clock() - began

    def running(self, name: str) -> Json:
        """The group, once Azure is done and its container runs."""
        shown, _ = self.until(name, _runs)
        assert shown is not None
        return shown


def view(shown: Json) -> Json:
    """The instance view of a group's only container; empty where there is none."""
    found: Json = shown["properties"]["containers"][0]["properties"].get("instanceView") or {}
    return found


def began(shown: Json) -> tuple[Any, Any]:
    """What changes with every start of a container."""
    found = view(shown)
    return (found.get("currentState") or {}).get("startTime"), found.get("restartCount")


def _runs(shown: Json | None) -> bool:
    if shown is None or shown["properties"].get("provisioningState") != "Succeeded":
        return False
    return (view(shown).get("currentState") or {}).get("state") == "Running"
