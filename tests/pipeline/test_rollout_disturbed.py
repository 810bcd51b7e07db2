"""A rollout that is killed, stopped, disturbed or not alone: with the real `az` and real Docker."""

from __future__ import annotations

import copy
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure_double.client import AzureDouble

from .rollout_world import (
    SLUG,
    RolloutWorld,
    answers,
    ended,
    eventually,
    failed,
    rollout_world,
    serves,
    succeeded,
)

pytestmark = pytest.mark.slow
STAGES = {"killed": {"start": 20}, "together": {}, "rough": {}}


@pytest.fixture(scope="module")
def world(
    running_double: AzureDouble,
    rendered_service: Path,
    service_python: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RolloutWorld]:
    """Registry with images, identities with roles; every test has an environment of its own."""
    folder = tmp_path_factory.mktemp("rollout")
    yield from rollout_world(running_double, rendered_service, service_python, folder, STAGES)


def tags(world: RolloutWorld, stage: str) -> dict[str, str]:
    sent = world.sent(stage)
    assert sent is not None
    found: dict[str, str] = sent["tags"]
    return found


KILLS = {
    "the new group": ("crash", "PUT *containerGroups/*", 0),
    "the decision": ("other", "PATCH *containerGroups/*", 0),
    "the restored group": ("crash", "PUT *containerGroups/*", 1),
}


@pytest.mark.parametrize("step", KILLS)
def test_the_next_run_finishes_what_a_killed_one_left(world: RolloutWorld, step: str) -> None:
    """The process is killed while a request is on its way, which arrives after its death."""
    succeeded(world.up("killed", "good"))
    image, where, skip = KILLS[step]
    before = copy.deepcopy(world.sent("killed"))
    world.double.inject(where=where, skip=skip, delay_seconds=2)
    process = world.start("killed", "up", "killed", "--image", world.images[image])
    eventually(lambda: not world.double.pending_faults())
    process.kill()
    process.communicate()
    time.sleep(3)
    assert world.records("killed")[-1]["phase"] == "started"

    wanted = "other" if image == "other" else "good"
    done = succeeded(world.up("killed", wanted))
    answers(world, done)
    assert serves(world, "killed", wanted)
    if image == "crash":
        assert world.sent("killed") == before


def test_of_two_deploys_at_once_one_is_refused(world: RolloutWorld) -> None:
    processes = [
        world.start("together", "up", "together", "--image", world.images[image])
        for image in ("good", "other")
    ]
    done = [ended(process) for process in processes]
    assert sorted(each.code for each in done) == [0, 1], [each.err for each in done]
    winner = next(each for each in done if each.code == 0)
    loser = next(each for each in done if each.code == 1)
    failed(loser, "another deploy")
    answers(world, winner)
    assert serves(world, "together", ("good", "other")[done.index(winner)])
    puts = [change for change in world.changes() if change == f"PUT {SLUG}-together"]
    assert len(puts) == 1


def test_a_stop_by_signal_restores_first(world: RolloutWorld) -> None:
    good = succeeded(world.up("together", "good"))
    before = copy.deepcopy(world.sent("together"))
    process = world.start("together", "up", "together", "--image", world.images["slow"])
    eventually(lambda: tags(world, "together")["rollout-state"] == "verifying")
    process.send_signal(signal.SIGTERM)
    failed(ended(process), "stopped by SIGTERM", "serves again")
    assert world.sent("together") == before
    answers(world, good)


def test_a_rough_way_there_is_survived(world: RolloutWorld) -> None:
    """A lost answer, a resource that is still changing, a service of Azure that has a fault."""
    groups = "*containerGroups/*"
    world.double.inject(where=f"PUT {groups}", drop="after")
    message = "The container group is still transitioning, please retry later."
    conflict = {"status": 409, "code": "ContainerGroupTransitioning", "message": message}
    world.double.inject(where=f"PATCH {groups}", **conflict)
    world.double.inject(where="PUT */deployments/*", status=503, code="ServerBusy", message="busy")
    done = succeeded(world.up("rough", "good"))
    answers(world, done)
    assert world.double.pending_faults() == []
    assert serves(world, "rough", "good")


def test_no_room_in_the_region_changes_nothing(world: RolloutWorld) -> None:
    good = succeeded(world.up("rough", "good"))
    before, running = copy.deepcopy(world.sent("rough")), world.docker_ids("rough")
    world.double.inject(point="aci.capacity", where="*")
    failed(world.up("rough", "other"), "no room", "nothing was changed")
    assert (world.sent("rough"), world.docker_ids("rough")) == (before, running)
    answers(world, good)
