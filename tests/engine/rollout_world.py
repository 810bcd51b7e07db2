"""Azure in memory, for the tests of the rollout: one resource, one journal, one clock.

Every operation passes ``World.operation`` before and after it takes effect; there a test can end
the process, fail the operation, or let another deploy run.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.client.failures import WrongRelease
from engine.deploy.az_error import AzError, Problem
from engine.deploy.config import names
from engine.deploy.config.environment import Rollout as Limits
from engine.deploy.finding import Finding
from engine.deploy.journal import KEPT, RESTORED, Record
from engine.deploy.rollout import marks
from engine.deploy.rollout.guard import Guard
from engine.deploy.rollout.site import NotUp, Site
from engine.deploy.say import Say
from engine.deploy.targets.base import Check, Document, Live, Release
from engine.errors import EngineError

GOOD, CRASHES, NEVER_READY, WRONG_MODEL, SLOW = "good", "crashes", "unready", "wrong", "slow"
BEFORE_IMAGE = "before"
FIXED = ("cpu",)
"""What this Azure cannot change in place."""


class Killed(BaseException):
    """The process is gone: no handler of its own may see this."""


@dataclass
class Group:
    """What is in Azure: a document with the values of its secrets."""

    document: Document
    secrets: dict[str, str]
    stopped: bool = False
    started: float = field(default=0.0, compare=False)


@dataclass
class World:
    """Azure, and the time. ``hook`` is called with "before NAME" and "after NAME".

    ``sick`` images do not become ready any more; the first ``stale`` looks after a change show a
    container that crashed, which was there before it. While Azure is ``busy`` with what crashes,
    nothing settles.

    What Azure does not document can be set. ``lag``: so many seconds a look shows what was there
    before the last change. ``patch``: a change of tags "replaces" them, "merges" them, also
    "restarts" the container, or is "refused". ``creating``: so many seconds after a change Azure
    refuses others and nothing settles, which ``hidden_state`` does not show. ``former``: so long
    the container of before answers.
    """

    group: Group | None = None
    records: dict[str, Record] = field(default_factory=dict)
    signs: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    log: list[str] = field(default_factory=list)
    applied: list[tuple[str, str]] = field(default_factory=list)
    sick: set[str] = field(default_factory=set)
    stale: int = 0
    busy: bool = False
    lag: float = 0
    patch: str = "replaces"
    creating: float = 0
    former: float = 0
    hidden_state: bool = False
    changed: float = -1e9
    before: Group | None = None
    put: float = -1e9
    replaced: Group | None = None
    hook: Callable[[str], None] = lambda _: None

    def operation(self, name: str, act: Callable[[], Any]) -> Any:
        """One request to Azure."""
        self.hook(f"before {name}")
        self.log.append(name)
        self.seconds += 1
        result = act()
        self.hook(f"after {name}")
        return result

    def change(self, act: Callable[[], Any]) -> None:
        """Change the group, and remember what was there before."""
        before = copy.deepcopy(self.group)
        act()
        self.before, self.changed = before, self.seconds

    def shown(self) -> Group | None:
        """What a look at Azure shows."""
        stale = self.seconds < self.changed + self.lag
        return copy.deepcopy(self.before if stale else self.group)

    def answering(self) -> Group | None:
        """What answers to the clients."""
        return self.replaced if self.replaced and self.within(self.former) else self.group

    def within(self, seconds: float) -> bool:
        """Whether the container was asked for so recently."""
        return self.seconds < self.put + seconds

    def changes(self) -> list[str]:
        """The requests so far that changed something."""
        return [name for name in self.log if name not in ("read", "journal", "record", "signs")]


class MemoryClock:
    """The world's time; sleeping costs nothing."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> datetime:
        return datetime(2026, 11, 20, tzinfo=UTC) + timedelta(seconds=self._world.seconds)

    def monotonic(self) -> float:
        return self._world.seconds

    def sleep(self, seconds: float) -> None:
        self._world.hook("sleep")
        self._world.seconds += seconds


class MemoryJournal:
    """Records in a dictionary."""

    def __init__(self, world: World) -> None:
        self._world = world

    def write(self, record: Record) -> None:
        def act() -> None:
            self._world.records[record.id] = copy.deepcopy(record)

        self._world.operation("write", act)

    def read(self, rollout: str) -> Record | None:
        found = self._world.operation("record", lambda: self._world.records.get(rollout))
        return None if found is None else replace(found)

    def sign(self, rollout: str, when: str) -> None:
        self._world.operation("sign", lambda: self._world.signs.__setitem__(rollout, when))

    def last_sign(self, rollout: str) -> str:
        return str(self._world.operation("signs", lambda: self._world.signs.get(rollout, "")))

    def records(self) -> list[Record]:
        found = self._world.operation("journal", lambda: list(self._world.records.values()))
        return sorted(found, key=lambda record: str(record.id), reverse=True)

    def elsewhere(self) -> list[Record]:
        """A world has one kind of place."""
        return []


class MemoryTarget:
    """One resource whose document is flat: image, cpu, secrets, tags."""

    what = "group demo"
    busy_seconds = 1860.0

    def __init__(self, world: World, *, serves_on: bool = False) -> None:
        self._world = world
        self.serves_on = serves_on

    def document(self, release: Release, tags: Mapping[str, str]) -> Document:
        return wanted(release.image, tags=tags)

    def secret_names(self, document: Document) -> tuple[str, ...]:
        return tuple(document["secrets"])

    def tags(self, document: Document) -> dict[str, str]:
        return dict(document["tags"])

    def with_tags(self, document: Document, tags: Mapping[str, str]) -> Document:
        return {**copy.deepcopy(document), "tags": dict(tags)}

    def findings(self, release: Release) -> list[Finding]:
        return []

    def read(self) -> Live | None:
        group = self._world.operation("read", self._world.shown)
        if group is None:
            return None
        crashed = group.document["image"] == CRASHES
        if self._world.applied and self._world.stale > 0:
            self._world.stale -= 1
            crashed = True
        return Live(
            document=group.document,
            tags=group.document["tags"],
            address="http://demo",
            state="Stopped" if group.stopped else "Running",
            settled=not (self._world.busy and crashed)
            and (self._world.hidden_state or not self._world.within(self._world.creating)),
            running=not group.stopped and not crashed,
            stopped=group.stopped,
            failure="exits with code 1 again and again" if crashed else None,
            since=str(group.started),
        )

    def differences(self, live: Document, wanted: Document) -> tuple[str, ...]:
        one, other = plain(live), plain(wanted)
        return tuple(
            sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
        )

    def blockers(self, live: Document, wanted: Document) -> tuple[str, ...]:
        return tuple(key for key in self.differences(live, wanted) if key in FIXED)

    def apply(self, document: Document, secrets: Mapping[str, str], check: Check) -> None:
        check()
        self._world.operation("apply", lambda: self._put(document, secrets))

    def candidate_addresses(self) -> tuple[str, ...]:
        return ("http://demo",)

    def candidate_headers(self) -> Mapping[str, str]:
        return {}

    def keep(self, tags: Mapping[str, str]) -> None:
        self._world.operation("keep", lambda: self._tag(tags))

    def restore(self, previous: Document, secrets: Mapping[str, str], check: Check) -> None:
        self._world.operation("restore", lambda: self._put(previous, secrets))

    def mark(self, tags: Mapping[str, str]) -> None:
        self._world.operation("mark", lambda: self._tag(tags))

    def start(self) -> None:
        self._world.operation("start", lambda: self._stop(stopped=False))

    def stop(self) -> None:
        self._world.operation("stop", lambda: self._stop(stopped=True))

    def retire(self) -> tuple[str, ...]:
        return ()

    def left_running(self) -> None:
        """An environment of this Azure has one form."""

    def delete(self) -> None:
        self._world.operation("delete", self._delete)

    def logs(self, *, follow: bool) -> Iterator[str]:
        return iter(())

    def evidence(self) -> None:
        """Nothing that a diagnosis could read."""

    def billing(self) -> str:
        return "nothing"

    def _refuse_while_creating(self, what: str) -> None:
        if self._world.within(self._world.creating):
            message = (
                f"The container group '{self.what}' is still transitioning, please retry later."
            )
            raise AzError(Problem("ContainerGroupTransitioning", 409, message), f"az {what}")

    def _put(self, document: Document, secrets: Mapping[str, str]) -> None:
        self._refuse_while_creating("create")
        assert set(secrets) == set(document["secrets"]), "a secret has no value"
        live = self._world.group
        if live is not None:
            assert not live.stopped, "Azure cannot update what is stopped"
            blocked = self.blockers(live.document, document)
            assert not blocked, f"Azure cannot change {blocked} in place"
        tags = document["tags"]
        self._world.applied.append((tags[names.TAG_ROLLOUT], document["image"]))
        now = self._world.seconds
        group = Group(copy.deepcopy(document), dict(secrets), started=now)

        self._world.replaced, self._world.put = live, now
        self._world.change(lambda: setattr(self._world, "group", group))

    def _tag(self, tags: Mapping[str, str]) -> None:
        group = self._world.group
        if group is None:
            raise EngineError("no such group", "none")
        if self._world.patch == "refused":
            raise AzError(Problem("BadRequest", 400, "The workspace key is missing."), "az rest")
        merged = {**group.document["tags"], **tags} if self._world.patch == "merges" else dict(tags)

        def act() -> None:
            group.document["tags"] = merged
            if self._world.patch == "restarts":
                group.started = self._world.seconds

        self._world.change(act)

    def _stop(self, *, stopped: bool) -> None:
        assert self._world.group is not None
        self._world.group.stopped = stopped

    def _delete(self) -> None:
        self._refuse_while_creating("delete")
        self._world.change(lambda: setattr(self._world, "group", None))
        self._world.put = -1e9


class MemoryChecks:
    """The service's answers, as its image promises them."""

    def __init__(self, world: World) -> None:
        self._world = world

    def ready(self, address: str, headers: Mapping[str, str]) -> str | None:
        image = self._image()
        if image == NEVER_READY:
            raise NotUp("the model answers differently than in training", "train it again")
        if image in (SLOW, "nothing", *self._world.sick):
            return "nothing answers"
        return None

    def verify(self, address: str, headers: Mapping[str, str], release: Release | None) -> str:
        image = self._image()
        if image == WRONG_MODEL:
            raise EngineError("it serves other models", "build it again")
        if release is not None and image != release.revision:
            error = WrongRelease(f"it runs revision {image}, not {release.revision}", "none")
            error.found = (image, f"sha256:{image}")
            raise error
        return "verified"

    def explain(self, error: EngineError) -> EngineError:
        return error

    def _image(self) -> str:
        group = self._world.answering()
        return str(group.document["image"]) if group else "nothing"


_OWNERS = itertools.count()


def site_of(world: World, *, secrets: Mapping[str, str] | None = None, **more: Any) -> Site:
    """One run of a deploy in this world."""
    say = Say()
    return Site(
        service="demo",
        target=MemoryTarget(world),
        journal=MemoryJournal(world),
        checks=MemoryChecks(world),
        limits=Limits(start_seconds=60, lease_seconds=45),
        say=say,
        guard=Guard(say),
        by="tester",
        secrets={"KEY": "planted"} if secrets is None else secrets,
        clock=more.pop("clock", MemoryClock(world)),
        owner=f"run-{next(_OWNERS)}",
        **more,
    )


def is_kept(world: World) -> bool:
    """Whether the journal says of what is there that it was kept, or put back."""
    if world.group is None:
        return False
    tags = world.group.document["tags"]
    record = world.records.get(marks.rollout(tags) or "")
    shown = (record.phase if record else "", marks.state(tags))
    return marks.state(tags) == marks.KEPT or shown in (
        (KEPT, marks.VERIFYING),
        (RESTORED, marks.RESTORING),
    )


def wanted(image: str, *, cpu: int = 1, tags: Mapping[str, str] | None = None) -> Document:
    """A document to deploy; ``image`` says how its service behaves."""
    of_release = {
        names.TAG_REVISION: image,
        names.TAG_IMAGE: f"sha256:{image}",
        names.TAG_MODEL: f"sha256:{image}",
    }
    return {"image": image, "cpu": cpu, "secrets": ["KEY"], "tags": {**of_release, **(tags or {})}}


def plain(document: Document) -> Document:
    """A document without the tags of rollouts, its other tags one by one."""
    tags = {
        f"tags.{name}": value
        for name, value in document["tags"].items()
        if name not in names.ROLLOUT_TAGS
    }
    return {**{key: value for key, value in document.items() if key != "tags"}, **tags}
