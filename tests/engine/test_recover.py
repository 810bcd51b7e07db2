"""A rollout that was cut off is undone at once by `recover --undo`, and finished by `recover`."""

from __future__ import annotations

import contextlib
import copy
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from engine.deploy.commands import recover
from engine.deploy.commands.recover import serving
from engine.deploy.config import names
from engine.deploy.journal import KEPT
from engine.deploy.rollout.interrupted import finish_interrupted
from engine.deploy.rollout.run import roll_out
from engine.deploy.rollout.signs import this_process
from engine.deploy.rollout.site import RolloutFailed
from engine.deploy.say import Say
from engine.deploy.targets.base import Live

from tests.engine.rollout_world import (
    BEFORE_IMAGE,
    CRASHES,
    GOOD,
    SLOW,
    Killed,
    MemoryTarget,
    World,
    plain,
    site_of,
    wanted,
)

pytestmark = pytest.mark.sampled

CANCELLED_JOB_SECONDS = 240
CHANGES = {"apply", "restore", "delete"}


def deployed() -> World:
    """A release serves; it came by a rollout."""
    world = World()
    roll_out(site_of(world), wanted(BEFORE_IMAGE))
    world.log.clear()
    return world


def ended_process() -> str:
    """A process of this machine that is gone, as the step that GitHub cancelled is."""
    mine = this_process()
    assert mine is not None
    machine = mine.rpartition("/")[0].rpartition("/")[0]
    return f"{machine}/999999999/1"


def killed_at(world: World, moment: int, image: str, cpu: int) -> bool:
    """Start a rollout that is killed at a moment, counted from 0; whether it came so far."""
    passed = 0

    def hook(_: str) -> None:
        nonlocal passed
        if passed == moment:
            world.hook = lambda _: None
            raise Killed
        passed += 1

    world.hook = hook
    with contextlib.suppress(RolloutFailed):
        try:
            roll_out(site_of(world, process=ended_process()), wanted(image, cpu=cpu))
        except Killed:
            return True
    return False


@pytest.mark.parametrize("cpu", [1, 2], ids=["update", "delete and create"])
@pytest.mark.parametrize("image", [GOOD, CRASHES, SLOW])
@pytest.mark.parametrize("world_of", [World, deployed], ids=["first", "second"])
def test_undo_brings_back_what_was_there_whenever_the_job_was_cut_off(
    world_of: Callable[[], World], image: str, cpu: int
) -> None:
    moment = 0
    while killed_at(world := world_of(), moment, image, cpu):
        before = None
        if world_of is deployed:
            before = deployed().group
        kept = [each.id for each in world.records.values() if each.phase == KEPT]
        began, changed = world.seconds, 0.0

        def note(name: str, world: World = world) -> None:
            nonlocal changed
            if name.removeprefix("after ") in CHANGES:
                changed = world.seconds

        world.hook = note
        live = finish_interrupted(site_of(world), undo_unverified=True)
        assert changed - began < CANCELLED_JOB_SECONDS, moment
        assert not any(each.open for each in world.records.values()), moment
        group = copy.deepcopy(world.group)
        if live is not None and live.document["image"] == image:
            # The deciding request was sent before the end.
            assert image == GOOD, moment
            assert len(kept) <= len([r for r in world.records.values() if r.phase == KEPT])
        else:
            assert (group and plain(group.document)) == (before and plain(before.document)), moment
            assert (group and group.secrets) == (before and before.secrets), moment
        moment += 1
    assert moment > 10


def test_undo_does_not_wait_for_the_new_release() -> None:
    """Without it, a release that never gets ready takes the whole of ``start_seconds``."""
    world = deployed()
    moment = next(n for n in range(99) if killed_during_verification(n))
    assert killed_at(world, moment, SLOW, 1)
    began = world.seconds
    finish_interrupted(site_of(world), undo_unverified=True)
    undone = world.seconds - began

    world = deployed()
    assert killed_at(world, moment, SLOW, 1)
    began = world.seconds
    finish_interrupted(site_of(world))
    assert world.seconds - began > undone + site_of(world).limits.start_seconds / 2


def killed_during_verification(moment: int) -> bool:
    """Whether the new release is there, unverified, when the process dies at this moment."""
    world = deployed()
    killed_at(world, moment, SLOW, 1)
    return world.group is not None and world.group.document["image"] == SLOW


def test_nothing_is_changed_where_nothing_was_interrupted() -> None:
    world = deployed()
    finish_interrupted(site_of(world), undo_unverified=True)
    assert world.changes() == []


@pytest.mark.parametrize(
    ("image", "shown"), [("sha256:new", "new"), ("sha256:old", "as-before"), (None, "as-before")]
)
def test_what_serves_is_told_by_the_image_that_is_live(image: str | None, shown: str) -> None:
    """A restored group may carry the id of the rollout that was undone."""
    tags = {names.TAG_ROLLOUT: "undone"} | ({names.TAG_IMAGE: image} if image else {})
    live = Live({}, tags, "http://demo", "Running", settled=True, running=True)
    assert serving(live, "registry/service@SHA256:NEW") == shown
    assert serving(None, "registry/service@sha256:new") == "as-before"


def test_what_serves_is_told_where_the_cancelled_step_restored_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """That step wrote that it is unknown, when it began, and nothing later."""
    site = site_of(deployed())
    found = {"target": site.target, "journal": site.journal, "inside": None}
    context = SimpleNamespace(**found, site=lambda _: site)
    monkeypatch.setattr("engine.deploy.commands.recover.open_context", lambda *_: context)
    outputs = tmp_path / "outputs"
    monkeypatch.setenv("GITHUB_OUTPUT", str(outputs))
    asked = Namespace(environment="staging", image="registry/service@sha256:new", undo=True)
    assert recover.run(asked, tmp_path, Say()) == 0
    assert outputs.read_text() == "serves=as-before\n"


@pytest.mark.parametrize("undo", [True, False])
def test_a_deletion_that_goes_on_after_the_end_is_waited_for(undo: bool) -> None:
    """Azure deletes for a while, and shows the group as it was; the job is killed meanwhile."""
    world = deployed()
    gone_at = 0.0

    class Slow(MemoryTarget):
        def read(self) -> Live | None:
            nonlocal gone_at
            if gone_at and world.seconds >= gone_at:
                world.group, gone_at = None, 0.0
            return super().read()

        def delete(self) -> None:
            nonlocal gone_at
            gone_at = world.seconds + 40
            raise Killed

    first = replace(site_of(world, process=ended_process()), target=Slow(world))
    with pytest.raises(Killed):
        roll_out(first, wanted(GOOD, cpu=2))
    second = replace(site_of(world), target=Slow(world))
    finish_interrupted(second, undo_unverified=undo)
    world.seconds += 100
    live = second.target.read()
    assert live is not None
    assert live.document["image"] == BEFORE_IMAGE
    assert not any(each.open for each in world.records.values())
