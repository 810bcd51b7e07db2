"""The container groups of a fleet: asked for, made, started, stopped and deleted by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from engine.deploy.az import Az, AzError
from engine.deploy.config import names
from engine.deploy.diagnosis.evidence import Group
from engine.deploy.targets.aci import document as documents
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.aci.evidence import read_group
from engine.deploy.targets.aci.fleet.document import COLOURS
from engine.deploy.targets.aci.target import file_for, with_edge_log
from engine.deploy.targets.base import Check, Document, Places

_AT_ONCE = 8
_DELETE_SECONDS = 900.0
Json = dict[str, Any]


class Groups:
    """The groups of one environment."""

    def __init__(self, az: Az, environment: GroupEnvironment, places: Places) -> None:
        self._az = az
        self._environment = environment
        self._root = (
            f"/subscriptions/{places.subscription}/resourceGroups/{environment.resource_group}"
            "/providers/Microsoft.ContainerInstance/containerGroups"
        )
        self._mine = re.compile(
            rf"{re.escape(environment.name)}-({'|'.join(COLOURS)})-([1-9]\d*)", re.IGNORECASE
        )
        self._sent: dict[str, str] = {}

    def get(self, wanted: Iterable[str]) -> dict[str, Json | None]:
        """The groups of these names with their instance views; None: not there."""
        listed = list(wanted)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(zip(listed, pool.map(self._get, listed), strict=True))

    def coloured(self) -> dict[str, list[str]]:
        """The names of all groups that are there, by colour; those of a failed rollout too."""
        found: dict[str, list[str]] = {colour: [] for colour in COLOURS}
        page: str | None = f"{self._root}?api-version={documents.API_VERSION}"
        while page:
            answer = self._az.json("rest", "--method", "get", "--url", page)
            for item in answer["value"]:
                if known := self._mine.fullmatch(str(item["name"])):
                    found[known[1].lower()].append(str(item["name"]))
            page = answer.get("nextLink")
        return found

    def put(self, name: str, document: Document, check: Check) -> None:
        """Ask for a group; nothing if this run has asked for the same before. The document has
        the values of its secrets.
        """
        text = documents.file_for_az(document)
        if self._sent.get(name) == text:
            return
        with file_for(text) as (path, stdin):
            self._az.change(
                *("container", "create", *self._place(name)),
                *("--location", self._environment.region, "--file", path, "--no-wait"),
                stdin=stdin,
                before_retry=check,
                patience=0,
            )
        self._sent[name] = text

    def delete(self, doomed: Iterable[str]) -> None:
        """Remove groups and return when they are gone; those that are not there count as such."""
        for name in doomed:
            self._sent.pop(name, None)
            command = ("container", "delete", *self._place(name), "--yes")
            try:
                self._az.change(*command, limit=_DELETE_SECONDS, patience=0)
            except AzError as error:
                if not error.missing:
                    raise

    def start(self, stopped: Iterable[str]) -> None:
        """Start groups."""
        for name in stopped:
            self._az.change("container", "start", *self._place(name))

    def stop(self, running: Iterable[str]) -> None:
        """Stop groups."""
        for name in running:
            self._az.change("container", "stop", *self._place(name))

    def logs(self, name: str, *, follow: bool) -> Iterator[str]:
        """The lines of a group's log."""
        place = (*self._place(name), "--container-name", names.CONTAINER)
        following = ("--follow",) if follow else ()
        yield from self._az.lines("container", "logs", *place, *following)

    def show(self, name: str) -> Group | None:
        """A group with its events, for a diagnosis; None: not there."""
        shown = self._az.find("container", "show", *self._place(name))
        return with_edge_log(self._az, self._place(name), read_group(shown)) if shown else None

    def _place(self, name: str) -> tuple[str, ...]:
        return ("--resource-group", self._environment.resource_group, "--name", name)

    def _get(self, name: str) -> Json | None:
        url = f"{self._root}/{name}?api-version={documents.API_VERSION}"
        found: Json | None = self._az.find("rest", "--method", "get", "--url", url)
        return found
