"""`python -m engine.deploy logs ENV`: the service's log."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.deploy.commands.context import add_stage, open_context
from engine.deploy.say import Say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    add_stage(parser)
    parser.add_argument("--follow", "-f", action="store_true", help="go on until Ctrl-C")


def run(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Print the lines; 0, also when the reader ends it.

    Raises:
        EngineError: there is no log.
    """
    context = open_context(options.environment, root, say)
    try:
        for line in context.target.logs(follow=options.follow):
            print(say.redact(line), flush=True)
    except KeyboardInterrupt:
        if not options.follow:
            raise
    return 0
