"""`python -m engine.deploy move ENV --to TARGET`: what serves, on another kind of place.

It is deployed beside and verified as any other; the old place serves on until `--finish`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.deploy import image as images
from engine.deploy.commands import bootstrap
from engine.deploy.commands.context import Context, add_stage, open_context
from engine.deploy.commands.elsewhere import elsewhere, tell
from engine.deploy.commands.power import kept_release
from engine.deploy.commands.up import deploy, pushed
from engine.deploy.commands.wanted import look
from engine.deploy.config.moving import moved
from engine.deploy.config.read import environment_file
from engine.deploy.rollout import marks
from engine.deploy.rollout.guard import Stopped
from engine.deploy.rollout.waiting import wait_until_ready
from engine.deploy.say import Say
from engine.deploy.targets import kind_names
from engine.deploy.targets.base import Release
from engine.errors import ConfigError, EngineError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    add_stage(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--to", metavar="TARGET", choices=kind_names(), help="where it shall run")
    what.add_argument(
        "--finish", action="store_true", help="remove what serves on at the place of before"
    )
    parser.add_argument(
        "--file-only",
        action="store_true",
        help="change the environment's file and nothing else: commit it, and the workflow deploys",
    )
    parser.add_argument(
        "--bootstrap",
        action="store_true",
        help="first make what the new place needs on Azure, without GitHub",
    )
    parser.add_argument("--yes", action="store_true", help="with --finish: do it")


def run(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Move, and print the new address as the last line of stdout; 0.

    Raises:
        EngineError: it was not done; the message says why, and what serves now.
    """
    if options.finish:
        return _finish(open_context(options.environment, root, say), yes=options.yes)
    if options.file_only:
        with _file(root, options.environment, options.to, say):
            return 0
    context = open_context(options.environment, root, say)
    release = _release(context, options.to)
    with _file(root, options.environment, options.to, say) as file:
        if options.bootstrap:
            bootstrap.for_one(options.environment, root, say)
        there = open_context(options.environment, root, say)
        wanted = look(there, None, release=release)
        deploy(pushed(wanted, allow_dirty=True), time.monotonic())
    say.step(f"commit {file}: the workflow deploys to the place that it names")
    return 0


def _release(context: Context, to: str) -> Release:
    """The release that serves, at the place of before.

    Raises:
        EngineError: nothing was moved from, or this checkout cannot verify it.
    """
    if context.environment.target == to:
        # An earlier move to it was killed after it had changed the file.
        found = elsewhere(context)
        if not found:
            raise EngineError(
                f"{context.environment.stage} is on {to}", "name another place: --to TARGET"
            )
        context = found[0].context
    live = kept_release(context)
    release = marks.release(context.target.tags(live.document))
    if release is None:
        raise EngineError(
            f"{context.target.what} has no tags that say which release it is",
            "deploy it first: `.venv/bin/python -m engine.deploy up ENV`",
        )
    here = images.current_release().model_digest
    if here != release.model_digest:
        raise EngineError(
            f"what serves is revision {release.revision}, and this checkout has another model: the "
            "release could not be verified at the new place",
            f"git checkout {release.revision}, or deploy this commit first",
        )
    return release


@contextmanager
def _file(root: Path, stage: str, to: str, say: Say) -> Iterator[str]:
    """The environment's file with another target; as it was again if nothing came of it."""
    name = environment_file(stage)
    path = root / name
    before = path.read_text(encoding="utf-8")
    after = moved(before, to)
    say.step(f"{name}: target: {to}")
    _write(path, after)
    try:
        yield name
    except ConfigError as error:
        _write(path, before)
        raise EngineError(
            f"{stage} cannot be on {to} with what {name} says, so the file is as it was: {error}",
            f"add what differs there as a comment, which a move makes a field:  # on {to}: FIELD: "
            "VALUE",
        ) from None
    except (EngineError, Stopped) as error:
        if isinstance(error, EngineError) and not getattr(error, "restored", True):
            say.warning(f"{name} says {to} now; git diff shows the change")
            raise
        _write(path, before)
        say.step(f"{name} is as it was")
        raise


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.chmod(path.stat().st_mode)
    os.replace(beside, path)


def _finish(context: Context, *, yes: bool) -> int:
    """Remove what is elsewhere, if the release here is kept and ready."""
    found = elsewhere(context)
    if not found:
        context.say.step("nothing is left at another place")
        return 0
    kept_release(context)
    wait_until_ready(context.site(()))
    for each in found:
        context.say.step(f"{each.words()}; billed: {each.context.target.billing()}")
    if not yes:
        raise EngineError(
            "all that is listed above would be removed; clients that still use its address would "
            "be refused",
            "repeat the command with --yes",
        )
    for each in found:
        context.say.step(f"removing {each.context.target.what}")
        each.context.target.delete()
    tell(context)
    return 0
