"""Whose rollout is it? Asked before every step that cannot be taken back.

Azure has no lock for this, so it is made of records: every run writes its own before it looks for
others, and a run that finds another one gives way. GitHub's ``concurrency`` keeps workflows apart
already; this holds for people at their terminals too.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from engine.deploy.journal import FAILED, KEPT, RESTORED, Journal, Record
from engine.deploy.rollout import marks
from engine.deploy.rollout.site import Busy, NotUp, Site, TakenOver
from engine.deploy.targets.base import Live, Target

SETTLE_SECONDS = 2.0
TAKE_OVER_SECONDS = 5.0
"""Longer than a request of the run that had it before may be on its way."""
GIVE_WAY_SECONDS = 20.0


def new_id(site: Site, records: Iterable[Record]) -> str:
    """An id for a rollout that begins now. It sorts after those of the records, also where a clock
    was wrong: their order says which release came before which.
    """
    times = [f"{site.clock.now():%Y%m%d%H%M%S}", *(str(int(each.id[:14]) + 1) for each in records)]
    return f"{max(times)}-{secrets.token_hex(3)}"


def claim(site: Site, record: Record) -> None:
    """Write the record of a rollout that begins; two that begin at once cannot both go on.

    A run that finds an older one gives way at once. A run that finds a younger one waits until that
    one has given way; if it does not, it looked before this one wrote, and this one gives way.

    Raises:
        Busy: another deploy began at the same time; this one has changed nothing.
    """
    site.journal.write(record)
    give_up = site.clock.monotonic() + GIVE_WAY_SECONDS
    while rivals := [other for other in site.journal.records() if _rival(other, record)]:
        if rivals[-1].id < record.id or site.clock.monotonic() >= give_up:
            site.journal.write(record.closed(FAILED, "gave way to another deploy", site.now()))
            raise busy(rivals[-1])
        site.clock.sleep(SETTLE_SECONDS)


def take_over(site: Site, record: Record) -> Record:
    """Make an abandoned rollout this run's own.

    Raises:
        Busy: another run did so at the same time.
    """
    taken = record.taken_by(site.owner, site.process, site.by)
    site.asked(partial(site.journal.write, taken))
    site.clock.sleep(TAKE_OVER_SECONDS)
    require_record(site, taken)
    return taken


def require_record(site: Site, record: Record) -> None:
    """Make sure that the rollout is still this run's.

    Raises:
        TakenOver: another run has taken or ended it.
    """
    now = site.record(record.id)
    if now is None or not now.open or now.owner != site.owner:
        raise _taken(record, now.by if now else "someone who removed its record")


def write(site: Site, record: Record) -> None:
    """Write the rollout's record, if the rollout is still this run's.

    Raises:
        TakenOver: another run has taken or ended it.
        EngineError: Azure refused, or was not done in time.
    """

    def act() -> None:
        # Its answer may have been lost: then it is there.
        if not ended_as(site, record, record.phase):
            require_record(site, record)
            site.journal.write(record)

    site.asked(act)


def ended_as(site: Site, record: Record, phase: str) -> bool:
    """Whether this run has written this end of the rollout."""
    now = site.record(record.id)
    return now is not None and not now.open and (now.owner, now.phase) == (site.owner, phase)


def require_live(site: Site, record: Record, live: Live | None) -> None:
    """Make sure that what is live is the rollout's, or still what was there before it.

    Raises:
        TakenOver: it is another's.
    """
    if live is None:
        return
    found = marks.rollout(live.tags)
    if found == record.id or _is_before(site, record, found):
        return
    raise _taken(record, f"the rollout {found}" if found else "someone who removed its tags")


def see(site: Site, record: Record, state: str | None) -> Live | None:
    """What is live; None as long as Azure shows what was there before this run's last change.

    Azure promises nowhere that an answer knows of a change that was accepted before.

    Args:
        state: with which the change was sent: VERIFYING or RESTORING; None: any.

    Raises:
        TakenOver: it belongs to a third rollout, or another run has brought this one to its end.
    """
    live = site.read()
    found = marks.rollout(live.tags) if live is not None else None
    if live is None or found is None:
        return None
    if found != record.id:
        require_live(site, record, live)
        return None
    shown = marks.state(live.tags)
    if state in (shown, None):
        return live
    if state == marks.VERIFYING:
        raise _taken(record, f"another run, which left it {shown}")
    return None


def as_recorded(target: Target, journal: Journal, live: Live) -> Live:
    """What is live, with the tags of a kept release if its record says that it was kept."""
    if marks.state(live.tags) == marks.KEPT:
        return live
    record = journal.read(marks.rollout(live.tags) or "")
    ended = (record.phase, marks.state(live.tags)) if record is not None else None
    if ended not in ((KEPT, marks.VERIFYING), (RESTORED, marks.RESTORING)):
        return live
    tags = marks.kept(live.tags)
    return replace(live, tags=tags, document=target.with_tags(live.document, tags))


def require_there(site: Site) -> Live:
    """What is live.

    Raises:
        NotUp: there is nothing.
    """
    live = site.read()
    if live is None:
        raise NotUp(
            f"there is no {site.target.what}",
            "deploy it: `.venv/bin/python -m engine.deploy up ENV`",
        )
    return live


def busy(record: Record) -> Busy:
    """The refusal to begin while another deploy is at work."""
    return Busy(
        f"another deploy is at work: {record.id}, by {record.by}, since {record.started}",
        "wait for its end and run this again; a workflow keeps its runs apart by `concurrency`",
    )


def _is_before(site: Site, record: Record, found: str | None) -> bool:
    """Whether it was there before the record's rollout."""
    if record.previous is None:
        return False
    before = marks.rollout(site.target.tags(record.previous))
    if found == before:
        return True
    # The last rollout was undone, and when this one began Azure did not show that yet.
    undone = site.record(before) if before else None
    return (
        undone is not None
        and undone.phase == RESTORED
        and undone.previous is not None
        and found == marks.rollout(site.target.tags(undone.previous))
    )


def _rival(other: Record, mine: Record) -> bool:
    return other.open and other.id != mine.id


def _taken(record: Record, by: str) -> TakenOver:
    return TakenOver(
        f"the rollout {record.id} was taken over by {by}; this one touches nothing any more",
        "look at what serves now: `.venv/bin/python -m engine.deploy status`",
    )
