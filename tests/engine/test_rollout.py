"""The rollout keeps a good release, and a bad one leaves everything exactly as it was.

Also if the process dies between any two requests: the next run brings it to an end.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from engine.deploy.az_error import AzError, Problem
from engine.deploy.config import names
from engine.deploy.journal import FAILED, KEPT, RESTORED
from engine.deploy.rollout import marks
from engine.deploy.rollout.run import STARTED_AGAIN, TAGGED, UNCHANGED, UPDATED, roll_out
from engine.deploy.rollout.site import Busy, NotUp, RolloutFailed, Site, TakenOver
from engine.deploy.targets.base import Document, Live
from engine.errors import EngineError

from tests.engine.rollout_world import (
    BEFORE_IMAGE,
    CRASHES,
    GOOD,
    NEVER_READY,
    SLOW,
    WRONG_MODEL,
    Group,
    Killed,
    MemoryChecks,
    MemoryTarget,
    World,
    is_kept,
    plain,
    site_of,
    wanted,
)

pytestmark = pytest.mark.sampled


BAD = (CRASHES, NEVER_READY, SLOW, WRONG_MODEL)
BEFORE = BEFORE_IMAGE


def first() -> World:
    """Nothing is deployed yet."""
    return World()


def deployed() -> World:
    """A release serves; it came by a rollout."""
    world = World()
    roll_out(site_of(world), wanted(BEFORE))
    world.log.clear()
    world.applied.clear()
    return world


def is_left_alone(world: World, before: Group | None) -> bool:
    """The group is what it was, secrets included, and no rollout is open."""
    if any(each.open for each in world.records.values()):
        return False
    if world.group is None or before is None:
        return world.group is before
    one, other = world.group, before
    same = (plain(one.document), one.secrets) == (plain(other.document), other.secrets)
    return same and one.stopped == other.stopped and is_kept(world)


def serves(world: World, document: Document) -> bool:
    """This document serves, kept; no rollout is open."""
    if world.group is None or any(each.open for each in world.records.values()):
        return False
    live = world.group.document
    return plain(live) == plain(document) and is_kept(world)


def ends_of(world: World) -> list[str]:
    return [record.phase for _, record in sorted(world.records.items())]


CASES: dict[str, tuple[Callable[[], World], int]] = {
    "first": (first, 1),
    "update": (deployed, 1),
    "delete and create": (deployed, 2),
}
cases = pytest.mark.parametrize(("world_of", "cpu"), CASES.values(), ids=CASES.keys())


@cases
def test_a_good_release_is_kept(world_of: Callable[[], World], cpu: int) -> None:
    world = world_of()
    assert roll_out(site_of(world), wanted(GOOD, cpu=cpu)).kind == UPDATED
    assert serves(world, wanted(GOOD, cpu=cpu))
    assert ends_of(world)[-1] == KEPT
    assert ("delete" in world.log) == (cpu == 2)


@cases
@pytest.mark.parametrize("image", BAD)
def test_a_bad_release_leaves_everything_as_it_was(
    world_of: Callable[[], World], cpu: int, image: str
) -> None:
    world = world_of()
    before = copy.deepcopy(world.group)
    with pytest.raises(RolloutFailed) as failed:
        roll_out(site_of(world), wanted(image, cpu=cpu))
    assert is_left_alone(world, before)
    assert failed.value.restored
    assert "nothing bills" in failed.value.cause if before is None else "serves" in str(failed)


def test_the_same_again_asks_for_no_change() -> None:
    world = deployed()
    assert roll_out(site_of(world), wanted(BEFORE)).kind == UNCHANGED
    assert world.changes() == []


def test_another_secret_is_another_release() -> None:
    world = deployed()
    assert roll_out(site_of(world, secrets={"KEY": "new"}), wanted(BEFORE)).kind == UPDATED
    assert world.group is not None
    assert world.group.secrets == {"KEY": "new"}


def test_other_tags_do_not_restart_anything() -> None:
    world = deployed()
    document = wanted(BEFORE, tags={"cost-center": "7"})
    assert roll_out(site_of(world), document).kind == TAGGED
    assert world.changes() == ["mark"]
    assert roll_out(site_of(world), document).kind == UNCHANGED


def test_what_is_stopped_is_started_when_nothing_else_changes() -> None:
    world = deployed()
    assert world.group is not None
    world.group.stopped = True
    assert roll_out(site_of(world), wanted(BEFORE)).kind == STARTED_AGAIN
    assert world.changes() == ["start"]


def test_what_is_stopped_is_replaced_by_delete_and_create() -> None:
    world = deployed()
    assert world.group is not None
    world.group.stopped = True
    roll_out(site_of(world), wanted(GOOD))
    assert serves(world, wanted(GOOD))


def test_what_was_stopped_is_stopped_again_after_a_failure() -> None:
    world = deployed()
    assert world.group is not None
    world.group.stopped = True
    before = copy.deepcopy(world.group)
    with pytest.raises(RolloutFailed):
        roll_out(site_of(world), wanted(CRASHES))
    assert is_left_alone(world, before)


def test_a_release_that_failed_before_is_restored_without_asking_it() -> None:
    world = deployed()
    assert world.group is not None
    world.group.document["image"] = SLOW
    before = copy.deepcopy(world.group)
    with pytest.raises(RolloutFailed, match="as badly as before"):
        roll_out(site_of(world), wanted(CRASHES))
    assert is_left_alone(world, before)


def test_what_other_hands_made_is_restored_too() -> None:
    world = World(group=Group({**wanted(BEFORE), "tags": {}}, {"KEY": "planted"}))
    before = copy.deepcopy(world.group)
    with pytest.raises(RolloutFailed):
        roll_out(site_of(world), wanted(CRASHES))
    assert is_left_alone(world, before)


def test_a_restored_release_with_a_new_secret_says_so_in_its_fingerprint() -> None:
    world = deployed()
    with pytest.raises(RolloutFailed):
        roll_out(site_of(world, secrets={"KEY": "new"}), wanted(CRASHES))
    assert roll_out(site_of(world, secrets={"KEY": "new"}), wanted(BEFORE)).kind == UNCHANGED


def failing(world: World, at: str, *, times_before: int = 0) -> None:
    """The operation fails once, before it takes effect."""
    first = world.log.count(at) + times_before

    def hook(step: str) -> None:
        if step == f"before {at}" and world.log.count(at) == first:
            world.hook = lambda _: None
            raise EngineError(f"{at} was refused", "none")

    world.hook = hook


@cases
@pytest.mark.parametrize("at", ["write", "apply", "write kept", "delete", "record", "read"])
def test_a_refused_request_leaves_everything_as_it_was(
    world_of: Callable[[], World], cpu: int, at: str
) -> None:
    world = world_of()
    before = copy.deepcopy(world.group)
    failing(world, at.removesuffix(" kept"), times_before=int(at == "write kept"))
    try:
        roll_out(site_of(world), wanted(GOOD, cpu=cpu))
    except EngineError as error:
        assert "refused" in error.cause
        assert is_left_alone(world, before)
    else:
        assert at == "delete"
        assert cpu == 1


def test_an_update_that_azure_refuses_does_not_restart_the_previous_release() -> None:
    world = deployed()
    failing(world, "apply")
    with pytest.raises(RolloutFailed, match="nothing was changed"):
        roll_out(site_of(world), wanted(GOOD))
    assert world.applied == []
    assert ends_of(world)[-1] == FAILED


def test_a_commit_whose_answer_was_lost_is_kept() -> None:
    world = deployed()

    def hook(step: str) -> None:
        if step == "after write" and ends_of(world)[-1] == KEPT:
            world.hook = lambda _: None
            raise EngineError("connection lost", "none")

    world.hook = hook
    roll_out(site_of(world), wanted(GOOD))
    assert world.hook is not hook
    assert serves(world, wanted(GOOD))


@pytest.mark.parametrize("name", ["read", "record"])
def test_a_fault_of_azure_at_any_question_is_no_fault_of_the_release(name: str) -> None:
    calm = deployed()
    roll_out(site_of(calm), wanted(GOOD))
    for chosen in range(calm.log.count(name)):
        world = deployed()

        def disturb(moment: str, world: World = world, chosen: int = chosen) -> None:
            if moment == f"before {name}" and world.log.count(name) == chosen:
                world.hook = lambda _: None
                raise AzError(Problem("BadGateway", 502, "upstream"), "az rest")

        world.hook = disturb
        assert roll_out(site_of(world), wanted(GOOD)).kind == UPDATED
        assert "restore" not in world.log
        assert world.log.count("apply") == 1


def test_a_failed_restore_says_so_and_the_next_run_mends_it() -> None:
    world = deployed()
    before = copy.deepcopy(world.group)
    failing(world, "restore")
    with pytest.raises(RolloutFailed, match="could not be restored: restore was refused") as failed:
        roll_out(site_of(world), wanted(CRASHES))
    assert not failed.value.restored
    assert roll_out(site_of(world), wanted(BEFORE)).kind == UNCHANGED
    assert is_left_alone(world, before)


# What Azure does not document: the promise is the same in each of these worlds.
WORLDS: dict[str, dict[str, object]] = {
    "late looks": {"lag": 10},
    "very late looks": {"lag": 100},
    "merged tags": {"patch": "merges"},
    "restarting tags": {"patch": "restarts"},
    "refused tags": {"patch": "refused"},
    "refused tags, late looks": {"patch": "refused", "lag": 20},
    "restarting tags, late looks": {"patch": "restarts", "lag": 20},
    "busy for long": {"creating": 1500},
    "busy for long, late looks": {"creating": 50, "lag": 40},
    "the container before still answers": {"former": 8},
    "the container before still answers, late looks": {"former": 20, "lag": 10},
}
worlds = pytest.mark.parametrize("knobs", WORLDS.values(), ids=WORLDS.keys())


def patient(world: World) -> Site:
    """A run that waits as long as Azure may take."""
    site = site_of(world)
    return replace(site, limits=site.limits.model_copy(update={"start_seconds": 1800}))


def turned(world: World, knobs: dict[str, object]) -> World:
    """The world with other habits from now on; what is there has been shown before."""
    world.changed = -1e9
    for name, value in knobs.items():
        setattr(world, name, value)
    return world


@worlds
@cases
def test_a_good_release_is_kept_in_every_world(
    world_of: Callable[[], World], cpu: int, knobs: dict[str, object]
) -> None:
    world = turned(world_of(), knobs)
    assert roll_out(patient(world), wanted(GOOD, cpu=cpu)).kind == UPDATED
    assert world.group is not None
    assert world.group.document["image"] == GOOD
    assert ends_of(world)[-1] == KEPT
    # At once again: what was kept is known as kept, whatever Azure shows of the tags.
    assert roll_out(patient(world), wanted(GOOD, cpu=cpu)).kind == UNCHANGED
    assert [image for _, image in world.applied] == [GOOD]


@worlds
@cases
@pytest.mark.parametrize("image", BAD)
def test_a_bad_release_is_undone_in_every_world(
    world_of: Callable[[], World], cpu: int, image: str, knobs: dict[str, object]
) -> None:
    world = turned(world_of(), knobs)
    before = copy.deepcopy(world.group)
    with pytest.raises(RolloutFailed) as failed:
        roll_out(patient(world), wanted(image, cpu=cpu))
    assert failed.value.restored
    assert ends_of(world)[-1] == (RESTORED if before else FAILED)
    if before is None:
        assert world.group is None
        return
    assert world.group is not None
    assert plain(world.group.document) == plain(before.document)
    # The next one begins where this one began.
    assert roll_out(patient(world), wanted(GOOD)).kind == UPDATED
    assert world.group.document["image"] == GOOD


def test_a_container_that_was_broken_before_is_no_failure_of_the_next() -> None:
    world = deployed()
    assert world.group is not None
    world.group.document["image"] = CRASHES
    world.stale = 5
    assert roll_out(site_of(world), wanted(GOOD)).kind == UPDATED


def test_a_wrong_release_that_was_never_here_is_refused_at_once() -> None:
    world = deployed()
    began = world.seconds
    other = {**wanted(GOOD), "image": "other"}
    with pytest.raises(RolloutFailed, match="runs revision other, not good"):
        roll_out(patient(world), other)
    assert world.seconds - began < 60
    assert serves(world, wanted(BEFORE))


@pytest.mark.parametrize("image", [GOOD, *BAD])
def test_no_request_changes_the_tags_of_a_container_group(image: str) -> None:
    """Azure does not say what such a request restarts or needs: a release depends on none."""
    world = deployed()
    with contextlib.suppress(RolloutFailed):
        roll_out(patient(world), wanted(image))
    assert not {"keep", "mark"} & set(world.log)


def test_a_rollout_that_waits_gives_signs_of_life_in_the_journal() -> None:
    world = deployed()
    seen: list[float] = []

    def hook(step: str) -> None:
        if step == "after sign":
            seen.append(world.seconds)

    world.hook = hook
    with pytest.raises(RolloutFailed):
        roll_out(site_of(world), wanted(SLOW))
    waits = [b - a for a, b in itertools.pairwise(seen)]
    assert len(seen) >= 3
    assert max(waits) < site_of(world).limits.lease_seconds


def test_signs_of_life_that_azure_refuses_do_not_matter() -> None:
    world = deployed()

    class Late(MemoryChecks):
        def ready(
            self, address: str, headers: Mapping[str, str], authority: str | None = None
        ) -> str | None:
            early = world.log.count("sign") < 2 and world.applied
            return "starting" if early else super().ready(address, headers)

    def hook(step: str) -> None:
        if step == "after sign":
            raise AzError(Problem("AuthorizationFailed", 403, "no"), "az rest")

    world.hook = hook
    assert roll_out(replace(patient(world), checks=Late(world)), wanted(GOOD)).kind == UPDATED


@pytest.mark.parametrize("image", [CRASHES, SLOW])
def test_a_run_that_lost_its_rollout_writes_nothing(image: str) -> None:
    """Another run takes the rollout in the journal alone, at each moment at which it is open."""
    for moment in range(steps_of(deployed, image, 1)):
        world, passed = deployed(), 0
        after: list[str] = []

        def hook(
            step: str, world: World = world, moment: int = moment, after: list[str] = after
        ) -> None:
            nonlocal passed
            passed += 1
            opened = [record for record in world.records.values() if record.open]
            if passed > moment and opened:
                world.hook = after.append
                world.records[opened[0].id] = opened[0].taken_by("another run", None, "another")

        world.hook = hook
        with contextlib.suppress(TakenOver, RolloutFailed, Busy):
            roll_out(site_of(world), wanted(image))
        writes = [name for name in after if name.startswith("before ")]
        late = [name.removeprefix("before ") for name in writes]
        changed = [name for name in late if name in ("apply", "restore", "delete", "write", "sign")]
        # A request before which it had asked whose the rollout is may be on its way.
        assert len(changed) <= 1, (moment, changed)


def test_a_third_rollout_is_taken_for_another_deploy() -> None:
    world = deployed()

    def hook(step: str) -> None:
        if step == "after apply":
            world.hook = lambda _: None
            assert world.group is not None
            world.group.document["tags"][names.TAG_ROLLOUT] = "another"

    world.hook = hook
    with pytest.raises(TakenOver):
        roll_out(site_of(world), wanted(GOOD))


def test_what_answers_runs_whatever_azure_calls_it() -> None:
    world = deployed()

    class Odd(MemoryTarget):
        def read(self) -> Live | None:
            live = super().read()
            return replace(live, running=False) if live is not None else None

    site = replace(site_of(world), target=Odd(world))
    assert roll_out(site, wanted(BEFORE)).kind == UNCHANGED
    world.sick.add(BEFORE)
    with pytest.raises(NotUp, match="does not run"):
        roll_out(site, wanted(BEFORE))


def test_a_signal_ends_the_wait_for_a_busy_group() -> None:
    world = deployed()
    before = copy.deepcopy(world.group)
    # Only asked again, never cut off: the signal comes while nothing is outstanding.
    world.creating, world.put = 1500, world.seconds
    world.hidden_state = True
    site = patient(world)

    def hook(step: str) -> None:
        if step == "sleep":
            world.hook = lambda _: None
            signal.raise_signal(signal.SIGTERM)

    world.hook = hook
    began = world.seconds
    with site.guard.watching(), pytest.raises(RolloutFailed, match="stopped by SIGTERM"):
        roll_out(site, wanted(GOOD))
    assert world.seconds - began < 60
    assert is_left_alone(world, before)


def test_tags_that_cannot_be_written_are_no_failure_of_what_runs() -> None:
    world = deployed()
    world.patch = "refused"
    document = wanted(BEFORE, tags={"cost-center": "7"})
    assert roll_out(site_of(world), document).kind == UNCHANGED


CHANGES = re.compile("apply|delete|restore|keep|write")
"""Without "mark": a sign of life too many does no harm."""


def test_a_restored_release_that_does_not_answer_is_no_success() -> None:
    world = deployed()

    def hook(step: str) -> None:
        if step == "after apply":
            world.sick.add(BEFORE)

    world.hook = hook
    with pytest.raises(RolloutFailed, match=r"could not be restored: .* not ready") as failed:
        roll_out(site_of(world), wanted(CRASHES))
    assert not failed.value.restored


def test_one_look_at_what_was_there_before_is_no_failure() -> None:
    world = deployed()
    world.stale = 1
    assert roll_out(site_of(world), wanted(GOOD)).kind == UPDATED


def steps_of(world_of: Callable[[], World], image: str, cpu: int) -> int:
    """How many moments there are at which the process can die."""
    world, moments = world_of(), 0

    def hook(_: str) -> None:
        nonlocal moments
        moments += 1

    world.hook = hook
    with contextlib.suppress(RolloutFailed):
        roll_out(site_of(world), wanted(image, cpu=cpu))
    return moments


def die_at(world: World, moment: int) -> None:
    """The process dies at the given moment, counted from 0."""
    passed = 0

    def hook(_: str) -> None:
        nonlocal passed
        if passed == moment:
            world.hook = lambda _: None
            raise Killed
        passed += 1

    world.hook = hook


@cases
@pytest.mark.parametrize("image", [GOOD, CRASHES, SLOW])
def test_after_death_at_any_moment_the_next_run_recovers(
    world_of: Callable[[], World], cpu: int, image: str
) -> None:
    for moment in range(steps_of(world_of, image, cpu)):
        world = world_of()
        before = copy.deepcopy(world.group)
        die_at(world, moment)
        with pytest.raises(Killed):
            roll_out(site_of(world), wanted(image, cpu=cpu))
        if image == GOOD:
            roll_out(site_of(world), wanted(image, cpu=cpu))
            assert serves(world, wanted(image, cpu=cpu)), moment
        else:
            with pytest.raises(RolloutFailed):
                roll_out(site_of(world), wanted(image, cpu=cpu))
            assert is_left_alone(world, before), moment


@cases
def test_after_death_at_any_moment_another_release_can_be_deployed(
    world_of: Callable[[], World], cpu: int
) -> None:
    for moment in range(steps_of(world_of, CRASHES, cpu)):
        world = world_of()
        die_at(world, moment)
        with pytest.raises(Killed):
            roll_out(site_of(world), wanted(CRASHES, cpu=cpu))
        roll_out(site_of(world), wanted(GOOD))
        assert serves(world, wanted(GOOD)), moment


@pytest.mark.slow
def test_dying_twice_is_no_worse() -> None:
    for moment in range(steps_of(deployed, CRASHES, 2)):
        for second in range(0, 60, 3):
            world = deployed()
            before = copy.deepcopy(world.group)
            die_at(world, moment)
            with pytest.raises(Killed):
                roll_out(site_of(world), wanted(CRASHES, cpu=2))
            die_at(world, second)
            try:
                roll_out(site_of(world), wanted(BEFORE))
            except Killed:
                roll_out(site_of(world), wanted(BEFORE))
            assert is_left_alone(world, before), (moment, second)


@cases
@pytest.mark.parametrize("image", [GOOD, CRASHES])
def test_a_run_that_slept_touches_nothing_after_another_took_over(
    world_of: Callable[[], World], cpu: int, image: str
) -> None:
    """At every moment of one run another one comes, finds no sign of life, and does its work.

    Azure takes no conditions with a request. What slept between asking whose rollout it is and
    sending its request sends it, and the next run puts that right.
    """
    other = wanted("other")
    for moment in range(steps_of(world_of, image, cpu)):
        world = world_of()
        passed = woken = 0

        def hook(_: str, world: World = world, moment: int = moment) -> None:
            nonlocal passed, woken
            passed += 1
            if passed == moment + 1:
                world.hook = lambda _: None
                roll_out(site_of(world), other)
                woken = len(world.log)

        world.hook = hook
        kept = False
        try:
            roll_out(site_of(world), wanted(image, cpu=cpu))
            kept = serves(world, wanted(image, cpu=cpu))
        except (Busy, TakenOver, RolloutFailed):
            pass
        if world.log[woken : woken + 1] in (["apply"], ["delete"], ["restore"], ["keep"], ["mark"]):
            roll_out(site_of(world), other)
        # Kept: it had not begun when the other was done.
        assert kept or serves(world, other), (moment, world.log[woken:])


@cases
@pytest.mark.parametrize("image", [GOOD, CRASHES])
def test_a_run_whose_rollout_was_taken_over_touches_nothing(
    world_of: Callable[[], World], cpu: int, image: str
) -> None:
    """The one that takes it over dies at once, so the resource itself shows nothing of it."""
    for moment in range(steps_of(world_of, image, cpu)):
        world = world_of()
        passed = woken = 0

        def taker(step: str, world: World = world) -> None:
            if step == "after write":
                world.hook = lambda _: None
                raise Killed

        def hook(_: str, world: World = world, moment: int = moment) -> None:
            nonlocal passed, woken
            passed += 1
            if passed == moment + 1 and any(record.open for record in world.records.values()):
                world.hook = taker
                with contextlib.suppress(Killed):
                    roll_out(site_of(world), wanted("other"))
                world.hook = lambda _: None
                woken = len(world.log)

        world.hook = hook
        with contextlib.suppress(TakenOver, RolloutFailed):
            roll_out(site_of(world), wanted(image, cpu=cpu))
        after = " ".join(world.log[woken:]) if woken else ""
        # Asked before it slept, sent after it.
        slipped = re.match(
            r"((journal )?read )?(apply|delete|restore)\b|(keep|mark|write)\b", after
        )
        assert slipped or not CHANGES.search(after), (moment, after)


def test_a_living_deploy_is_not_disturbed() -> None:
    world = deployed()
    died = deployed_until_verifying(world)

    def hook(step: str) -> None:
        if step == "sleep":
            world.signs[died] = str(world.seconds)

    world.hook = hook
    with pytest.raises(Busy, match=died):
        roll_out(site_of(world), wanted(GOOD))


def deployed_until_verifying(world: World) -> str:
    """Let a rollout die while it verifies; its id."""

    def hook(step: str) -> None:
        if step == "after apply":
            world.hook = lambda _: None
            raise Killed

    world.hook = hook
    with pytest.raises(Killed):
        roll_out(site_of(world), wanted(GOOD))
    return max(world.records)


def test_half_a_deploy_without_a_record_is_not_guessed_about() -> None:
    world = deployed()
    deployed_until_verifying(world)
    world.records.clear()
    with pytest.raises(EngineError, match="no record of what was before it"):
        roll_out(site_of(world), wanted(GOOD))


def test_an_apply_that_arrives_after_the_end_is_undone_by_the_next_run() -> None:
    world = deployed()
    before = copy.deepcopy(world.group)
    failing(world, "apply")
    with pytest.raises(RolloutFailed):
        roll_out(site_of(world), wanted(CRASHES))
    late = wanted(CRASHES)
    late["tags"] = marks.under_way(late["tags"], max(world.records), marks.VERIFYING)
    world.group = Group(late, {"KEY": "planted"})
    roll_out(site_of(world), wanted(BEFORE))
    assert is_left_alone(world, before)
    assert ends_of(world)[-1] == RESTORED


def test_a_late_apply_does_not_bring_back_what_was_replaced_since() -> None:
    world = deployed()
    failing(world, "apply")
    with pytest.raises(RolloutFailed):
        roll_out(site_of(world), wanted(CRASHES))
    failed = max(world.records)
    roll_out(site_of(world), wanted(GOOD))
    late = wanted(CRASHES)
    late["tags"] = marks.under_way(late["tags"], failed, marks.VERIFYING)
    world.group = Group(late, {"KEY": "planted"})
    world.applied.clear()
    roll_out(site_of(world), wanted(GOOD))
    assert [image for _, image in world.applied] == [GOOD]
    assert serves(world, wanted(GOOD))


def test_what_azure_keeps_trying_to_start_is_not_waited_for() -> None:
    world = deployed()
    before = copy.deepcopy(world.group)
    world.busy = True

    def hook(step: str) -> None:
        if step == "after apply":
            world.hook = lambda _: None
            raise Killed

    world.hook = hook
    with pytest.raises(Killed):
        roll_out(site_of(world), wanted(CRASHES))
    began = world.seconds
    site = site_of(world)
    limits = site.limits.model_copy(update={"start_seconds": 1000})
    roll_out(replace(site, limits=limits), wanted(BEFORE))
    assert is_left_alone(world, before)
    assert world.seconds - began < 200
