"""`python -m engine.deploy plan ENV`: what `up` would do, and nothing done."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.deploy.commands.context import add_stage, open_context
from engine.deploy.commands.wanted import look
from engine.deploy.say import Say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    add_stage(parser)
    parser.add_argument("--image", metavar="REF", help="as in `up`; default: this commit's image")


def run(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Print the plan, the document with hidden secrets included; 0.

    Raises:
        DeployError: `up` would refuse; with all that stands in its way.
    """
    context = open_context(options.environment, root, say)
    print(look(context, options.image, allow_dirty=True).plan())
    return 0
