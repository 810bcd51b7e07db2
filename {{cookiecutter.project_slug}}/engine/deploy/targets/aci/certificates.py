"""What is wrong with HTTPS: the authority, a name that leads elsewhere, an old one."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx

from engine.deploy.diagnosis import shares
from engine.deploy.diagnosis.evidence import Evidence
from engine.deploy.finding import Certainty, Finding
from engine.deploy.targets.aci.environment import GroupEnvironment

_ASK_SECONDS = 15.0
_SHORTEST = timedelta(days=2)
"""Caddy renews when a third of the time is left, which is days before."""
_EXPLAINS = frozenset({"unreachable", "timeout", "crash-loop", "readiness"})

# What Caddy's log says of an order that failed, with RFC 8555's kinds of errors.
_TOLD = (
    (
        re.compile(r"acme:error:rateLimited", re.IGNORECASE),
        "certificate-limit",
        "the authority gives no certificate now, for its limit is reached",
        "wait as long as its answer says; Let's Encrypt gives 5 a week for the same name, and the "
        "share keeps those that were given: was the storage account deleted in between?",
    ),
    (
        re.compile(r"acme:error:(dns|connection|unauthorized)|NXDOMAIN", re.IGNORECASE),
        "certificate-name",
        "the authority looked for the name and did not reach this container group",
        "compare the name's record with the address that `up` prints; when it is right, ask again "
        "after a minute",
    ),
    (
        re.compile(r"(chmod|open|mkdir|rename) /data\S*: (operation not|permission)", re.I),
        "certificate-storage",
        "certificates cannot be written to the share",
        "the container that ends HTTPS has to run as root, which engine/edge/Dockerfile says",
    ),
)


def order_failed(evidence: Evidence) -> Iterator[Finding]:
    """The authority gave no certificate."""
    if evidence.readiness and evidence.readiness.kind == "ready":
        return
    lines = evidence.group.edge_log if evidence.group else ()
    for pattern, code, cause, fix in _TOLD:
        if found := [line for line in lines if pattern.search(line)]:
            yield Finding(
                code, cause, fix, Certainty.LIKELY, (found[-1][:300],), explains=_EXPLAINS
            )


def outside(environment: GroupEnvironment, address: str) -> Iterator[Finding]:
    """What only a client sees: when the certificate ends.

    Args:
        address: ``https://`` and the name that Azure gave.
    """
    if environment.https is None or not address.startswith("https://"):
        return
    host = urlsplit(address).hostname or ""
    left = time_left(address)
    if left is not None and left < _SHORTEST:
        yield Finding(
            "certificate-expiry",
            f"the certificate of {host} ends in {left.total_seconds() / 3600:.0f} h",
            "it should have been renewed: read the log of the container edge (`az container logs "
            "--container-name edge`)",
            Certainty.LIKELY,
        )


def time_left(address: str) -> timedelta | None:
    """How long the certificate that an address shows is still valid; None: it shows none."""
    try:
        with (
            httpx.Client(timeout=_ASK_SECONDS) as client,
            client.stream("GET", f"{address}/healthz") as response,
        ):
            stream: Any = response.extensions["network_stream"]
            connection: ssl.SSLObject = stream.get_extra_info("ssl_object")
            shown = connection.getpeercert() or {}
    except (httpx.HTTPError, OSError):
        return None
    if "notAfter" not in shown:
        return None
    ends = ssl.cert_time_to_seconds(str(shown["notAfter"]))
    return datetime.fromtimestamp(ends, UTC) - datetime.now(UTC)


def log_lines(lines: Iterable[str]) -> tuple[str, ...]:
    """The lines of Caddy's log that tell of an error."""
    return tuple(line for line in lines if '"level":"error"' in line or "ERROR" in line)


RULES = (shares.refused, order_failed)
