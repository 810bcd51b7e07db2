"""A rollout from beginning to end: finish what was interrupted, record, replace, prove, keep.

Two things outlive this process, and together they say what is to be done if it dies at any step:
tags on the resource (``engine.deploy.rollout.marks``) and a record in the journal, which holds the
whole previous document. The record is written before anything is touched; the release is kept by
one write to the journal, or by the one request that gives it the traffic.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from engine.deploy.az import AzError
from engine.deploy.config import names
from engine.deploy.journal import FAILED, STARTED, Record
from engine.deploy.rollout import marks
from engine.deploy.rollout.applying import Proof, close, keep, prove, put, stamped
from engine.deploy.rollout.ending import undo
from engine.deploy.rollout.guard import Stopped
from engine.deploy.rollout.interrupted import at_rest
from engine.deploy.rollout.ownership import claim, new_id, require_live, require_there
from engine.deploy.rollout.site import Busy, NotUp, Site, TakenOver, as_deploy_error
from engine.deploy.rollout.waiting import wait_until_ready, wait_until_settled
from engine.deploy.targets.base import Document, Live
from engine.deploy.targets.compare import same_secrets
from engine.errors import EngineError

UNCHANGED, UPDATED, TAGGED, STARTED_AGAIN = "unchanged", "updated", "tagged", "started"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a rollout ended well. ``report`` is Markdown, empty if nothing was verified."""

    kind: str
    address: str | None
    report: str = ""


def roll_out(site: Site, wanted: Document) -> Outcome:
    """Make the wanted document the one that serves, or leave everything as it was.

    To be called inside of ``site.guard.watching()``, so that a signal cannot leave it half done.

    Raises:
        RolloutFailed: it was not kept; the message says why, and what serves now.
        Busy: another deploy is at work; nothing was changed.
        TakenOver: another deploy finished this one; nothing more was touched.
        EngineError: it could not begin; nothing was changed.
    """
    live, records = at_rest(site)
    if live is not None and not live.settled:
        with site.guard.interruptible():
            live = wait_until_settled(site)
    if live is not None and (done := _without_restart(site, live, wanted)) is not None:
        return done
    record = _record(site, new_id(site, records), live, stamped(site, wanted))
    _claim(site, record)
    proof = _replace(site, record, live)
    address = proof.live.address if proof else require_there(site).address
    return Outcome(UPDATED, address, proof.report if proof else "")


def _claim(site: Site, record: Record) -> None:
    try:
        claim(site, record)
        # Another deploy may have begun and ended since the previous release was read.
        require_live(site, record, site.read())
    except Busy:
        raise
    except TakenOver as error:
        with suppress(TakenOver):
            close(site, record, FAILED, "another deploy came first")
        raise Busy(
            "another deploy came to its end while this one began; nothing was changed by this one",
            "look at what serves now (`.venv/bin/python -m engine.deploy status`), then run it "
            "again if need be",
        ) from error
    except Exception as error:
        # Its record may not have been written at all.
        with suppress(TakenOver):
            close(site, record, FAILED, f"could not begin: {as_deploy_error(error).cause}")
        raise


def _replace(site: Site, record: Record, live: Live | None) -> Proof | None:
    """What verifying found; None if the release turned out to be kept after a failure."""
    applied = False
    try:
        with site.guard.interruptible():
            site.say.step(f"rollout {record.id} begins")
        # A request that is cut off may still arrive: signals wait until Azure has answered.
        put(site, record, live)
        applied = True
        with site.guard.interruptible():
            proof = prove(site, record, record.next, marks.VERIFYING, live)
        keep(site, record, proof)
    except TakenOver:
        raise
    except Stopped as error:
        reason = EngineError(f"stopped by {error}", "run the same command again")
        undo(site, record, reason, applied=applied)
    except Exception as error:  # noqa: BLE001 - whatever it is, the release before must come back
        undo(site, record, _explained(site, as_deploy_error(error)), applied=applied)
    else:
        return proof
    return None


def _explained(site: Site, error: EngineError) -> EngineError:
    """The failure with the cause that Azure's evidence shows, as long as it is still there."""
    try:
        return site.checks.explain(error)
    except Exception as second:  # noqa: BLE001 - explaining must not keep anyone from restoring
        site.say.detail(f"no evidence could be read: {as_deploy_error(second).cause}")
        return error


def _without_restart(site: Site, live: Live, wanted: Document) -> Outcome | None:
    """What can be done without a new container; None if that is not enough."""
    differing = site.target.differences(live.document, wanted)
    fingerprint = live.tags.get(names.TAG_SECRETS)
    if not same_secrets(site.values(wanted), fingerprint):
        return None
    if any(not path.startswith("tags.") for path in differing):
        return None
    kind = UNCHANGED
    if differing:
        of_rollout = {n: v for n, v in live.tags.items() if n in names.ROLLOUT_TAGS}
        kind = _tagged(site, marks.kept({**of_rollout, **site.target.tags(wanted)}))
    if live.stopped:
        site.say.step(f"{site.target.what} is stopped; starting it")
        site.target.start()
        return Outcome(STARTED_AGAIN, wait_until_ready(site).address)
    if live.failure or not (live.running or _answers(site, live)):
        raise NotUp(
            f"{site.target.what} is what was asked for, and does not run: "
            f"{live.failure or live.state}",
            "find out why: `.venv/bin/python -m engine.deploy doctor ENV`; or deploy another "
            "release",
        )
    return Outcome(kind, live.address)


def _tagged(site: Site, tags: dict[str, str]) -> str:
    """Write the tags; a service that runs is no failure because they cannot be written."""
    try:
        site.target.mark(tags)
    except AzError as error:
        if not error.refused:
            raise
        site.say.warning(f"the tags of {site.target.what} cannot be changed: {error.message}")
        return UNCHANGED
    return TAGGED


def _record(site: Site, rollout: str, live: Live | None, wanted: Document) -> Record:
    return Record(
        id=rollout,
        service=site.service,
        started=site.now(),
        by=site.by,
        owner=site.owner,
        process=site.process,
        phase=STARTED,
        previous=None if live is None else live.document,
        next=wanted,
        answered=live is not None and _answers(site, live),
        stopped=live is not None and live.stopped,
    )


def _answers(site: Site, live: Live) -> bool:
    """Whether the release that is about to be replaced is ready; else restoring cannot ask it."""
    if live.stopped or live.failure or live.address is None:
        return False
    try:
        return site.checks.ready(live.address, site.target.client_headers()) is None
    except EngineError:
        return False
