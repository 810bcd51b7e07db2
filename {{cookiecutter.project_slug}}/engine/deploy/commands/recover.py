"""`python -m engine.deploy recover ENV`: finish or undo an interrupted rollout, nothing else."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.deploy.azure_ids import same
from engine.deploy.commands.context import Context, add_stage, open_context
from engine.deploy.commands.elsewhere import elsewhere
from engine.deploy.commands.retire import retire
from engine.deploy.commands.up import announce
from engine.deploy.config import names
from engine.deploy.journal import Record
from engine.deploy.outcome import AS_BEFORE, NEW, UNKNOWN, write_output
from engine.deploy.preflight import require
from engine.deploy.rollout.interrupted import finish_interrupted, unfinished
from engine.deploy.rollout.ownership import as_recorded
from engine.deploy.say import Say
from engine.deploy.targets.base import Live
from engine.errors import EngineError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    add_stage(parser)
    parser.add_argument(
        "--image",
        metavar="REF",
        help="the image of this run of the workflow: its outputs say whether it serves",
    )
    parser.add_argument(
        "--undo",
        action="store_true",
        help="restore the previous release without waiting for the new one; "
        "a release that was already kept stays",
    )


def serving(live: Live | None, image: str) -> str:
    """The value of the step output ``serves``, from the image that is live.

    Args:
        image: REGISTRY/NAME@sha256:DIGEST of the release that this run of the workflow deploys.
    """
    shown = None if live is None else live.tags.get(names.TAG_IMAGE)
    return NEW if same(shown, image.partition("@")[2]) else AS_BEFORE


def run(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Recover, and print what serves; 0. Changes nothing if no rollout was interrupted.

    Raises:
        EngineError: it could not be done, or another deploy is running.
    """
    stage = options.environment
    context = open_context(stage, root, say)
    if (inside := context.inside) is not None and (left := inside.clear()):
        say.step(f"removed what verified: {', '.join(left)}")
    live = context.target.read()
    if live is not None:
        live = as_recorded(context.target, context.journal, live)
    interrupted = unfinished(live, context.journal.records())
    if not interrupted:
        # The step that was cancelled may have restored it, and had no time to write this.
        if options.image:
            write_output(serves=serving(live, options.image))
        print(f"{stage}: no rollout was interrupted; {_serving(context, live)}")
        retire(context)
        return 0
    needed = _secret_names(context, interrupted, live)
    require(context.secret_findings(needed, needed, context.secrets(needed)), say.warning)
    write_output(serves=UNKNOWN)
    # What was kept since may have to come back: its secrets are those of the environment.
    site = context.site(needed | set(context.environment.secrets))
    try:
        with site.guard.watching():
            live = finish_interrupted(site, undo_unverified=options.undo)
    except EngineError as error:
        say.summary(f"### {stage}: not recovered\n\n{error.cause}\n\n**Fix**: {error.fix}")
        raise
    if options.image:
        write_output(serves=serving(live, options.image))
    done = f"{stage}: the interrupted rollout is closed; {_serving(context, live)}"
    say.summary(f"### {done}")
    print(done)
    if live is not None:
        announce(context, live.address)
    retire(context)
    return 0


def _secret_names(context: Context, records: list[Record], live: Live | None) -> set[str]:
    documents = [each for record in records for each in (record.previous, record.next) if each]
    documents += [live.document] if live is not None else []
    return {name for each in documents for name in context.target.secret_names(each)}


def _serving(context: Context, live: Live | None) -> str:
    others = "".join(f"; {each.words()} is as before the move" for each in elsewhere(context))
    if live is None:
        return (context.target.left_running() or "nothing is deployed") + others
    revision = context.target.tags(live.document).get(names.TAG_REVISION, "an unknown revision")
    return f"{'stopped' if live.stopped else 'serving'}: {revision}{others}"
