"""Whose rollout is it? Asked before every step that cannot be taken back.

Azure has no lock for this, so it is made of records: every run writes its own before it looks for
others, and a run that finds another one gives way. GitHub's ``concurrency`` keeps workflows apart
already; this holds for people at their terminals too.
"""

from __future__ import annotations

import secrets

from deploy.journal import FAILED, Record
from deploy.rollout import marks
from deploy.rollout.site import Busy, NotUp, Site, TakenOver
from deploy.targets.base import Live

SETTLE_SECONDS = 2.0
GIVE_WAY_SECONDS = 20.0


def new_id(site: Site) -> str:
    """An id for a rollout that begins now."""
    return f"{site.clock.now():%Y%m%d%H%M%S}-{secrets.token_hex(3)}"


def claim(site: Site, record: Record) -> None:
    """Write the record of a rollout that begins; two that begin at once cannot both go on.

    Whoever finds an older one gives way at once. Whoever finds a younger one waits until that one
    has given way; if it does not, it looked before this one wrote, and this one gives way.

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
    site.journal.write(taken)
    site.clock.sleep(SETTLE_SECONDS)
    require_record(site, taken)
    return taken


def require_record(site: Site, record: Record) -> None:
    """Make sure that the rollout is still this run's.

    Raises:
        TakenOver: another run has taken or ended it.
    """
    now = site.journal.read(record.id)
    if now is None or not now.open or now.owner != site.owner:
        raise _taken(record, now.by if now else "someone who removed its record")


def require_live(site: Site, record: Record, live: Live | None) -> None:
    """Make sure that what is live is the rollout's, or still what was there before it.

    Raises:
        TakenOver: it is another's.
    """
    if live is None:
        return
    found = marks.rollout(live.tags)
    before = record.previous
    if found == record.id:
        return
    if before is not None and found == marks.rollout(site.target.tags(before)):
        return
    raise _taken(record, f"the rollout {found}" if found else "someone who removed its tags")


def require_ours(site: Site, rollout_id: str) -> Live:
    """What is live, which must belong to this rollout and still be under way.

    Raises:
        TakenOver: it does not, or is not.
        NotUp: there is nothing.
    """
    live = require_there(site)
    found = marks.rollout(live.tags)
    if found != rollout_id or marks.state(live.tags) == marks.KEPT:
        raise TakenOver(
            f"{site.target.what} belongs to the rollout {found} now, not to {rollout_id}",
            "look at what serves now: `python -m deploy status`",
        )
    return live


def require_there(site: Site) -> Live:
    """What is live.

    Raises:
        NotUp: there is nothing.
    """
    live = site.target.read()
    if live is None:
        raise NotUp(f"there is no {site.target.what}", "deploy it: `python -m deploy up ENV`")
    return live


def busy(record: Record) -> Busy:
    """The refusal to begin while another deploy is at work."""
    return Busy(
        f"another deploy is at work: {record.id}, by {record.by}, since {record.started}",
        "wait for its end and run this again; a workflow keeps its runs apart by `concurrency`",
    )


def _rival(other: Record, mine: Record) -> bool:
    return other.open and other.id != mine.id


def _taken(record: Record, by: str) -> TakenOver:
    return TakenOver(
        f"the rollout {record.id} was taken over by {by}; this one touches nothing any more",
        "look at what serves now: `python -m deploy status`",
    )
