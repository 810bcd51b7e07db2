"""Put a document in the place of what is live, prove that it answers, make it the one that serves.

The steps of a rollout in order. Each may fail; what happens then is decided in
``engine.deploy.rollout.ending``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from engine.client.failures import WrongRelease
from engine.deploy.config import names
from engine.deploy.journal import KEPT, Record
from engine.deploy.rollout import marks
from engine.deploy.rollout.ownership import require_live, require_record, write
from engine.deploy.rollout.signs import Signs, attended
from engine.deploy.rollout.site import NotUp, Site, TakenOver
from engine.deploy.rollout.waiting import (
    POLL_SECONDS,
    VISIBLE_SECONDS,
    patiently,
    remove,
    wait_until_ready,
    wait_until_seen,
)
from engine.deploy.targets.base import Check, Document, Live
from engine.deploy.targets.compare import same_secrets, secrets_fingerprint
from engine.errors import EngineError


def put(site: Site, record: Record, live: Live | None) -> None:
    """Ask Azure for the record's document; where it cannot be changed in place, delete first.

    Raises:
        TakenOver: another deploy is at work here now.
        EngineError: Azure refused.
    """
    target = site.target
    check = partial(require_still_free, site, record)
    give_up = site.patience()
    check()
    if make_way(site, live, record.next, check, give_up, stoppable=True):
        check()
    if live is not None and live.stopped and target.serves_on:
        target.start()
    tags = target.tags(record.next)
    begun = marks.under_way(tags, record.id, marks.VERIFYING)
    document = target.with_tags(record.next, begun)
    site.say.step(f"applying to {target.what}")
    apply = partial(target.apply, document, site.values(document), check)
    patiently(site, apply, check, give_up, stoppable=True)


def make_way(
    site: Site,
    live: Live | None,
    wanted: Document,
    check: Check,
    give_up: float,
    applied: Document | None = None,
    *,
    stoppable: bool = False,
) -> bool:
    """Delete what is there if Azure cannot change it into what is wanted; whether it did.

    ``applied`` is what Azure took last, where it may still show what was there before.
    """
    there = [live.document] if live is not None else []
    there += [applied] if applied is not None else []
    reasons = [path for each in there for path in site.target.blockers(each, wanted)]
    if live is not None and live.stopped and not site.target.serves_on:
        reasons.append("it is stopped")
    if live is not None and not live.settled and not site.target.serves_on:
        reasons.append("Azure is still busy with it")
    if not reasons:
        return False
    site.say.warning(
        f"Azure cannot change {site.target.what} in place ({', '.join(dict.fromkeys(reasons))}): "
        "it is deleted and created again, and nothing answers meanwhile"
    )
    remove(site, live, check, give_up, stoppable=stoppable)
    return True


def require_still_free(site: Site, record: Record) -> Live | None:
    """What is live, if nobody else has taken the rollout or changed it.

    Raises:
        TakenOver: someone has.
    """
    require_record(site, record)
    live = site.read()
    require_live(site, record, live)
    return live


@dataclass(frozen=True, slots=True)
class Proof:
    """A release that was verified: the report in Markdown, and what was live just afterwards."""

    report: str
    live: Live


def prove(
    site: Site, record: Record, document: Document, state: str | None, before: Live | None = None
) -> Proof:
    """Wait for the release and verify it.

    What was there before may be shown, and may answer, for a while after Azure took the change:
    then it is waited for and verified again, for as long as the start may take.

    Args:
        state: of the change; see ``engine.deploy.rollout.ownership.see``.
        before: what was live before the change, if that is known.

    Raises:
        EngineError: it must not be kept.
        TakenOver: what is live is another deploy's by now.
    """
    give_up = site.clock.monotonic() + VISIBLE_SECONDS + site.limits.start_seconds
    signs = Signs(site, record)
    while True:
        try:
            return _prove_once(site, record, document, state, before, signs, give_up)
        except _NotTheRelease as error:
            failure, again = error.failure, str(error)
        except TakenOver:
            raise
        except EngineError as error:
            if not _may_be_former(site, record, state, error):
                raise
            failure, again = error, f"what was there before still answers: {error.cause}"
        if site.clock.monotonic() >= give_up:
            raise failure
        site.say.step(again)
        site.clock.sleep(POLL_SECONDS)


class _NotTheRelease(Exception):
    """What was verified was not the container that is there now. ``failure`` is the last word."""

    def __init__(self, why: str, failure: EngineError) -> None:
        super().__init__(why)
        self.failure = failure


def _prove_once(
    site: Site,
    record: Record,
    document: Document,
    state: str | None,
    before: Live | None,
    signs: Signs,
    until: float,
) -> Proof:
    ready = wait_until_ready(site, record, state, signs, before, until)
    addresses = site.asked(site.target.candidate_addresses)
    if not addresses:
        raise EngineError(f"{site.target.what} has no address", "look at it in the portal")
    site.say.step(f"ready; verifying {' and '.join(addresses)}")
    release = marks.release(site.target.tags(document))

    headers = site.asked(site.target.candidate_headers)
    authority = site.asked(site.target.candidate_authority)

    def verify() -> str:
        found = (site.checks.verify(each, headers, release, authority) for each in addresses)
        return "\n\n".join(found)

    report, failure = "", None
    try:
        report = attended(site, verify, signs, site.limits.verify_seconds)
    except TakenOver:
        raise
    except EngineError as error:
        failure = error
    live = wait_until_seen(site, record, state)
    crashed = live.restarts > ready.restarts
    unsteady = NotUp(
        f"{site.target.what} restarted while it was verified: {live.state}", "read its log"
    )
    if not site.target.serves_on and not crashed and _restarted(ready, live):
        raise _NotTheRelease("its container was replaced; verifying again", failure or unsteady)
    if failure is not None:
        raise failure
    if crashed:
        raise unsteady
    return Proof(report, live)


def _restarted(before: Live, after: Live) -> bool:
    return (before.since, before.restarts) != (after.since, after.restarts)


def _may_be_former(site: Site, record: Record, state: str | None, error: EngineError) -> bool:
    """Whether what failed may be what the change replaces, and not what it makes.

    What is put back served before: there it is the more likely.
    """
    if state == marks.RESTORING:
        return True
    if not isinstance(error, WrongRelease) or record.previous is None:
        return False
    release = marks.release(site.target.tags(record.previous))
    if release is None or error.found is None:
        return True
    return error.found == (release.revision, release.model_digest)


def keep(site: Site, record: Record, proof: Proof) -> None:
    """The one step that decides. After it the release serves, whatever happens to this process.

    On a container group it is the record of the journal; on an app, the request that gives the
    new revision the traffic.
    """
    require_record(site, record)
    if not site.target.serves_on:
        write(site, record.closed(KEPT, "", site.now()))
        return
    site.target.keep(marks.kept(proof.live.tags))
    close(site, record, KEPT, "")


def close(site: Site, record: Record, phase: str, reason: str) -> None:
    """Write the end into the journal; a record that stays open is closed by the next run.

    Raises:
        TakenOver: another run has taken or ended the rollout.
    """
    try:
        write(site, record.closed(phase, site.say.redact(reason), site.now()))
    except TakenOver:
        raise
    except EngineError as error:
        site.say.warning(
            f"the rollout's record was not closed, the next run does it: {error.cause}"
        )


def stamped(site: Site, document: Document) -> Document:
    """The document with the fingerprint of the secrets that it is deployed with."""
    fingerprint = secrets_fingerprint(site.values(document))
    tags = {**site.target.tags(document), names.TAG_SECRETS: fingerprint}
    return site.target.with_tags(document, tags)


def restamped(site: Site, previous: Document) -> Document:
    """A former document with the fingerprint renewed, if its secrets have changed since."""
    known = site.target.tags(previous).get(names.TAG_SECRETS)
    if known is None or same_secrets(site.values(previous), known):
        return previous
    return stamped(site, previous)
