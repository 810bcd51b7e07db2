"""`python -m engine.deploy rollback ENV`: an earlier release again, whole, by the same rollout."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.deploy import hooks, summary
from engine.deploy.commands.context import Context, add_stage, open_context
from engine.deploy.commands.retire import retire
from engine.deploy.commands.up import CERTIFICATE_SECONDS, announce
from engine.deploy.config import names
from engine.deploy.journal import KEPT, Record
from engine.deploy.outcome import AS_BEFORE, UNKNOWN
from engine.deploy.preflight import image_findings, require
from engine.deploy.rollout import marks
from engine.deploy.rollout.run import roll_out
from engine.deploy.rollout.site import Busy
from engine.deploy.say import Say
from engine.deploy.targets.base import Document, Live, Release, Target
from engine.errors import EngineError

PREVIOUS = "previous"
_SHORT = 12
_AGAIN_SECONDS = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    add_stage(parser)
    parser.add_argument(
        "--to",
        metavar="REVISION",
        default=PREVIOUS,
        help="a git revision that was deployed before, or its beginning; default: the one before "
        "that which serves now",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and change nothing"
    )
    parser.add_argument(
        "--wait",
        metavar="MINUTES",
        type=float,
        default=0,
        help="how long to wait for the end of another deploy that is at work (default: not at all)",
    )


def run(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Roll back, and print the address as the last line of stdout; 0.

    After a wait the release to go back to is looked up again: another one may serve by then.

    Raises:
        EngineError: it was not done; the message says why, and what serves now.
    """
    began = time.monotonic()
    while True:
        try:
            return _roll_back(options, root, say)
        except Busy as error:
            if time.monotonic() >= began + 60 * options.wait:
                seconds = time.monotonic() - began
                say.summary(summary.failure(options.environment, None, error, seconds))
                raise
            say.step(f"{error.cause}; asking again in {_AGAIN_SECONDS:.0f} s")
        time.sleep(_AGAIN_SECONDS)


def _roll_back(options: argparse.Namespace, root: Path, say: Say) -> int:
    began = time.monotonic()
    stage = options.environment
    release: Release | None = None
    try:
        back = _look(open_context(stage, root, say, dry_run=options.dry_run), options.to)
        release = back.release
        say.step(f"going back to {release.revision}, which was deployed by {back.record.by}")
        if options.dry_run:
            changes = back.changes()
            print(f"would roll {stage} back to {release.revision} ({release.image})")
            print("\n".join(f"  changes {path}" for path in changes))
            return 0
        site = back.context.site(back.secret_names())
        with site.guard.watching(), summary.serving(AS_BEFORE, undone=UNKNOWN):
            outcome = roll_out(site, back.record.next)
    except Busy:
        raise
    except EngineError as error:
        say.summary(summary.failure(stage, release, error, time.monotonic() - began))
        raise
    seconds = time.monotonic() - began
    say.step(f"{stage}: {summary.words(outcome.kind)}, after {seconds:.0f} s")
    say.summary(summary.success(stage, release, outcome, seconds))
    announce(back.context, outcome.address, CERTIFICATE_SECONDS)
    known = hooks.facts(release, environment=stage, outcome=outcome.kind, url=outcome.address)
    hooks.after(hooks.AFTER_ROLLBACK, root, say, known)
    retire(back.context)
    return 0


@dataclass(frozen=True, slots=True)
class _Back:
    """The record to go back to, and what serves now."""

    context: Context
    record: Record
    release: Release
    live: Live | None

    def secret_names(self) -> set[str]:
        return _secrets(self.context.target, self.record.next, self.live)

    def changes(self) -> tuple[str, ...]:
        if self.live is None:
            return ("everything: nothing serves now",)
        return self.context.target.differences(self.live.document, self.record.next)


def choose(target: Target, records: Sequence[Record], live: Live | None, revision: str) -> Record:
    """The newest record, of those given newest first, of the release that is meant.

    Raises:
        EngineError: there is none; the message lists what there is.
    """
    kept = [record for record in records if record.phase == KEPT]
    if revision == PREVIOUS:
        found = predecessor(target, records, live)
    else:
        found = next((each for each in kept if _revision(target, each).startswith(revision)), None)
    if found is None and any(record.open for record in records):
        raise EngineError(
            "no earlier release is on record, and a rollout was interrupted",
            "`.venv/bin/python -m engine.deploy recover ENV` finishes or undoes it",
        )
    if found is None:
        known = ", ".join(dict.fromkeys(_revision(target, each)[:_SHORT] for each in kept))
        raise EngineError(
            f"no earlier release {'' if revision == PREVIOUS else revision + ' '}is on record",
            f"on record are: {known or 'none'}; any commit can be deployed: check it out, and "
            "`.venv/bin/python -m engine.deploy up ENV`",
        )
    return found


def predecessor(target: Target, records: Iterable[Record], live: Live | None) -> Record | None:
    """The newest record, of those given newest first, of another release than the one that serves.

    A release that was deployed again, with a new secret for example, is no other one.
    """
    now = target.tags(live.document) if live is not None else {}
    serving = marks.rollout(now)
    for record in records:
        older = serving is None or record.id < serving
        if record.phase == KEPT and older and not _same(target, record, now):
            return record
    return None


def _look(context: Context, revision: str) -> _Back:
    target = context.target
    live = target.read()
    record = choose(target, context.journal.records(), live, revision)
    release = marks.release(target.tags(record.next))
    if release is None:
        raise EngineError(f"the record {record.id} names no release", "choose another one")
    wanted = target.secret_names(record.next)
    needed = _secrets(target, record.next, live)
    known = context.secrets(needed)
    image = image_of(context, release)
    findings = image_findings(context.az, context.project, image)
    findings += context.secret_findings(wanted, needed, known)
    require(findings, context.say.warning)
    return _Back(context, record, release, live)


def image_of(context: Context, release: Release) -> str:
    """The image of a recorded release; records hold its digest."""
    return f"{context.project.registry}/{names.image_repository(context.project)}@{release.image}"


def _secrets(target: Target, document: Document, live: Live | None) -> set[str]:
    before = target.secret_names(live.document) if live is not None else ()
    return {*target.secret_names(document), *before}


def _revision(target: Target, record: Record) -> str:
    return target.tags(record.next).get(names.TAG_REVISION, "")


def _same(target: Target, record: Record, tags: dict[str, str]) -> bool:
    then = target.tags(record.next)
    same = (names.TAG_IMAGE, names.TAG_CONFIG)
    return all(then.get(name) == tags.get(name) for name in same)
