"""What the service says of itself: `/readyz`, and `/metrics` twice, a second apart.

A rate needs two looks. All else is since the process that answers was started, and of one copy
where several run: all of them together are in the workbook.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from engine.deploy.figures.exposition import Sample, quantile, read, total

BETWEEN_SECONDS = 1.0
_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one copy; None: it could not be asked, or does not say.

    Args:
        ready: whether it takes requests.
        rate: answers a second, now.
        errors: share of answers of 500 and more, 0 to 1.
        p95_seconds: 95 of 100 answers came within this time.
        refused: requests for which there was no room or no time.
        memory_bytes: used by the container.
        memory_limit_bytes: what it may use.
    """

    ready: bool | None = None
    rate: float | None = None
    errors: float | None = None
    p95_seconds: float | None = None
    refused: float | None = None
    memory_bytes: float | None = None
    memory_limit_bytes: float | None = None


def ask(
    address: str,
    readiness: str,
    *,
    client: httpx.Client | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Figures:
    """Ask a service; never raises, for the rest of a status must be shown whatever is wrong.

    Args:
        address: its URL, without a slash at its end.
        readiness: the path of the readiness probe.
    """
    own = client or httpx.Client(timeout=_TIMEOUT_SECONDS)
    try:
        ready = _ready(own, address + readiness)
        if ready is None:
            return Figures()
        began, first = clock(), _metrics(own, address)
        if first is None:
            return Figures(ready=ready)
        sleep(BETWEEN_SECONDS)
        second = _metrics(own, address)
        return figures(first, second if second is not None else first, clock() - began, ready=ready)
    finally:
        if client is None:
            own.close()


def figures(
    first: tuple[Sample, ...],
    second: tuple[Sample, ...],
    seconds: float,
    *,
    ready: bool | None = None,
) -> Figures:
    """The figures from two looks at `/metrics`, ``seconds`` apart."""
    answers, before = (total(each, "inference_requests_total") for each in (second, first))
    more = None if answers is None else answers - (before or 0.0)
    refused = [
        total(second, f"inference_{each}_total")
        for each in ("refused", "timed_out", "connections_refused")
    ]
    return Figures(
        ready=ready,
        # Less than before: another copy answered, or the process is a new one.
        rate=more / seconds if more is not None and more >= 0 and seconds > 0 else None,
        errors=_error_share(second),
        p95_seconds=quantile(second, "inference_request_duration_seconds", 0.95),
        refused=None if refused[0] is None else sum(each or 0.0 for each in refused),
        memory_bytes=total(second, "inference_memory_bytes"),
        memory_limit_bytes=total(second, "inference_memory_limit_bytes"),
    )


def _error_share(samples: tuple[Sample, ...]) -> float | None:
    counted = [each for each in samples if each.name == "inference_requests_total"]
    answers = sum(each.value for each in counted)
    if not answers:
        return 0.0 if counted else None
    failed = sum(each.value for each in counted if each.labels.get("status", "").startswith("5"))
    return failed / answers


def _ready(client: httpx.Client, url: str) -> bool | None:
    try:
        return client.get(url).status_code == httpx.codes.OK
    except (httpx.HTTPError, OSError):
        return None


def _metrics(client: httpx.Client, address: str) -> tuple[Sample, ...] | None:
    try:
        answer = client.get(f"{address}/metrics")
    except (httpx.HTTPError, OSError):
        return None
    return read(answer.text) if answer.status_code == httpx.codes.OK else None
