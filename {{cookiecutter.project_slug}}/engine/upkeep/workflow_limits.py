"""Each job that deploys may take as long as its longest rollout: GitHub kills it at its limit."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from pathlib import Path

from engine.deploy.commands.context import without_login
from engine.deploy.commands.verify import PATIENCE_SECONDS
from engine.deploy.config.read import environment_names
from engine.deploy.hooks import HOOK_SECONDS
from engine.deploy.rollout.interrupted import longest_seconds
from engine.deploy.say import Say
from engine.errors import ConfigError
from engine.upkeep.workflow_rules import Job, read

COMMAND = re.compile(r"-m engine.deploy (up|rollback|verify) ")
OTHER_STEPS_SECONDS = 600.0
"""For setting up and for single requests."""
DEFAULT_MINUTES = 360
HOOKS = 2 * HOOK_SECONDS
"""One before a rollout, and one after it."""


def overruns(root: Path) -> list[str]:
    """A sentence for each job and environment whose limits together exceed the job's limit.

    An environment whose file has faults is left out.

    Raises:
        ValueError: a workflow cannot be read.
    """
    needed: dict[str, tuple[float, float]] = {}
    for stage in environment_names(root):
        with suppress(ConfigError):
            needed[stage] = _seconds(root, stage)
    found = []
    for workflow in read(root / ".github" / "workflows"):
        for name, job in workflow.jobs.items():
            commands = [
                match[1] for step in job.get("steps", []) if (match := _command(step)) is not None
            ]
            limit = job.get("timeout-minutes", DEFAULT_MINUTES)
            for stage in _stages(job, list(needed)) if commands else ():
                seconds = OTHER_STEPS_SECONDS + sum(
                    PATIENCE_SECONDS if command == "verify" else HOOKS + needed[stage][at > 0]
                    for at, command in enumerate(commands)
                )
                minutes = math.ceil(seconds / 60)
                if minutes > limit:
                    found.append(
                        f"{workflow.name}: job {name}: timeout-minutes is {limit}, and a deploy to "
                        f"{stage} can take {minutes} minutes; raise it (GitHub's own machines "
                        f"allow 360), or lower rollout.start_seconds in "
                        f"deploy/environments/{stage}.yaml"
                    )
    return found


def _seconds(root: Path, stage: str) -> tuple[float, float]:
    """The longest first rollout of a job, and a further one, which finds none interrupted."""
    context = without_login(stage, root, Say())
    limits, busy = context.environment.rollout, context.target.busy_seconds
    return (
        longest_seconds(limits, busy, interrupted=True),
        longest_seconds(limits, busy, interrupted=False),
    )


def _command(step: Job) -> re.Match[str] | None:
    return COMMAND.search(str(step.get("run")))


def _stages(job: Job, known: list[str]) -> list[str]:
    """The environments that a job can deploy to: one, or any that its name may turn out to be."""
    place = job.get("environment") or ""
    stage = place if isinstance(place, str) else str(place.get("name"))
    return [stage] if stage in known else known
