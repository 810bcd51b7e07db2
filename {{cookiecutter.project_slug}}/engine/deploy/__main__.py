"""`python -m engine.deploy`: put the service on Azure, look at it, take it back.

Progress goes to stderr and results to stdout. Exit code 0: done; 1: not done, with the cause and
the fix; 2: the command line or the configuration is wrong; 130: interrupted by a signal.
`verify` ends with 3 if the service is proved wrong, and with 4 if that could not be found out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from engine.serving.installed import locked_packages

with locked_packages(".venv/.deploy"):
    from engine.deploy.commands import (
        baseline,
        bootstrap,
        doctor,
        down,
        load,
        logs,
        monitoring,
        move,
        plan,
        power,
        prune,
        push,
        recover,
        rollback,
        status,
        up,
        verify,
    )
    from engine.deploy.config.read import environment_names
    from engine.deploy.rollout.guard import Stopped
    from engine.deploy.say import Say, default_say
    from engine.errors import EngineError, for_stage
    from engine.serving.proxies import keep_local_direct

ROOT = Path(__file__).resolve().parents[2]
STOPPED = 130
MADE = ("plan", "up", "rollback", "move")
"""Commands that have a target of the same name in the Makefile."""


class Command(NamedTuple):
    """One command of the command line."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Path, Say], int]


COMMANDS = {
    "bootstrap": Command(
        "once: registry, identities, roles, GitHub; again: repairs them",
        bootstrap.add_arguments,
        bootstrap.run,
    ),
    "push": Command("this commit's image into the registry", push.add_arguments, push.run),
    "baseline": Command(
        "fetch what an environment serves, to compare models with it",
        baseline.add_arguments,
        baseline.run,
    ),
    "plan": Command("what up would do", plan.add_arguments, plan.run),
    "up": Command("deploy: verified and kept, or undone", up.add_arguments, up.run),
    "verify": Command(
        "check the running service: right release, right answers, fast enough",
        verify.add_arguments,
        verify.run,
    ),
    "load": Command(
        "the load test, where only the environment's network reaches it",
        load.add_arguments,
        load.run,
    ),
    "doctor": Command("what is wrong, and what to do", doctor.add_arguments, doctor.run),
    "status": Command("what runs where", status.add_arguments, status.run),
    "monitoring": Command(
        "alerts, workbook, budget: what watches it", monitoring.add_arguments, monitoring.run
    ),
    "logs": Command("the service's log", logs.add_arguments, logs.run),
    "recover": Command(
        "finish or undo a rollout that was interrupted", recover.add_arguments, recover.run
    ),
    "move": Command(
        "the release that serves, on another kind of place", move.add_arguments, move.run
    ),
    "rollback": Command("an earlier release again", rollback.add_arguments, rollback.run),
    "stop": Command("stop the service, and its bill", power.add_arguments, power.stop),
    "start": Command("start what was stopped", power.add_arguments, power.start),
    "prune": Command("remove old images", prune.add_arguments, prune.run),
    "down": Command("remove an environment, or everything", down.add_arguments, down.run),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; its exit code."""
    options = _parser().parse_args(argv)
    keep_local_direct()
    say = default_say(verbose=options.verbose)
    try:
        return COMMANDS[options.command].run(options, ROOT, say)
    except EngineError as error:
        text = for_stage(f"error: {error}", getattr(options, "environment", None))
        print(say.redact(text), file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, Stopped):
        print("Interrupted. Run the same command again; it resumes.", file=sys.stderr)
        return STOPPED


class _Parser(argparse.ArgumentParser):
    """A parser that answers a missing environment with the command to type."""

    def error(self, message: str) -> NoReturn:
        if not message.endswith("required: ENV"):
            super().error(message)
        stages = environment_names(ROOT)
        command, stage = self.prog.split()[-1], stages[0] if stages else "ENV"
        example = f".venv/bin/python -m engine.deploy {command} {stage}"
        if command in MADE:
            example = f"make {command} ENV={stage}"
        there = f"deploy/environments/ has: {', '.join(stages) or 'none'}"
        self.exit(2, f"error: {command} needs an environment: `{example}` ({there})\n")


def _parser() -> argparse.ArgumentParser:
    shared = _Parser(add_help=False)
    shared.add_argument(
        "--verbose", "-v", action="store_true", help="show every command that is run"
    )
    parser = _Parser(prog="python -m engine.deploy", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.help, parents=[shared]))
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
