"""`python -m engine.deploy stop ENV` and `start ENV`: pay nothing while nobody needs it."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.deploy.commands import rollback
from engine.deploy.commands.context import Context, add_dry_run, add_stage, open_context
from engine.deploy.commands.up import announce
from engine.deploy.config import names
from engine.deploy.rollout import marks
from engine.deploy.rollout.ownership import as_recorded, require_there
from engine.deploy.rollout.site import Busy
from engine.deploy.rollout.waiting import wait_until_ready, wait_until_stopped
from engine.deploy.say import Say
from engine.deploy.targets.base import Live, images
from engine.deploy.targets.kind import kind_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of these commands."""
    add_stage(parser)
    add_dry_run(parser)


def stop(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Stop the service; 0, also if it was stopped already.

    Raises:
        EngineError: there is nothing to stop, or a rollout is under way.
    """
    context = open_context(options.environment, root, say, dry_run=options.dry_run)
    if kept_release(context).stopped:
        say.step(f"{context.target.what} is stopped already")
        return 0
    say.step(f"stopping {context.target.what}")
    context.target.stop()
    if not options.dry_run:
        wait_until_stopped(context.site(()))
    environment = context.environment
    say.step(
        f"stopped, so it bills nothing{kind_of(environment).bills_on(environment)}; again: "
        f"`.venv/bin/python -m engine.deploy start {options.environment}`"
    )
    return 0


def start(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Start the service and wait until it is ready; its address is the last line of stdout.

    Raises:
        EngineError: there is nothing to start, or it does not come up.
    """
    context = open_context(options.environment, root, say, dry_run=options.dry_run)
    live = kept_release(context)
    if live.stopped and not any(images(live.document)):
        # Nothing is left that could start: the release is deployed again, as it was.
        revision = live.tags[names.TAG_REVISION]
        again = {"to": revision, "dry_run": options.dry_run, "wait": 0}
        return rollback.run(argparse.Namespace(**vars(options) | again), root, say)
    if live.stopped:
        say.step(f"starting {context.target.what}")
        context.target.start()
    if not options.dry_run:
        live = wait_until_ready(context.site(()))
        if context.inside is not None and live.address is not None:
            # Nobody has asked it yet: its network lets nobody in.
            context.site(()).checks.verify(live.address, {}, None)
        announce(context, live.address)
    return 0


def kept_release(context: Context) -> Live:
    """What serves, or was stopped on purpose.

    Raises:
        EngineError: there is nothing.
        Busy: a rollout has no end.
    """
    live = as_recorded(context.target, context.journal, require_there(context.site(())))
    under_way = marks.rollout(live.tags) if marks.state(live.tags) != marks.KEPT else None
    record = context.journal.read(under_way) if under_way else None
    if record is not None:
        raise Busy(
            f"a rollout has no end: {record.id}, by {record.by}, since {record.started}",
            "wait for its end; if it was killed, `.venv/bin/python -m engine.deploy up ENV` "
            "finishes it first",
        )
    return live
