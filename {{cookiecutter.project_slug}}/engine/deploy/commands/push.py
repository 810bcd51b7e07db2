"""`python -m engine.deploy push`: this commit's image into the registry; its digest on stdout."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.deploy.az import Az
from engine.deploy.commands.context import add_dry_run
from engine.deploy.config.read import read_project
from engine.deploy.image import wants_edge
from engine.deploy.outcome import write_output
from engine.deploy.push import Wish, hand_over, push, push_edge
from engine.deploy.say import Say
from engine.errors import EngineError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    add_dry_run(parser)
    parser.add_argument(
        "--allow-dirty", action="store_true", help="push although files differ from the commit"
    )
    parser.add_argument(
        "--built", metavar="IMAGE", help="push this image, which was built from this commit"
    )
    parser.add_argument(
        "--built-edge",
        metavar="IMAGE",
        help="push this image too, which ends HTTPS; by its id, nobody can have replaced it",
    )
    parser.add_argument(
        "--expect-id", metavar="ID", help="with --built: refuse it if its id is another one"
    )


def run(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Push, and print ``REGISTRY/NAME@sha256:…`` as the last line of stdout; 0.

    Raises:
        EngineError: it cannot be pushed.
    """
    if options.expect_id and not options.built:
        raise EngineError("--expect-id was given without --built", "name the image with --built")
    az, project = Az(say, dry_run=options.dry_run), read_project(root)
    built_edge = options.built_edge or None
    wish = Wish(options.allow_dirty, options.built, options.expect_id, built_edge)
    if built_edge or (wants_edge(root) and not options.built):
        edge = push_edge(az, say, project, wish)
        if edge is not None:
            write_output(edge=edge.reference)
    pushed = push(az, say, project, wish)
    if pushed is not None:
        hand_over(pushed)
        print(pushed.reference)
    return 0
