"""Finish what a killed process left half done, before anything new begins.

From its waits follows how long a rollout can take at most.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from engine.deploy.config import names
from engine.deploy.config.environment import Rollout as Limits
from engine.deploy.journal import FAILED, KEPT, RESTORED, Record
from engine.deploy.rollout import marks
from engine.deploy.rollout.applying import close, keep, prove
from engine.deploy.rollout.ending import UNTOUCHED, confirm, is_kept, restore, undo
from engine.deploy.rollout.ownership import (
    GIVE_WAY_SECONDS,
    as_recorded,
    busy,
    require_record,
    take_over,
)
from engine.deploy.rollout.signs import certainly_dead
from engine.deploy.rollout.site import RolloutFailed, Site, TakenOver, as_deploy_error
from engine.deploy.rollout.waiting import POLL_SECONDS, VISIBLE_SECONDS, wait_until_settled
from engine.deploy.targets.base import Live
from engine.errors import EngineError

APPEAR_SECONDS = 15.0
"""How long a request of a process that is gone may need until Azure shows it; longer than any
stale answer that was reported. What appears later still is undone by the next run."""


def unfinished(live: Live | None, records: list[Record]) -> list[Record]:
    """The rollouts that have no end; the one that changed the resource last comes first."""
    mine = marks.rollout(live.tags) if live is not None else None
    half_done = mine if live is not None and marks.state(live.tags) != marks.KEPT else None
    found = [each for each in records if each.open or each.id == half_done]
    # The one that touched the resource last decides what is there; the others never came so far.
    return sorted(found, key=lambda each: each.id != mine)


def finish_interrupted(site: Site, *, undo_unverified: bool = False) -> Live | None:
    """The same as ``at_rest``, without the records."""
    return at_rest(site, undo_unverified=undo_unverified)[0]


def at_rest(site: Site, *, undo_unverified: bool = False) -> tuple[Live | None, list[Record]]:
    """Bring every rollout to its end that has none; what is live then, which is a kept release,
    and the records as they were before, the newest first.

    Args:
        undo_unverified: restore the previous release without waiting for the new one. A cancelled
            job has five minutes: too few to wait for a release and to restore another one.

    Raises:
        Busy: one of them is alive: another deploy is at work.
        EngineError: what it left could be neither finished nor undone.
    """
    live = _look(site)
    records = site.asked(site.journal.records)
    interrupted = unfinished(live, records)
    for record in interrupted:
        known = record if record.open else _reopened(site, record, records)
        _finish(site, known, undo_unverified=undo_unverified)
    if interrupted:
        live = _look(site)
    if live is not None and marks.state(live.tags) != marks.KEPT:
        raise EngineError(
            f"{site.target.what} is half deployed by the rollout {marks.rollout(live.tags)}, and "
            "there is no record of what was before it",
            "look at what it is (`.venv/bin/python -m engine.deploy status`); "
            "`.venv/bin/python -m engine.deploy down ENV --yes` removes it, and `up` deploys again",
        )
    kept = next((each for each in records if each.phase == KEPT), None)
    return live if kept is None else _up_to_date(site, live, kept), records


def _up_to_date(site: Site, live: Live | None, kept: Record) -> Live | None:
    """What is live, once Azure shows the release that was kept last, or has not for too long.

    Azure promises nowhere that an answer knows of a change that was accepted before.
    """
    give_up = site.clock.monotonic() + VISIBLE_SECONDS
    while _is_outdated(site, live, kept) and site.clock.monotonic() < give_up:
        site.clock.sleep(POLL_SECONDS)
        live = _look(site)
    return live


def _is_outdated(site: Site, live: Live | None, kept: Record) -> bool:
    if live is not None:
        return (marks.rollout(live.tags) or kept.id) < kept.id
    # Somebody removed it, or it was made just now.
    if not kept.ended:
        return False
    return site.clock.now() - datetime.fromisoformat(kept.ended) < timedelta(seconds=APPEAR_SECONDS)


def _look(site: Site) -> Live | None:
    live = site.read()
    if live is None:
        return None
    return site.asked(partial(as_recorded, site.target, site.journal, live))


def _reopened(site: Site, record: Record, records: list[Record]) -> Record:
    """A rollout that was thought to be over, and whose request arrived afterwards.

    What serves without it is the release that was kept since, if there is one.
    """
    for other in records:
        if other.phase == KEPT and other.id > record.id:
            tags = site.target.tags(other.next)
            kept = marks.under_way(tags, other.id, marks.KEPT)
            return replace(record, previous=site.target.with_tags(other.next, kept))
    return record


def _finish(site: Site, record: Record, *, undo_unverified: bool) -> None:
    site.say.step(f"the rollout {record.id} by {record.by}, since {record.started}, has no end")
    with site.guard.interruptible():
        _require_abandoned(site, record)
    record = take_over(site, record)
    try:
        _end(site, record, undo_unverified=undo_unverified)
    except TakenOver:
        # Raises where another run has it. Otherwise Azure showed late what the run that is gone
        # did last.
        require_record(site, record)
        _end(site, record, undo_unverified=undo_unverified)


def _end(site: Site, record: Record, *, undo_unverified: bool) -> None:
    live = _shown(site, record)
    if live is not None and marks.rollout(live.tags) != record.id and not live.settled:
        # It may be on its way out: a rollout that deletes first asks for that before its request.
        live = wait_until_settled(site)
    if live is not None and is_kept(live, record):
        close(site, record, KEPT, "closed by the next run")
    elif live is not None and marks.rollout(live.tags) == record.id:
        if marks.state(live.tags) == marks.RESTORING and record.previous is not None:
            _finish_restoring(site, record)
        elif undo_unverified:
            _undo(site, record, EngineError("the deploy was cancelled", "deploy it again"))
        else:
            _finish_verifying(site, record)
    elif live is not None:
        close(site, record, FAILED, f"interrupted; {UNTOUCHED}")
    elif record.previous is not None:
        restore(site, record, record.previous)
        close(site, record, RESTORED, "interrupted between delete and create")
    else:
        close(site, record, FAILED, "interrupted before anything was created")


def _shown(site: Site, record: Record) -> Live | None:
    """What is live, once Azure shows the rollout's change or has had the time to.

    The process may have died right after its request, and an answer may not know of it yet.
    """
    began = site.clock.monotonic()
    live = site.read()
    while (live is None or marks.rollout(live.tags) != record.id) and (
        site.clock.monotonic() < began + _patience(site, record, live)
    ):
        site.clock.sleep(POLL_SECONDS)
        live = site.read()
    return live


def _patience(site: Site, record: Record, live: Live | None) -> float:
    """Seconds to wait for the change; more where a deletion that goes on by itself came first."""
    if live is None or site.target.serves_on:
        return APPEAR_SECONDS
    deleted = live.stopped or site.target.blockers(live.document, record.next)
    return VISIBLE_SECONDS if deleted or not live.settled else APPEAR_SECONDS


def _finish_verifying(site: Site, record: Record) -> None:
    """Keep the release if it is good, else bring back the one before."""
    try:
        proof = prove(site, record, record.next, marks.VERIFYING)
        keep(site, record, proof)
    except Exception as error:
        if isinstance(error, TakenOver):
            raise
        _undo(site, record, as_deploy_error(error))


def _undo(site: Site, record: Record, reason: EngineError) -> None:
    """Restore the release before; that the interrupted one is not kept is no failure here."""
    try:
        undo(site, record, reason, applied=True)
    except RolloutFailed as failed:
        if not failed.restored:
            raise
        site.say.step(f"that rollout is undone: {failed.cause}")


def _finish_restoring(site: Site, record: Record) -> None:
    assert record.previous is not None  # noqa: S101 - asked by the caller
    try:
        confirm(site, record, record.previous)
    except EngineError as error:
        site.say.step(f"the restored release does not answer: {error.cause}")
        restore(site, record, record.previous)
    close(site, record, RESTORED, "interrupted while restoring; restored by the next run")


def _require_abandoned(site: Site, record: Record) -> None:
    """Watch for signs of life, for as long as a lease lasts.

    Raises:
        Busy: there are some.
    """
    if certainly_dead(record.process):
        return
    seconds = site.limits.lease_seconds
    site.say.step(f"watching it for signs of life, {seconds} s")
    first = _sign(site, record, live := site.read())
    quiet_until = site.clock.monotonic() + seconds
    give_up = quiet_until + site.limits.start_seconds
    while (now := site.clock.monotonic()) < quiet_until:
        site.clock.sleep(POLL_SECONDS)
        if live is not None and not live.settled and not live.failure and now < give_up:
            # Azure works on it: its deploy, alive or dead, can only wait. From what cannot come
            # up it would turn away at once.
            quiet_until = now + seconds
        current = site.record(record.id)
        if current is None or _sign(site, current, live := site.read()) != first:
            raise busy(record)


def _sign(site: Site, record: Record, live: Live | None) -> tuple[object, ...]:
    """What a living rollout changes every few seconds."""
    tags = live.tags if live is not None else {}
    return (
        record.phase,
        record.owner,
        tags.get(names.TAG_ROLLOUT),
        tags.get(names.TAG_STATE),
        tags.get(names.TAG_HEARTBEAT),
        site.asked(partial(site.journal.last_sign, record.id)),
    )


def longest_seconds(limits: Limits, busy_seconds: float, *, interrupted: bool) -> float:
    """Seconds until a rollout has kept its release or restored the one before, at most.

    Not counted is the time of single requests, which is short.

    Args:
        limits: of the environment.
        busy_seconds: of its target.
        interrupted: whether it first has to finish and to undo one that was interrupted.
    """
    prove = VISIBLE_SECONDS + limits.start_seconds + limits.verify_seconds + VISIBLE_SECONDS
    change = busy_seconds + VISIBLE_SECONDS + prove
    begin: float = limits.start_seconds
    if interrupted:
        watch = 2 * limits.lease_seconds + limits.start_seconds
        appear = max(APPEAR_SECONDS, VISIBLE_SECONDS)
        begin = watch + appear + limits.start_seconds + prove + change
    # The change and its undoing.
    return begin + GIVE_WAY_SECONDS + 2 * change
