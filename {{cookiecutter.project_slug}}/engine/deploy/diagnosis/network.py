"""The container runs, and nothing answers, or not what should: ports, probes, names."""

from __future__ import annotations

from collections.abc import Iterator

from engine.deploy.diagnosis.evidence import Evidence, Group
from engine.deploy.diagnosis.words import GAVE_UP, complaints
from engine.deploy.finding import Certainty, Finding

READINESS_FAILED = "readiness probe failed"


def never_ready(evidence: Evidence) -> Iterator[Finding]:
    """The service says itself that it failed: at its address, or in its log where Azure, because
    of the probe, lets nobody through.
    """
    readiness = evidence.readiness
    if readiness and readiness.state == "failed":
        reason, where = readiness.detail, "GET /readyz"
    elif readiness is None or readiness.kind != "ready":
        said = [each for each in complaints(evidence.logs) if each.startswith(GAVE_UP)]
        if not said or evidence.stopped:
            return
        reason, where = said[-1].removeprefix(GAVE_UP), f"log: {said[-1]}"
    else:
        return
    yield Finding(
        "service-failed",
        f"the service runs and refuses to serve: {reason}",
        "correct what it says; `make check` does the same check here",
        evidence=(where,),
        explains=frozenset({"readiness", "still-starting", "unreachable", "crash-loop"}),
    )


def still_starting(evidence: Evidence) -> Iterator[Finding]:
    """It answers and is not ready yet."""
    readiness = evidence.readiness
    if readiness and readiness.kind == "not ready" and readiness.state != "failed":
        yield Finding(
            "still-starting",
            f"the service answers and is {readiness.state or 'not ready'}: {readiness.detail}",
            "wait; if it stays so: more cpu, or read its log (`.venv/bin/python -m engine.deploy "
            f"logs {evidence.stage}`)",
            Certainty.POSSIBLE,
            ("GET /readyz",),
        )


def readiness_probe(evidence: Evidence) -> Iterator[Finding]:
    """Azure lets nobody through, because the readiness probe fails."""
    if evidence.readiness and evidence.readiness.kind == "ready":
        return  # it fails while a service starts, and Azure keeps the events
    for container in evidence.containers:
        failures = [
            event for event in container.events if READINESS_FAILED in event.message.lower()
        ]
        if failures:
            last = failures[-1].message
            refused = "refused" in last.lower()
            yield Finding(
                "readiness",
                f"Azure lets no request through: {last}",
                "nothing listens on the probe's port: does it still start, or crash?"
                if refused
                else "GET /readyz of the service has the reason, and its log",
                Certainty.LIKELY,
                tuple(str(event) for event in failures[-2:]),
                explains=frozenset({"unreachable"}),
            )


def unreachable(evidence: Evidence) -> Iterator[Finding]:
    """The container runs, no probe complains, and the address does not answer from here."""
    readiness, group = evidence.readiness, evidence.group
    # What is meant to be private is not asked from here.
    silent = readiness is not None and readiness.kind == "unreachable"
    if silent and group is not None and not group.public:
        yield Finding(
            "private-address",
            "the container group has a private address: it cannot be reached from here",
            "run this inside of its network, or give the group a public address",
            evidence=("ipAddress.type: Private",),
            explains=frozenset({"unreachable"}),
        )
    if readiness is None or readiness.kind != "unreachable" or not _runs(evidence):
        return
    unknown = "does not resolve" in readiness.detail
    yield Finding(
        "unreachable",
        f"the service runs, and its address does not answer from here: {readiness.detail}",
        "the DNS name of a new group takes up to some minutes; then look at dns.label and region"
        if unknown
        else "is there a proxy or a firewall in between (NO_PROXY, outgoing ports)? Else "
        f"`.venv/bin/python -m engine.deploy stop {evidence.stage}` and `start`: the address may "
        "have moved",
        Certainty.LIKELY,
        tuple(filter(None, (_address(group),))),
    )


def _runs(evidence: Evidence) -> bool:
    if evidence.stopped or evidence.deployed is False:
        return False
    states = [each.current.name for each in evidence.containers if each.current]
    return all(state == "Running" for state in states)


def _address(group: Group | None) -> str | None:
    return f"fqdn {group.fqdn}, ports {group.ports}" if group and group.fqdn else None


RULES = (never_ready, still_starting, readiness_probe, unreachable)
