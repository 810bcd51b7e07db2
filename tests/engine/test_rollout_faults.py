"""Each fault of Azure's at each request of a rollout: the new release serves, or the one before.

Both targets, with `az`'s answers in memory (`tests.engine.arm_memory`). `make test` takes some of
the requests, `make test-all` every one.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
import random
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from engine.deploy.commands.rollback import predecessor
from engine.deploy.config import names
from engine.deploy.rollout.interrupted import finish_interrupted
from engine.deploy.rollout.run import roll_out
from engine.deploy.rollout.site import Busy, RolloutFailed, TakenOver
from engine.errors import EngineError

from tests.engine.arm_memory import (
    BEFORE,
    CRASHES,
    GOOD,
    SLOW,
    Arm,
    Call,
    Deploys,
    Fault,
    Habits,
    Lost,
    Refused,
    change_records,
    installed,
    is_complete,
    release,
    take,
)
from tests.engine.fleet_memory import arm_of
from tests.engine.volume import examples

pytestmark = pytest.mark.sampled

THROTTLED = Refused(429, "TooManyRequests", "Retry-After: 60")
FORBIDDEN = Refused(403, "AuthorizationFailed", "does not have authorization, or the scope is new")
BROKEN = Refused(500, "InternalServerError", "an error occurred")


@dataclass
class From(Fault):
    """A fault that begins with the request of a number and, where it lasts, ends by itself."""

    number: int
    begun: float | None = None

    def begins(self, arm: Arm, call: Call) -> bool:
        """Whether it begins with this request, once."""
        if self.begun is None and call.number >= self.number and self.may(call):
            self.begun = arm.clock.seconds
            return True
        return False

    def within(self, arm: Arm, seconds: float) -> bool:
        """Whether it began so recently."""
        return self.begun is not None and arm.clock.seconds < self.begun + seconds

    def may(self, call: Call) -> bool:
        """Whether it can begin with such a request."""
        return True


class Writing(From):
    """A fault of requests that change something."""

    def may(self, call: Call) -> bool:
        return call.writes


class Conflict(Writing):
    def before(self, arm: Arm, call: Call) -> None:
        self.begins(arm, call)
        if call.writes and call.resource != "record" and self.within(arm, 20):
            code = {
                "group": "ContainerGroupTransitioning",
                "profile": "AnotherOperationInProgress",
            }.get(call.resource, "ContainerAppOperationInProgress")
            raise Refused(409, code, "another operation is in progress, retry later")


class ThrottledWrites(Writing):
    def before(self, arm: Arm, call: Call) -> None:
        self.begins(arm, call)
        if call.writes and self.within(arm, 60):
            raise THROTTLED


class ThrottledReads(From):
    def may(self, call: Call) -> bool:
        return not call.writes

    def before(self, arm: Arm, call: Call) -> None:
        self.begins(arm, call)
        if not call.writes and self.within(arm, 60):
            raise THROTTLED


class Applied(Writing):
    """500, and the change was made."""

    def after(self, arm: Arm, call: Call) -> None:
        if self.begins(arm, call):
            raise BROKEN


class Broken(From):
    """Two minutes of 500."""

    def before(self, arm: Arm, call: Call) -> None:
        self.begins(arm, call)
        if self.within(arm, 120):
            raise BROKEN


class LostAfter(From):
    def after(self, arm: Arm, call: Call) -> None:
        if self.begins(arm, call):
            raise Lost


class LostBefore(From):
    def before(self, arm: Arm, call: Call) -> None:
        if self.begins(arm, call):
            raise Lost


class Offline(From):
    """The runner has no network for a minute."""

    def before(self, arm: Arm, call: Call) -> None:
        self.begins(arm, call)
        if self.within(arm, 60):
            raise Lost


class Stale(From):
    def before(self, arm: Arm, call: Call) -> None:
        if self.begins(arm, call):
            arm.habits = replace(arm.habits, stale_seconds=10)


class SlowRole(From):
    """A role takes 30 s to hold for this kind of request."""

    def before(self, arm: Arm, call: Call) -> None:
        self.begins(arm, call)
        if self.within(arm, 30):
            raise FORBIDDEN


class ClaimLost(From):
    def before(self, arm: Arm, call: Call) -> None:
        if self.number <= call.number and self.begun is None and take(arm, "another"):
            self.begun = arm.clock.seconds


class RecordChanged(From):
    def before(self, arm: Arm, call: Call) -> None:
        if self.begins(arm, call):
            change_records(arm, lambda record: record.update(verified={"p95": 3}))


class ClockOff(From):
    """The machine's clock is put back by five minutes."""

    def before(self, arm: Arm, call: Call) -> None:
        if self.begins(arm, call):
            arm.clock.off = -300


class ClockAhead(From):
    def before(self, arm: Arm, call: Call) -> None:
        if self.begins(arm, call):
            arm.clock.off = 300


FAULTS: dict[str, Callable[[int], From]] = {
    "409": Conflict,
    "429 on writes": ThrottledWrites,
    "429 on reads": ThrottledReads,
    "500, applied": Applied,
    "500 for two minutes": Broken,
    "lost before": LostBefore,
    "lost after": LostAfter,
    "offline": Offline,
    "stale": Stale,
    "403 for 30 s": SlowRole,
    "claim lost": ClaimLost,
    "record changed": RecordChanged,
    "clock back": ClockOff,
    "clock ahead": ClockAhead,
}

HABITS: dict[str, dict[str, list[Any]]] = {
    "ids": {"ids": [str, str.upper, str.lower]},
    "unknown": {"unknown": [False, True]},
    "page": {"page": [0, 1, 2]},
    "stale": {"stale_seconds": [0, 10]},
    "state": {"state": ["Pending", "Accepted", "Repairing", "NotSpecified"]},
    "pull": {"pull_seconds": [0, 30]},
    "view": {"no_view_seconds": [0, 10]},
    "outputs": {"list_outputs": [True, False]},
    "busy": {"busy_seconds": [0, 25]},
}


@dataclass(frozen=True)
class Way:
    """A rollout: what serves before it, what is deployed, and with how many CPUs."""

    before: str
    digit: str
    cpu: float = 1.0


WAYS = {
    "update": Way(BEFORE, GOOD),
    "crash": Way(BEFORE, CRASHES),
    "first": Way("", GOOD),
    "first crash": Way("", CRASHES),
    "larger": Way(BEFORE, GOOD, 2.0),
    "larger crash": Way(BEFORE, CRASHES, 2.0),
    "slow": Way(BEFORE, SLOW),
}
KINDS = ("aci", "azureml", "containerapps", "fleet")
QUICK = ("update", "crash", "larger crash", "first crash")
"""Ways of `make test`; the others are in `make test-all` too."""


def ways(names: Iterable[str]) -> list[Any]:
    """The ways as parameters, those that add little as exhaustive ones."""
    slow = pytest.mark.exhaustive
    return [pytest.param(each, marks=() if each in QUICK else slow) for each in names]


STEP = 17
"""Of so many requests one is tried in `make test`; of a fleet, which sends three times as many,
a third of that: ``test_fleet`` kills it at its own requests.
"""


def begun(patch: pytest.MonkeyPatch, kind: str, way: Way, habits: Habits | None = None) -> Deploys:
    """What is there before the rollout."""
    deploys = Deploys(arm_of(kind, habits), kind)
    begin(patch, deploys, way)
    return deploys


def begin(patch: pytest.MonkeyPatch, deploys: Deploys, way: Way) -> None:
    """Deploy what is there before the rollout to an empty Azure."""
    installed(patch, deploys.arm)
    if way.before:
        deploy(deploys, way.before, 1.0)
        assert is_complete(deploys.arm, way.before)
        deploys.arm.clock.seconds += 1000
        deploys.arm.log.clear()


def deploy(deploys: Deploys, digit: str, cpu: float) -> None:
    site = deploys.site(cpu=cpu, memory_gb=2 * cpu)
    roll_out(site, site.target.document(release(digit), {}))


_COUNTED: dict[tuple[str, Way], int] = {}


def requests_of(patch: pytest.MonkeyPatch, kind: str, way: Way) -> int:
    """How many requests the rollout sends undisturbed."""
    if (kind, way) not in _COUNTED:
        deploys = begun(patch, kind, way)
        with contextlib.suppress(RolloutFailed):
            deploy(deploys, way.digit, way.cpu)
        _COUNTED[kind, way] = len(deploys.arm.log)
    return _COUNTED[kind, way]


def promised(deploys: Deploys, way: Way) -> None:
    """Deploy; the new release serves, or the one before, and the outcome says which."""
    arm = deploys.arm
    try:
        deploy(deploys, way.digit, way.cpu)
    except RolloutFailed as failed:
        assert failed.restored, failed
        assert settled_as(arm, way.before), failed
    except (Busy, TakenOver, EngineError) as error:
        # It says so, and the next run, or `recover`, brings it to its end.
        assert not isinstance(error, RolloutFailed)
        arm.fault = Fault()
        arm.clock.seconds += 120
        finish_interrupted(deploys.site(cpu=way.cpu, memory_gb=2 * way.cpu))
        assert settled_as(arm, way.before) or (way.digit == GOOD and settled_as(arm, way.digit)), (
            error
        )
    else:
        assert way.digit == GOOD
        assert settled_as(arm, way.digit)
    arm.fault = Fault()
    # The next deploy begins as if nothing had been.
    deploy(deploys, GOOD, way.cpu)
    assert settled_as(arm, GOOD)


def settled_as(arm: Arm, digit: str) -> bool:
    """What is promised, once what was asked for last has had the time to start."""
    assert arm.violations == []
    now = arm.clock.seconds
    arm.clock.seconds += 60
    try:
        return is_complete(arm, digit)
    finally:
        arm.clock.seconds = now


def moments(number: int, name: str) -> range:
    """The requests at which a fault begins: all, or some that are others for each name."""
    if "ACI_ML_ALL" in os.environ:
        return range(number)
    step = STEP * 3 if " fleet " in name else STEP
    return range(sum(map(ord, name)) % min(number, step), number, step)


@pytest.mark.parametrize("way", ways(WAYS))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_request_ends_with_the_new_release_or_the_one_before(
    monkeypatch: pytest.MonkeyPatch, fault: str, kind: str, way: str
) -> None:
    chosen = WAYS[way]
    number = requests_of(monkeypatch, kind, chosen)
    assert number > 10
    for moment in moments(number, f"{fault} {kind} {way}"):
        deploys = begun(monkeypatch, kind, chosen)
        deploys.arm.fault = FAULTS[fault](moment)
        with noted(f"the fault began with request {moment} of {number}"):
            promised(deploys, chosen)


@pytest.mark.parametrize("off", [-300, 300])
@pytest.mark.parametrize("kind", KINDS)
def test_a_clock_that_is_wrong_changes_neither_the_order_of_releases_nor_who_is_alive(
    monkeypatch: pytest.MonkeyPatch, kind: str, off: float
) -> None:
    """`rollback` goes back to the release that served before, by the order of the records."""
    deploys = begun(monkeypatch, kind, WAYS["update"])
    deploys.arm.clock.seconds -= 900  # 100 s after the first deploy
    deploys.arm.clock.off = off
    deploy(deploys, GOOD, 1.0)
    deploys.arm.clock.off = 0
    target, journal = deploys.target(), deploys.journal()
    records = journal.records()
    before = predecessor(target, records, target.read())
    assert before is not None
    assert target.tags(before.next)[names.TAG_REVISION] == BEFORE * 40
    assert target.tags(records[0].next)[names.TAG_REVISION] == GOOD * 40


def test_habits_in_pairs_keep_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value of each habit meets each value of every other one."""
    for chosen in pairs({name: value for each in HABITS.values() for name, value in each.items()}):
        for kind in KINDS:
            way = WAYS["larger crash"]
            with noted(f"{kind} {chosen}"):
                promised(begun(monkeypatch, kind, way, Habits(**chosen)), way)


def pairs(values: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Choices of one value each in which every pair of values occurs; few, found greedily."""
    left = {
        frozenset({(one, i), (other, j)})
        for one, other in itertools.combinations(values, 2)
        for i in range(len(values[one]))
        for j in range(len(values[other]))
    }
    while left:
        chosen: dict[str, int] = dict(sorted(min(left, key=sorted)))
        for name in values:
            if name not in chosen:
                chosen[name] = max(
                    range(len(values[name])),
                    key=lambda i: sum(
                        frozenset({(name, i), each}) in left for each in chosen.items()
                    ),
                )
        left -= {frozenset(pair) for pair in itertools.combinations(chosen.items(), 2)}
        yield {name: values[name][i] for name, i in chosen.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_random_run_keeps_the_promise(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Habits, a fault and the request at which it begins, by chance; a failure names the seed.

    `ACI_ML_SEED=n` repeats one.
    """
    given = os.environ.get("ACI_ML_SEED")
    seeds = [int(given)] if given else [secrets.randbelow(10**9) for _ in range(examples(3))]
    for seed in seeds:
        choice = random.Random(seed)
        habits = {
            name: choice.choice(list(values))
            for each in HABITS.values()
            for name, values in each.items()
        }
        way, fault = choice.choice(list(WAYS)), choice.choice(list(FAULTS))
        deploys = begun(monkeypatch, kind, WAYS[way], Habits(**habits))
        deploys.arm.fault = FAULTS[fault](choice.randrange(40))
        with noted(f"ACI_ML_SEED={seed}: {kind}, {way}, {fault}, {habits}"):
            promised(deploys, WAYS[way])


@contextlib.contextmanager
def noted(text: str) -> Iterator[None]:
    """Say in a failure what was tried."""
    try:
        yield
    except BaseException as error:
        error.add_note(text)
        raise


@pytest.mark.parametrize("shown", ["the release before", "nothing"])
@pytest.mark.parametrize("digit", [GOOD, CRASHES])
def test_a_first_look_that_is_stale_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, shown: str, digit: str
) -> None:
    """A deploy that follows at once: Azure still shows what was there before the last one."""
    deploys = Deploys(Arm(), "aci")
    arm, old = deploys.arm, None
    installed(monkeypatch, arm)
    if shown != "nothing":
        deploy(deploys, GOOD, 1.0)
        arm.clock.seconds += 1000
        old = copy.deepcopy(arm._shown_group())
    deploy(deploys, BEFORE, 1.0)
    arm.shown_before["group"] = (arm.clock.seconds + 8, old)
    if digit == GOOD:
        deploy(deploys, GOOD, 1.0)
    else:
        with pytest.raises(RolloutFailed) as failed:
            deploy(deploys, CRASHES, 1.0)
        assert failed.value.restored
    assert settled_as(arm, GOOD if digit == GOOD else BEFORE)
