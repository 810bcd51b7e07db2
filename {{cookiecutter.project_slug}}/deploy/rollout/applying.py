"""Put a document in the place of what is live, prove that it answers, make it the one that serves.

The steps of a rollout in order. Each may fail; what happens then is decided in
``deploy.rollout.ending``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from deploy.config import names
from deploy.errors import DeployError
from deploy.journal import KEPT, Record
from deploy.rollout import marks
from deploy.rollout.ownership import require_live, require_ours, require_record
from deploy.rollout.pulse import attended
from deploy.rollout.site import NotUp, Site
from deploy.rollout.waiting import wait_until_ready
from deploy.targets.base import Document, Live
from deploy.targets.fingerprint import same_secrets, secrets_fingerprint


def put(site: Site, record: Record, live: Live | None) -> None:
    """Ask Azure for the record's document; where it cannot be changed in place, delete first.

    To be called right after the rollout was claimed, so whose it is need not be asked again.

    Raises:
        TakenOver: another deploy is at work here now.
        DeployError: Azure refused.
    """
    target = site.target
    if make_way(site, live, record.next):
        require_still_free(site, record)
    if live is not None and live.stopped and target.serves_on:
        target.start()
    tags = target.tags(record.next)
    begun = marks.under_way(tags, record.id, marks.VERIFYING, site.now())
    document = target.with_tags(record.next, begun)
    site.say.step(f"applying to {target.what}")
    target.apply(document, site.values(document), partial(require_still_free, site, record))


def make_way(site: Site, live: Live | None, wanted: Document) -> bool:
    """Delete what is live if Azure cannot change it into what is wanted; whether it did."""
    if live is None:
        return False
    reasons = site.target.blockers(live.document, wanted)
    if live.stopped and not site.target.serves_on:
        reasons = (*reasons, "it is stopped")
    if not live.settled and not site.target.serves_on:
        reasons = (*reasons, "Azure is still busy with it")
    if not reasons:
        return False
    site.say.warning(
        f"Azure cannot change {site.target.what} in place ({', '.join(reasons)}): it is deleted "
        "and created again, and nothing answers meanwhile"
    )
    site.target.delete()
    return True


def require_still_free(site: Site, record: Record) -> Live | None:
    """What is live, if nobody else has taken the rollout or changed it.

    Raises:
        TakenOver: someone has.
    """
    require_record(site, record)
    live = site.target.read()
    require_live(site, record, live)
    return live


@dataclass(frozen=True, slots=True)
class Proof:
    """A release that was verified: the report in Markdown, and what was live just afterwards."""

    report: str
    live: Live


def prove(site: Site, record: Record, document: Document) -> Proof:
    """Wait for the release and verify it.

    Raises:
        DeployError: it must not be kept.
        TakenOver: what is live is another deploy's by now.
    """
    ready = wait_until_ready(site, record.id)
    address = site.target.candidate_address()
    if address is None:
        raise DeployError(f"{site.target.what} has no address", "look at it in the portal")
    release = marks.release(site.target.tags(document))
    site.say.step(f"ready; verifying {address}")
    report = attended(
        site,
        lambda: site.checks.verify(address, release),
        record.id,
        site.limits.verify_seconds,
    )
    live = require_ours(site, record.id)
    if live.restarts > ready.restarts:
        raise NotUp(
            f"{site.target.what} restarted while it was verified: {live.state}", "read its log"
        )
    return Proof(report, live)


def keep(site: Site, record: Record, proof: Proof) -> None:
    """The one step that decides. After it the release serves, whatever happens to this process."""
    require_record(site, record)
    site.target.keep(marks.kept(proof.live.tags))
    close(site, record, KEPT, "")


def close(site: Site, record: Record, phase: str, reason: str) -> None:
    """Write the end into the journal; a record that stays open is closed by the next run."""
    try:
        site.journal.write(record.closed(phase, site.say.redact(reason), site.now()))
    except DeployError as error:
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
