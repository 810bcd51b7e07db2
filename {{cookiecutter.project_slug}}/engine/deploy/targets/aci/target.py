"""Azure Container Instances: one container group, replaced in place or by delete and create.

Documents with secrets reach `az` through its standard input, so that no file and no argument list
ever holds one.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from engine.deploy.az import Az, AzError
from engine.deploy.config import names
from engine.deploy.diagnosis.evidence import Group
from engine.deploy.finding import Finding
from engine.deploy.targets.aci import document as documents
from engine.deploy.targets.aci import network
from engine.deploy.targets.aci.certificates import log_lines
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.aci.evidence import read_group
from engine.deploy.targets.aci.live import live_of
from engine.deploy.targets.aci.preflight import findings
from engine.deploy.targets.aci.shape import (
    blockers,
    config_digest,
    differences,
    restorable,
    unrestorable,
)
from engine.deploy.targets.base import Check, Document, Live, Places, Release

_STDIN = "/dev/stdin"
_DELETE_SECONDS = 900.0


class Former(Protocol):
    """The fleet that the environment may have been before; see ``fleet.target.Fleet``."""

    def serves(self) -> str | None:
        """What of it serves, as a clause for people; None: nothing, or it cannot be seen."""

    def give_way(self) -> tuple[str, ...]:
        """Lead the shared name to the single group, and remove the other groups; their names."""


class ContainerInstances:
    """The container group of one environment; see ``engine.deploy.targets.base.Target``.

    ``former`` is the fleet that goes when a release of the group was kept; None: there was none.
    """

    serves_on = False
    # Azure ends the creation of a container group after 30 minutes, and may refuse changes until
    # then. Azure docs: container states; troubleshooting, ContainerGroupTransitioning.
    busy_seconds = 1860.0

    secret_names = staticmethod(documents.secret_names)
    differences = staticmethod(differences)
    blockers = staticmethod(blockers)

    def __init__(
        self,
        az: Az,
        environment: GroupEnvironment,
        places: Places,
        former: Former | None = None,
    ) -> None:
        self.what = f"container group {environment.name}"
        self._former = former
        self._az = az
        self._environment = environment
        self._places = places
        self._place = ("--resource-group", environment.resource_group, "--name", environment.name)
        self._url = (
            f"/subscriptions/{places.subscription}/resourceGroups/{environment.resource_group}"
            f"/providers/Microsoft.ContainerInstance/containerGroups/{environment.name}"
            f"?api-version={documents.API_VERSION}"
        )
        self._address: str | None = None

    def document(self, release: Release, tags: Mapping[str, str]) -> Document:
        """See ``Target``; the document carries the digest of what was configured.

        It has the shape in which a live group is recorded, so that what a rollback sends is to the
        letter what was sent before.
        """
        document = restorable(documents.render(self._environment, release, self._places, tags))
        digest = config_digest(document)
        return self.with_tags(document, {**document["tags"], names.TAG_CONFIG: digest})

    def tags(self, document: Document) -> dict[str, str]:
        """See ``Target``."""
        return dict(document["tags"])

    def with_tags(self, document: Document, tags: Mapping[str, str]) -> Document:
        """See ``Target``."""
        return {**document, "tags": dict(tags)}

    def findings(self, release: Release) -> list[Finding]:
        """See ``Target``."""
        group = self._get()
        found = findings(self._az, self._environment, self._places, group)
        storage = names.storage_account(self._places.subscription, self._environment.resource_group)
        lost = unrestorable(group, self._places.workspace, storage) if group else ()
        if lost:
            found.append(
                Finding(
                    "not-restorable",
                    f"{self.what} has settings that could not be restored after a failed rollout: "
                    f"{', '.join(lost)}",
                    "it was not made by this project: give it another name, or delete it",
                )
            )
        return found

    def read(self) -> Live | None:
        """See ``Target``."""
        group = self._get()
        if group is None:
            return None
        live = live_of(group)
        self._address = live.address
        return live

    def apply(self, document: Document, secrets: Mapping[str, str], check: Check) -> None:
        """See ``Target``."""
        # A record of an earlier version of this program may hold what Azure refuses.
        whole = documents.with_secrets(restorable(document), secrets)
        with file_for(documents.file_for_az(whole)) as (path, stdin):
            self._az.change(
                *("container", "create", *self._place, "--location", self._environment.region),
                *("--file", path, "--no-wait"),
                stdin=stdin,
                before_retry=check,
                patience=0,
            )

    def candidate_addresses(self) -> tuple[str, ...]:
        """See ``Target``: the group has one address only."""
        if self._address is None:
            self.read()
        return () if self._address is None else (self._address,)

    def candidate_headers(self) -> Mapping[str, str]:
        """See ``Target``: the address is its own."""
        return {}

    def candidate_authority(self) -> None:
        """See ``Target``."""

    def client_headers(self) -> Mapping[str, str]:
        """See ``Target``: nothing."""
        return {}

    def keep(self, tags: Mapping[str, str]) -> None:
        """See ``Target``."""
        self.mark(tags)

    def restore(self, previous: Document, secrets: Mapping[str, str], check: Check) -> None:
        """See ``Target``."""
        self.apply(previous, secrets, check)

    def mark(self, tags: Mapping[str, str]) -> None:
        """See ``Target``."""
        self._az.change(
            *("rest", "--method", "patch", "--url", self._url, "--body", "@-"),
            stdin=json.dumps({"tags": dict(tags)}),
        )

    def start(self) -> None:
        """See ``Target``."""
        self._az.change("container", "start", *self._place)

    def stop(self) -> None:
        """See ``Target``."""
        self._az.change("container", "stop", *self._place)

    def retire(self) -> tuple[str, ...]:
        """See ``Target``: what runs beside the group is the fleet of before."""
        return self._former.give_way() if self._former else ()

    def left_running(self) -> str | None:
        """See ``Target``."""
        return self._former.serves() if self._former else None

    def delete(self) -> None:
        """See ``Target``."""
        command = ("container", "delete", *self._place, "--yes")
        self._az.change(*command, limit=_DELETE_SECONDS, patience=0)

    def logs(self, *, follow: bool) -> Iterator[str]:
        """See ``Target``."""
        place = (*self._place, "--container-name", names.CONTAINER)
        following = ("--follow",) if follow else ()
        yield from self._az.lines("container", "logs", *place, *following)

    def evidence(self) -> Group | None:
        """See ``Target``: the group with its instance view."""
        shown = self._az.find("container", "show", *self._place)
        return with_edge_log(self._az, self._place, read_group(shown)) if shown else None

    def billing(self) -> str:
        """See ``Target``."""
        size = f"{self._environment.cpu:g} vCPU, {self._environment.memory_gb:g} GB"
        more = network.bills_on(self._environment)
        return f"{self.what} ({size}) bills by the second while it is not stopped{more}"

    def _get(self) -> Document | None:
        found: Document | None = self._az.find("rest", "--method", "get", "--url", self._url)
        return found


def with_edge_log(az: Az, place: tuple[str, ...], group: Group) -> Group:
    """A group with the errors of what ends HTTPS in it, if there is such a container."""
    if not any(each.name == names.EDGE for each in group.containers):
        return group
    lines: list[str] = []
    with contextlib.suppress(AzError):  # there is no log yet
        lines += az.lines("container", "logs", *place, "--container-name", names.EDGE)
    return replace(group, edge_log=log_lines(lines))


@contextlib.contextmanager
def file_for(document: str) -> Iterator[tuple[str, str | None]]:
    """A path that `az` can read a document from, and what to give it on standard input."""
    if os.path.exists(_STDIN):
        yield _STDIN, document
        return
    # Windows has no such path: a file that only this user can read, removed in any case but a
    # killed process.
    handle, name = tempfile.mkstemp(suffix=".json")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(document)
        yield name, None
    finally:
        Path(name).unlink()
