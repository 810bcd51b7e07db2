"""From a list of requests to numbers; the warm-up is left out."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.load.samples import ON_PURPOSE

SLOTS = 60


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``at``: when it ended, seconds after the start; ``failure``: empty if right."""

    at: float
    kind: str
    milliseconds: float
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """A run. Between ``start`` and ``end`` (seconds) it is judged; ``cpu_percent`` is the load
    generator's own, of one CPU.
    """

    start: float
    end: float
    requests: Sequence[Request]
    cpu_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request; times in ms of its successful ones, 0 without any."""

    name: str
    requests: int
    failed: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Slot:
    """A piece of the measured time, ``at`` seconds after its beginning."""

    at: float
    rps: float
    failed: int
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What came out. ``rps`` counts successful answers; refusals on purpose are in none of the
    times and rates, for they cost nothing, but they count among requests and failures.
    """

    seconds: float
    requests: int
    failed: int
    rps: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    kinds: tuple[Kind, ...]
    failures: tuple[tuple[str, int], ...]
    slots: tuple[Slot, ...]
    cpu_percent: float

    @property
    def error_ratio(self) -> float:
        """Failed among all requests; 0 without any."""
        return self.failed / self.requests if self.requests else 0.0


def read_recording(file: Path) -> Recording:
    """Read what ``engine.load.recorder`` wrote."""
    content = json.loads(file.read_text(encoding="utf-8"))
    requests = [Request(*each) for each in content["requests"]]
    return Recording(content["from"], content["to"], requests, content["cpu_percent"])


def measure(recording: Recording) -> Measured:
    """Sum up the measured part of a run."""
    seconds = max(recording.end - recording.start, 1e-9)
    counted = [each for each in recording.requests if recording.start <= each.at <= recording.end]
    served = [each for each in counted if each.kind != ON_PURPOSE]
    times = _times(served)
    failures = Counter(f"{each.kind}: {each.failure}" for each in counted if each.failure)
    return Measured(
        seconds=seconds,
        requests=len(counted),
        failed=sum(failures.values()),
        rps=len(times) / seconds,
        p50_ms=quantile(times, 0.5),
        p95_ms=quantile(times, 0.95),
        p99_ms=quantile(times, 0.99),
        max_ms=times[-1] if times else 0.0,
        kinds=tuple(_kind(name, counted) for name in sorted({each.kind for each in counted})),
        failures=tuple(failures.most_common(10)),
        slots=tuple(_slots(served, recording.start, seconds)),
        cpu_percent=recording.cpu_percent,
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below or at which that share of the values lies (nearest rank); 0 without any."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def _times(requests: Iterable[Request]) -> list[float]:
    return sorted(each.milliseconds for each in requests if not each.failure)


def _kind(name: str, requests: Iterable[Request]) -> Kind:
    own = [each for each in requests if each.kind == name]
    times = _times(own)
    p50, p95, p99 = (quantile(times, share) for share in (0.5, 0.95, 0.99))
    return Kind(name, len(own), len(own) - len(times), p50, p95, p99)


def _slots(requests: Sequence[Request], start: float, seconds: float) -> Iterable[Slot]:
    width = max(1.0, seconds / SLOTS)
    for index in range(max(1, round(seconds / width))):
        since = start + index * width
        own = [each for each in requests if since <= each.at < since + width]
        times = _times(own)
        yield Slot(
            at=index * width,
            rps=len(times) / width,
            failed=len(own) - len(times),
            p50_ms=quantile(times, 0.5),
            p95_ms=quantile(times, 0.95),
        )
