"""`python -m engine.deploy load ENV`: the load test of a private environment.

The limits are those of load/slo.yaml. What asks runs in the network that alone reaches it.
"""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path

from engine.client.service import front_door_setting
from engine.deploy.commands.context import add_stage, open_context
from engine.deploy.commands.verify import deployed
from engine.deploy.say import Say
from engine.deploy.verify import key_from
from engine.errors import EngineError
from engine.load import report
from engine.load.inside import COMMAND, Task, read_measured
from engine.load.slo import THINK_SECONDS, read_slo
from engine.load.verdict import judge

PASSED, MISSED = 0, 1
_BEGIN_SECONDS = 900.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    add_stage(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the report there")
    parser.add_argument("--seconds", type=int, help="measured time, instead of the file's")


def run(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Load, and print the report; 1 where an objective is missed.

    Raises:
        EngineError: everybody reaches the environment, or it could not be loaded.
    """
    slo = read_slo(root / "load" / "slo.yaml", None, options.seconds)
    context = open_context(options.environment, root, say)
    inside = context.inside
    _, url = deployed(context)
    if inside is None:
        raise EngineError(
            f"{options.environment} has an address that everybody reaches",
            f".venv/bin/python -m engine.load --url {url}",
        )
    task = Task(
        *(url, slo.users, slo.ramp_seconds, slo.before_seconds, slo.run_seconds, THINK_SECONDS)
    )
    say.step(f"{slo.users} users in the network of {options.environment} ask {url}")
    started = datetime.now(UTC).isoformat(timespec="seconds")
    key = key_from(os.environ)
    most = slo.before_seconds + slo.run_seconds + _BEGIN_SECONDS
    command = (*COMMAND, task.argument())
    secrets = {
        **({"LOAD_API_KEY": key} if key else {}),
        **front_door_setting(context.environment.variables),
    }
    ended = inside.run(command, secrets, most, say.detail)
    measured = read_measured(ended.exit_code, ended.lines)
    found = report.Run(url, started, slo, measured, judge(slo, measured))
    print(report.text(found))
    say.summary(report.markdown(found))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        report.write(found, options.out)
        print(f"report: {options.out}")
    return PASSED if found.verdict.passed else MISSED
