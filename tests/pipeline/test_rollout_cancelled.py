"""Jobs that GitHub cancels at each change of a bad release, with the real `az` and real Docker.

The steps are the workflow's own. The request is on its way when the job is cancelled, and arrives
afterwards. Then the recovery runs to its end, is cut off at its first change, or the
runner is lost.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from .rollout_world import RolloutWorld, answers, ended, succeeded
from .test_rollout_disturbed import cancel
from .test_rollout_killed import BEGIN, CREATE, DELETE, RESTORE, RESTORED
from .walking import walked

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]
STEPS = (BEGIN, CREATE, DELETE, RESTORE, RESTORED)
STAGE = "cancelled"
STAGES = {STAGE: {"start": 60}}


@pytest.fixture(scope="module", autouse=True)
def slow_azure(world: RolloutWorld) -> Iterator[None]:
    """Azure works on each change for as long as a test may want to cut it off."""
    before = world.double.ask("aci.pace")
    world.double.ask("aci.pace", {"provisioning": 300.0, "settle": 3.0})
    yield
    world.double.ask("aci.pace", before)


def kill(step: subprocess.Popen[str]) -> None:
    """End a step and everything that it started, as at the end of a job's time."""
    with suppress(ProcessLookupError):
        os.killpg(step.pid, signal.SIGKILL)


@pytest.mark.parametrize("after", ["recovered", "cut off", "lost"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("job", ["staging", "production"])
def test_the_release_before_serves_after_a_cancellation(
    world: RolloutWorld, job: str, step: str, after: str, tmp_path: Path
) -> None:
    good = world.stand(STAGE)
    before = copy.deepcopy(world.sent(STAGE))
    workflow = yaml.safe_load((world.service / ".github/workflows/deploy.yml").read_text())
    scripts = {each.get("id"): each.get("run") for each in workflow["jobs"][job]["steps"]}
    outputs = tmp_path / "outputs"
    settings = {"IMAGE": world.images["crash"], "GITHUB_OUTPUT": str(outputs)}

    deploy = world.step(STAGE, scripts["up"], settings)
    end = kill if after == "lost" else cancel
    steps = walked(world, STAGE, deploy, {step: lambda: end(deploy)})
    ended(deploy)
    assert step in steps
    if after == "cut off":
        recovery = world.step(STAGE, scripts["recover"], settings)
        walked(world, STAGE, recovery, dict.fromkeys(STEPS, lambda: kill(recovery)))
        ended(recovery)
    page = world.step(STAGE, "python3 -m engine.deploy.outcome", {"JOBS": said(job, outputs)})
    title = job.capitalize()
    told = f"{title} does not serve the new release, but what was there before it."
    shown = ended(page).out
    assert ("is not known" in shown) != (told in shown), shown
    recovered = ended(world.step(STAGE, scripts["recover"], settings))
    succeeded(recovered)
    assert world.sent(STAGE) == before
    assert world.at_rest(STAGE)
    answers(world, good)
    page = world.step(STAGE, "python3 -m engine.deploy.outcome", {"JOBS": said(job, outputs)})
    assert told in ended(page).out


def said(job: str, outputs: Path) -> str:
    """What the outcome page is made of: the last outputs of the job's steps."""
    text = outputs.read_text() if outputs.exists() else ""
    found = dict(line.split("=", 1) for line in text.splitlines())
    return json.dumps({job: {"result": "cancelled", "outputs": {**found, "up": "cancelled"}}})
