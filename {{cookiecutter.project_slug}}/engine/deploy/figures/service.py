"""What the service says of itself: `/readyz`, and `/metrics` twice, a second apart.

A rate needs two looks. All else is since the process that answers was started, and of one copy
where several run: all of them together are in the workbook.

`/metrics` is read as Prometheus' text format, as far as this service writes it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import httpx

_SAMPLE = re.compile(r"(?P<name>[A-Za-z_:][\w:]*)(?:\{(?P<labels>.*)\})? +(?P<value>\S+)(?: +\d+)?")
_LABEL = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"')
_ESCAPES = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: a metric's name, its labels, its value."""

    name: str
    labels: Mapping[str, str]
    value: float


def read(text: str) -> tuple[Sample, ...]:
    """The samples in their order; lines that are none are passed over."""
    found = []
    for line in text.splitlines():
        parts = _SAMPLE.fullmatch(line.strip())
        if parts is None:
            continue
        try:
            value = float(parts["value"])
        except ValueError:
            continue
        labels = {name: _unescaped(given) for name, given in _LABEL.findall(parts["labels"] or "")}
        found.append(Sample(parts["name"], labels, value))
    return tuple(found)


def total(samples: Iterable[Sample], name: str) -> float | None:
    """The sum over all labels; None where the metric is not there."""
    values = [each.value for each in samples if each.name == name]
    return sum(values) if values else None


def quantile(samples: Iterable[Sample], name: str, share: float) -> float | None:
    """The value below which this share of a histogram lies, all labels together.

    Within a bucket the values are taken to lie evenly, as Prometheus does; what lies beyond the
    last bound is given as that bound. None: nothing was measured.
    """
    counts: dict[float, float] = {}
    for each in samples:
        if each.name == f"{name}_bucket" and "le" in each.labels:
            bound = float(each.labels["le"])
            counts[bound] = counts.get(bound, 0.0) + each.value
    ordered = sorted(counts.items())
    if not ordered or ordered[-1][1] <= 0:
        return None
    wanted = share * ordered[-1][1]
    low, below = 0.0, 0.0
    for bound, reached in ordered:
        if reached >= wanted:
            if bound == float("inf"):
                return low
            inside = reached - below
            return low + (bound - low) * ((wanted - below) / inside if inside else 1.0)
        low, below = bound, reached
    return low


def _unescaped(text: str) -> str:
    return re.sub(r"\\.", lambda found: _ESCAPES.get(found[0], found[0]), text)


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
        drifted: columns that were not as in training in the last hour, the farthest first.
        memory_bytes: used by the container.
        memory_limit_bytes: what it may use.
    """

    ready: bool | None = None
    rate: float | None = None
    errors: float | None = None
    p95_seconds: float | None = None
    refused: float | None = None
    drifted: tuple[str, ...] | None = None
    memory_bytes: float | None = None
    memory_limit_bytes: float | None = None


def ask(
    address: str,
    readiness: str,
    headers: Mapping[str, str] | None = None,
    *,
    client: httpx.Client | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Figures:
    """Ask a service; never raises, for the rest of a status must be shown whatever is wrong.

    Args:
        address: its URL, without a slash at its end.
        readiness: the path of the readiness probe.
        headers: go with each request.
    """
    own = client or httpx.Client(timeout=_TIMEOUT_SECONDS, headers=headers)
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
        drifted=_drifted(second),
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


def _drifted(samples: tuple[Sample, ...]) -> tuple[str, ...] | None:
    ratios = [
        (-each.value, each.labels.get("column", ""))
        for each in samples
        if each.name == "inference_drift_ratio" and each.labels.get("window") == "hour"
    ]
    if not ratios:
        return None
    return tuple(column for ratio, column in sorted(ratios) if ratio < -1)


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
