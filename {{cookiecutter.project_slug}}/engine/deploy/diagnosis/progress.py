"""The state of a deploy: nothing there, stopped, half done, or Azure does not come to an end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from engine.deploy.diagnosis.evidence import Evidence, Group
from engine.deploy.diagnosis.sentences import TIMEOUT
from engine.deploy.finding import Certainty, Finding

UNDER_WAY = frozenset({"Pending", "Creating", "Updating", "Repairing", "Deleting"})
STUCK_AFTER = timedelta(minutes=15)
SILENT_SECONDS = 60.0
FAILED = "provisioning-failed"


def nothing_there(evidence: Evidence) -> Iterator[Finding]:
    """There is nothing that could be ill."""
    if evidence.deployed is False:
        yield Finding(
            "absent",
            f"nothing is deployed to {evidence.stage}",
            f"`.venv/bin/python -m engine.deploy up {evidence.stage}`",
            Certainty.LIKELY,
        )


def stopped(evidence: Evidence) -> Iterator[Finding]:
    """Somebody stopped it."""
    if evidence.stopped:
        yield Finding(
            "stopped",
            "it was stopped on purpose: nothing answers, nothing bills",
            f"`.venv/bin/python -m engine.deploy start {evidence.stage}`",
            explains=frozenset({"unreachable", "readiness", "platform-stop", "secret"}),
        )


def unfinished(evidence: Evidence) -> Iterator[Finding]:
    """A rollout has no end: it goes on now, or was interrupted."""
    open_one = evidence.unfinished
    if open_one is None:
        return
    silent = open_one.silent_seconds
    if silent is None or silent >= SILENT_SECONDS:
        since = "" if silent is None else f", silent for {silent:.0f} s"
        yield Finding(
            "interrupted",
            f"the rollout {open_one.rollout} was interrupted{since}",
            f"`.venv/bin/python -m engine.deploy up {evidence.stage}` (or rollback) begins with "
            "finishing it",
            evidence=(f"begun by {open_one.by}",) if open_one.by else (),
        )
    else:
        yield Finding(
            "under-way",
            f"the rollout {open_one.rollout} goes on at this moment",
            "wait for its end, then look again",
            Certainty.POSSIBLE,
        )


def stuck(evidence: Evidence) -> Iterator[Finding]:
    """Azure has been changing the group for longer than that ever takes."""
    group = evidence.group
    if group is None or group.provisioning not in UNDER_WAY:
        return
    times = [event.first for event in group.all_events if event.first]
    if times and evidence.now - min(times) < STUCK_AFTER:
        return
    if times:
        minutes = (evidence.now - min(times)).total_seconds() / 60
        since, certainty = f"for {minutes:.0f} minutes", Certainty.LIKELY
    else:
        since, certainty = "without any event", Certainty.POSSIBLE
    yield Finding(
        "stuck",
        f"Azure says {group.provisioning} {since}: it is stuck, or waits for an image that does "
        "not come",
        f"`.venv/bin/python -m engine.deploy stop {evidence.stage}`, wait until it is stopped, "
        "`start`; else `down` and `up`; a network that blocks the registry shows no events at all",
        certainty,
        (f"provisioningState {group.provisioning}", *_waiting(group)),
        explains=frozenset({"transitioning"}),
    )


def failed(evidence: Evidence) -> Iterator[Finding]:
    """Azure gave up; such a group still bills."""
    if evidence.group and evidence.group.provisioning == "Failed":
        yield Finding(
            FAILED,
            "Azure says that provisioning failed; it goes on trying, and bills",
            f"`.venv/bin/python -m engine.deploy up {evidence.stage}` with a release that works, "
            "or `down`",
            Certainty.LIKELY,
            symptom=True,
            explains=frozenset({TIMEOUT}) if not evidence.problems else frozenset(),
        )


def secrets_missing(evidence: Evidence) -> Iterator[Finding]:
    """The configuration names secrets that the group was not given."""
    if evidence.missing_secrets:
        names = ", ".join(evidence.missing_secrets)
        yield Finding(
            "secret",
            f"what runs was not given the secret(s) {names}, which the configuration names",
            f"set {names} as environment variable of "
            f"`.venv/bin/python -m engine.deploy up {evidence.stage}`; "
            "in GitHub: a secret of the environment",
        )


def _waiting(group: Group) -> tuple[str, ...]:
    return tuple(
        f"container {each.name} is {each.current.name}"
        for each in group.containers
        if each.current is not None
    )


RULES = (nothing_there, stopped, unfinished, stuck, failed, secrets_missing)
