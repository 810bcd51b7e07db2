"""What a rollout that failed leaves behind: exactly what was there before it, proved to answer."""

from __future__ import annotations

from functools import partial

from engine.deploy.az import AzError
from engine.deploy.journal import FAILED, KEPT, RESTORED, Record
from engine.deploy.rollout import marks
from engine.deploy.rollout.applying import (
    close,
    make_way,
    prove,
    require_still_free,
    restamped,
)
from engine.deploy.rollout.ownership import ended_as, require_live, require_record
from engine.deploy.rollout.site import RolloutFailed, Site, TakenOver, as_deploy_error
from engine.deploy.rollout.waiting import (
    patiently,
    remove,
    wait_until_seen,
    wait_until_settled,
)
from engine.deploy.targets.base import Document, Live
from engine.errors import EngineError

UNTOUCHED = "nothing was changed, the previous release serves"
DELETED = "there was no release before it, so it was deleted"
RESTORED_IT = "the previous release serves again"


def undo(site: Site, record: Record, reason: EngineError, *, applied: bool) -> None:
    """Bring back what was there before; returns only if the rollout turns out to be kept after all.

    Args:
        applied: Azure took the record's document, even if it does not show it yet.

    Raises:
        RolloutFailed: always otherwise, with the reason and with what serves now.
        TakenOver: another deploy has taken it over.
    """
    site.say.step(f"not kept: {reason.cause}")
    try:
        if ended_as(site, record, KEPT):
            return
        require_record(site, record)
        live = site.read()
        if live is not None and is_kept(live, record):
            close(site, record, KEPT, "")
            return
        require_live(site, record, live)
        phase, outcome = _put_back(site, record, live, applied=applied)
    except TakenOver:
        raise
    except Exception as error:
        second = as_deploy_error(error)
        raise RolloutFailed(
            f"{reason.cause}; and what was before it could not be restored: {second.cause}",
            f"{second.fix}; then run `.venv/bin/python -m engine.deploy up ENV` or `rollback ENV`: "
            "it begins with finishing this one",
            restored=False,
        ) from error
    close(site, record, phase, f"{reason.cause}; {outcome}")
    raise RolloutFailed(f"{reason.cause}; {outcome}", reason.fix, restored=True)


def is_kept(live: Live, record: Record) -> bool:
    """The rollout has passed the step that decides."""
    return marks.rollout(live.tags) == record.id and marks.state(live.tags) == marks.KEPT


def _put_back(site: Site, record: Record, live: Live | None, *, applied: bool) -> tuple[str, str]:
    """The phase and the words for what was done."""
    if record.previous is None:
        if live is not None or applied:
            site.say.step(f"deleting {site.target.what}: it was the first release")
            remove(site, live, partial(require_record, site, record), site.patience())
            require_record(site, record)
        left = site.target.left_running() or "nothing serves here, and nothing bills"
        return FAILED, f"{DELETED}: {left}"
    if live is not None and marks.rollout(live.tags) != record.id and not applied:
        return FAILED, UNTOUCHED
    restore(site, record, record.previous, applied=applied)
    if record.answered:
        return RESTORED, RESTORED_IT
    return RESTORED, f"{RESTORED_IT}, which answers as badly as before"


def restore(site: Site, record: Record, previous: Document, *, applied: bool = False) -> None:
    """Put the whole previous release back and prove that it answers, if it did before.

    ``applied``: see ``undo``.

    Raises:
        EngineError: it could not be done.
        TakenOver: another deploy has taken it over.
    """
    target = site.target
    previous = restamped(site, previous)
    tags = target.tags(previous)
    begun = marks.under_way(tags, record.id, marks.RESTORING)
    document = target.with_tags(previous, begun)
    site.say.step("restoring the previous release")
    check = partial(require_still_free, site, record)
    live = check()
    last = record.next if applied else None
    give_up = site.patience()
    if not target.serves_on and make_way(site, live, document, check, give_up, last):
        check()
    ask = partial(target.restore, document, site.values(document), check)
    patiently(site, ask, check, give_up)
    confirm(site, record, previous, live)


def confirm(site: Site, record: Record, previous: Document, before: Live | None = None) -> None:
    """Prove that the restored release answers, and give it its own tags again where that restarts
    nothing.

    ``before`` is what was live before it was put back, if that is known.
    """
    if record.answered:
        prove(site, record, previous, marks.RESTORING, before)
    else:
        wait_until_seen(site, record, marks.RESTORING)
        wait_until_settled(site)
        wait_until_seen(site, record, marks.RESTORING)
    require_record(site, record)
    if site.target.serves_on:
        _mark(site, previous)
    if record.stopped:
        site.asked(site.target.stop)


def _mark(site: Site, previous: Document) -> None:
    try:
        site.asked(partial(site.target.mark, site.target.tags(previous)))
    except AzError as error:
        if not error.refused:
            raise
        site.say.warning(f"the tags cannot be changed, the record says so: {error.message}")
