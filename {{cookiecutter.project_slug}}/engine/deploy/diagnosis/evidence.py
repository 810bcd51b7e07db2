"""Everything that a diagnosis may look at, in one shape, wherever it came from.

All of it may be missing: what cannot be read is None or empty, and no rule guesses from that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from engine.deploy.finding import Finding


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a group or container; ``warning``: Azure says that it is bad."""

    name: str
    message: str
    warning: bool = False
    count: int = 1
    first: datetime | None = None
    last: datetime | None = None

    def __str__(self) -> str:
        times = f" ({self.count} times)" if self.count > 1 else ""
        return f"event {self.name}{times}: {self.message}"


@dataclass(frozen=True, slots=True)
class State:
    """A container's state: Waiting, Running or Terminated; ``detail`` is Azure's reason."""

    name: str
    detail: str = ""
    exit_code: int | None = None
    started: datetime | None = None
    finished: datetime | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a group; ``variables`` holds plain ones only, secrets by name in ``names``."""

    name: str
    image: str = ""
    ports: tuple[int, ...] = ()
    probe_ports: tuple[int, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    memory_gb: float | None = None
    gpu: bool = False
    current: State | None = None
    previous: State | None = None
    restarts: int = 0
    events: tuple[Event, ...] = ()

    @property
    def ends(self) -> tuple[State, ...]:
        """How it ended, the last time first; empty if it never did."""
        states = (self.current, self.previous)
        return tuple(each for each in states if each is not None and each.exit_code is not None)


@dataclass(frozen=True, slots=True)
class Group:
    """A container group. ``credentials`` maps a registry's server to the identity that pulls,
    ``edge_log`` has the errors of what ends HTTPS.
    """

    name: str
    provisioning: str = ""
    state: str = ""
    containers: tuple[Container, ...] = ()
    events: tuple[Event, ...] = ()
    identities: tuple[str, ...] = ()
    credentials: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[int, ...] = ()
    public: bool = True
    fqdn: str | None = None
    edge_log: tuple[str, ...] = ()

    @property
    def all_events(self) -> tuple[Event, ...]:
        """Those of the group and of its containers."""
        return (*self.events, *(event for each in self.containers for event in each.events))


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry. ``roles`` are the ids of the pulling identity's roles on it; None where they
    could not be read. ``has_image`` and ``image_bytes`` (compressed) likewise.
    """

    name: str
    abac: bool | None = None
    roles: frozenset[str] | None = None
    has_image: bool | None = None
    image_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something refused: by Azure (``code``), by az, by GitHub, or seen on the resource."""

    message: str
    code: str = ""

    def __str__(self) -> str:
        named = self.code and self.code not in self.message
        return f"{self.code}: {self.message}" if named else self.message


@dataclass(frozen=True, slots=True)
class Readiness:
    """What the service's own address answers. ``state`` and ``detail`` are the service's words,
    or why there is no answer.
    """

    kind: Literal["ready", "not ready", "unreachable"]
    state: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A rollout without an end; ``silent_seconds`` since its last sign of life, None: unknown."""

    rollout: str
    by: str = ""
    silent_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All there is. ``deployed`` is None where it is unknown whether anything is; ``unseen`` names
    what could not be looked at; ``outside`` is what only a client sees, found already.
    """

    target: str | None = None
    stage: str = "ENV"
    deployed: bool | None = None
    group: Group | None = None
    logs: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    registry: Registry | None = None
    readiness: Readiness | None = None
    unfinished: Unfinished | None = None
    missing_secrets: tuple[str, ...] = ()
    gpu: str = "none"
    unregistered: tuple[str, ...] = ()
    stopped: bool = False
    unseen: tuple[str, ...] = ()
    outside: tuple[Finding, ...] = ()
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def texts(self) -> tuple[str, ...]:
        """Every sentence that something refused or warned with, each in one line."""
        events = self.group.all_events if self.group else ()
        texts = (
            *(str(problem) for problem in self.problems),
            *(str(event) for event in events if event.warning),
            *(each for container in self.containers for each in _details(container)),
        )
        return tuple(" ".join(text.split()) for text in texts)

    @property
    def containers(self) -> tuple[Container, ...]:
        """Those of the group."""
        return self.group.containers if self.group else ()


def _details(container: Container) -> tuple[str, ...]:
    states = (container.current, container.previous)
    return tuple(
        f"container {container.name} is {each.name}: {each.detail}"
        for each in states
        if each is not None and each.detail
    )
