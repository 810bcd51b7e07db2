"""A rollout that is stopped, disturbed or not alone: with the real `az` and real Docker."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from .rollout_world import (
    SLUG,
    RolloutWorld,
    answers,
    ended,
    eventually,
    failed,
    succeeded,
)
from .walking import walked

pytestmark = pytest.mark.slow
STAGES = {"trouble": {"start": 20}, "together": {}, "rough": {}, "cancelled": {}}


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
    assert world.serves("together", ("good", "other")[done.index(winner)])
    puts = [change for change in world.changes() if change == f"PUT {SLUG}-together"]
    assert len(puts) == 1


def test_a_stop_by_signal_restores_first(world: RolloutWorld) -> None:
    good = succeeded(world.up("together", "good"))
    before = copy.deepcopy(world.sent("together"))
    serving = world.tags("together")["rollout-id"]
    process = world.start("together", "up", "together", "--image", world.images["slow"])
    eventually(lambda: world.tags("together")["rollout-id"] != serving)
    process.send_signal(signal.SIGTERM)
    failed(ended(process), "stopped by SIGTERM", "serves again")
    assert world.sent("together") == before
    answers(world, good)


def cancel(step: subprocess.Popen[str]) -> None:
    """End a step as GitHub's runner does: it signals the step's own process, the shell, and kills
    everything that the step started ten seconds later.

    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-cancellation
    """
    for number, seconds in ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5)):
        with suppress(subprocess.TimeoutExpired):
            step.send_signal(number)
            step.wait(seconds)
    with suppress(ProcessLookupError):
        os.killpg(step.pid, signal.SIGKILL)


@pytest.mark.parametrize("job", ["staging", "production"])
def test_a_cancelled_job_brings_back_the_release_before(
    world: RolloutWorld, job: str, tmp_path: Path
) -> None:
    """The steps are the workflow's own: the deploy is cut off, the recovery runs to its end."""
    good = world.stand("cancelled")
    before = copy.deepcopy(world.sent("cancelled"))
    serving = world.tags("cancelled")["rollout-id"]
    workflow = yaml.safe_load((world.service / ".github/workflows/deploy.yml").read_text())
    scripts = {each.get("id"): each.get("run") for each in workflow["jobs"][job]["steps"]}
    settings = {"IMAGE": world.images["crash"], "GITHUB_OUTPUT": str(tmp_path / "outputs")}

    deploy = world.step("cancelled", scripts["up"], settings)
    eventually(lambda: world.tags("cancelled")["rollout-id"] != serving)
    cancel(deploy)
    ended(deploy)
    recovered = ended(world.step("cancelled", scripts["recover"], settings))

    succeeded(recovered)
    assert world.sent("cancelled") == before
    assert world.at_rest("cancelled")
    answers(world, good)
    outputs = dict(line.split("=", 1) for line in (tmp_path / "outputs").read_text().splitlines())
    assert outputs["serves"] == "as-before"
    jobs = {job: {"result": "cancelled", "outputs": {**outputs, "up": "cancelled"}}}
    page = world.step("cancelled", "python3 -m engine.deploy.outcome", {"JOBS": json.dumps(jobs)})
    assert (
        f"{job.capitalize()} does not serve the new release, but what was there before it."
        in ended(page).out
    )
    again = succeeded(ended(world.step("cancelled", scripts["recover"], {})))
    assert "no rollout was interrupted" in again.out


def test_a_rough_way_there_is_survived(world: RolloutWorld) -> None:
    """A lost answer, a resource that is still changing, a service of Azure that has a fault."""
    groups = "*containerGroups/*"
    message = "The container group is still transitioning, please retry later."
    conflict = {"status": 409, "code": "ContainerGroupTransitioning", "message": message}
    world.double.inject(where=f"PUT {groups}", **conflict)
    world.double.inject(where=f"PUT {groups}", drop="after")
    world.double.inject(where="PUT */deployments/*", status=503, code="ServerBusy", message="busy")
    done = succeeded(world.up("rough", "good"))
    answers(world, done)
    assert world.double.pending_faults() == []
    assert world.serves("rough", "good")


AFTERWARDS = {
    "aci.pull": ("cannot pull the image|does not have",),
    "aci.oom": ("exit code 137", "more memory"),
    "aci.unreachable": ("does not answer",),
}


@pytest.mark.parametrize("point", AFTERWARDS)
def test_trouble_after_the_change_undoes_it_to_the_last_property(
    world: RolloutWorld, point: str
) -> None:
    good = world.stand("trouble")
    before, running = copy.deepcopy(world.sent("trouble")), world.containers()
    where = f"*/{SLUG}-trouble"

    def begin() -> None:
        world.double.inject(point=point, where=where, times=1000)

    process = world.start("trouble", "up", "trouble", "--image", world.images["other"])
    at = {
        "PUT group verifying": begin,
        "PUT group restoring": lambda: world.double.clear_faults(where),
    }
    walked(world, "trouble", process, at)
    failed(ended(process), *AFTERWARDS[point], "previous release serves again")
    assert world.sent("trouble") == before
    answers(world, good)
    assert world.containers() == running
    assert world.records("trouble")[-1]["phase"] == "restored"


CHANGE = f"PUT */{SLUG}-trouble"
REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "no room": ({"point": "aci.capacity", "where": f"*/{SLUG}-trouble"}, "no room"),
    "errors": ({"where": CHANGE, "status": 500, "code": "InternalServerError"}, "InternalServer"),
    "no network": ({"where": CHANGE, "drop": "before"}, "ConnectionFailed|network"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_azure_does_not_take_changes_nothing(world: RolloutWorld, refusal: str) -> None:
    good = world.stand("trouble")
    before, running = copy.deepcopy(world.sent("trouble")), world.docker_ids("trouble")
    fault, words = REFUSALS[refusal]
    world.double.inject(times=1000, **fault)
    try:
        failed(ended(world.roll_out("trouble", "other")), words, "nothing was changed")
    finally:
        world.double.clear_faults()
    assert (world.sent("trouble"), world.docker_ids("trouble")) == (before, running)
    answers(world, good)
    assert world.records("trouble")[-1]["phase"] == "failed"
