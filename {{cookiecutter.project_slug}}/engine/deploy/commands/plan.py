"""`python -m engine.deploy plan ENV`: what `up` would do, and nothing done."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.deploy.commands.context import add_stage, open_context, without_login
from engine.deploy.commands.wanted import local, look
from engine.deploy.say import Say
from engine.errors import NoAccess


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    add_stage(parser)
    parser.add_argument("--image", metavar="REF", help="as in `up`; default: this commit's image")


def run(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Print the plan, the document with hidden secrets included; 0.

    Without a login to Azure it is what the files say, with placeholders for what only Azure knows.

    Raises:
        EngineError: `up` would refuse; with everything that prevents it.
    """
    try:
        context = open_context(options.environment, root, say)
        text = look(context, options.image, allow_dirty=True).plan()
    except NoAccess as error:
        context = without_login(options.environment, root, say)
        text = local(context, options.image).plan()
        print(f"not asked:   Azure ({error.cause}); <names> like this stand for what it knows")
    print(text)
    return 0
