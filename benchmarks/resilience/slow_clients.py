"""The latency of normal clients while two hundred others send slowly, or do not read."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks import quiet
from benchmarks.environments import ROOT
from benchmarks.resilience import kinds
from benchmarks.resilience.generator import Seen, load
from benchmarks.resilience.service import Service, Site, serving
from benchmarks.resilience.traffic import Shape
from benchmarks.resilience.verdict import Outcome, Promise, at_most, none_of

SLOW = 200
NORMAL = 32
RATE = 2000.0
RISE = 0.2
COLUMNS = ("repetition", "p99 ms alone", "p99 ms with slow clients", "others")


@dataclass(frozen=True)
class Pair:
    """p99 in milliseconds without and with slow clients, one right after the other."""

    alone: float
    crowded: float
    faults: dict[str, int]
    others: float


def slow_clients(site: Site, *, quick: bool) -> Outcome:
    """p99 without and with slow clients, in turn, at a constant moderate rate."""
    repetitions, seconds = (5, 2.0) if quick else (15, 4.0)
    with serving(site, site.iris) as service:
        _normal(service, seconds)
        pairs = [_pair(service, seconds) for _ in range(repetitions)]
    return Outcome(
        "slow-clients",
        f"{NORMAL} connections, {RATE:.0f} requests/s to iris; {SLOW} connections that send half "
        f"headers, dribble bodies or never read. The {len(least_disturbed(pairs))} pairs that "
        "others disturbed least count.",
        COLUMNS,
        [
            [str(number), f"{each.alone:.2f}", f"{each.crowded:.2f}", f"{each.others:.0%}"]
            for number, each in enumerate(pairs, 1)
        ],
        promises(pairs),
        {"pairs": [asdict(each) for each in pairs]},
    )


def promises(pairs: list[Pair]) -> list[Promise]:
    """What is promised to normal clients; the machine drifts, so medians are compared."""
    chosen = least_disturbed(pairs)
    alone = median(each.alone for each in chosen)
    crowded = median(each.crowded for each in chosen)
    faults: Counter[str] = Counter()
    for each in pairs:
        faults.update(each.faults)
    return [
        at_most("rise of median p99", (crowded / alone - 1) * 100, RISE * 100, " %"),
        none_of("fault", faults),
    ]


def least_disturbed(pairs: list[Pair]) -> list[Pair]:
    """Two thirds of them."""
    return sorted(pairs, key=lambda each: each.others)[: max(1, len(pairs) * 2 // 3)]


def _pair(service: Service, seconds: float) -> Pair:
    watch = quiet.Watch(service.process.pid)
    alone = _normal(service, seconds)
    with _slow(service):
        crowded = _normal(service, seconds)
    faults = Counter(alone.faults) + Counter(crowded.faults)
    return Pair(
        alone.of("200")["p99_ms"], crowded.of("200")["p99_ms"], dict(faults), watch.others()
    )


def _normal(service: Service, seconds: float) -> Seen:
    return load(service.port, [kinds.iris()], Shape(NORMAL, seconds, RATE))


@contextmanager
def _slow(service: Service) -> Iterator[None]:
    """The slow clients, from all of them being connected on."""
    command = [sys.executable, "-m", "benchmarks.resilience.slowloris"]
    process = subprocess.Popen(
        [*command, str(service.port), str(SLOW)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield
        process.communicate(timeout=10)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
