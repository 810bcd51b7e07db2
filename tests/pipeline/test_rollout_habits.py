"""Rollouts where Azure does what it does not document, with the real `az` and real Docker.

The service's own tests try all of it in memory; here is one run of each kind that once broke the
promise: the new release, verified, or the one before.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest

from .rollout_world import RolloutWorld, answers, failed, succeeded

pytestmark = pytest.mark.slow
STAGES = {"odd": {"start": 60}}


@pytest.fixture(autouse=True)
def usual_habits(world: RolloutWorld) -> Iterator[None]:
    usual = world.double.ask("aci.habits")
    yield
    world.double.ask("aci.habits", usual)


GOOD = {
    "late looks": {"stale_seconds": 8},
    "another state first": {"first_state": "Accepted", "first_seconds": 6},
    "tags that cannot be changed": {"patch": "refused"},
}


@pytest.mark.parametrize("habits", GOOD.values(), ids=GOOD.keys())
def test_a_good_release_is_kept(world: RolloutWorld, habits: dict[str, object]) -> None:
    world.stand("odd")
    world.double.ask("aci.habits", habits)
    done = succeeded(world.up("odd", "other"))
    answers(world, done)
    puts = world.changes().count("PUT iris-service-odd")
    succeeded(world.up("odd", "other"))
    assert world.changes().count("PUT iris-service-odd") == puts, "the same again is no change"
    assert world.records("odd")[-1]["phase"] == "kept"


def test_a_delete_that_is_refused_while_azure_creates_is_asked_again(world: RolloutWorld) -> None:
    good = world.stand("odd")
    before = copy.deepcopy(world.sent("odd"))
    world.double.ask("aci.habits", {"delete_while_creating": "refused"})
    done = failed(world.up("odd", "crash"), "previous release serves again")
    assert "takes no change" in done.err
    answers(world, good)
    assert world.sent("odd") == before
