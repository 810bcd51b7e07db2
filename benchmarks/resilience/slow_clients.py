"""The latency of normal clients while two hundred others send slowly, or do not read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from benchmarks.environments import ROOT
from benchmarks import quiet
from benchmarks.resilience import kinds
from benchmarks.resilience.generator import Seen, load
from benchmarks.resilience.service import Service, Site, serving
from benchmarks.resilience.traffic import Shape
from benchmarks.resilience.verdict import Outcome, Promise, at_most, none_of

SLOW = 200
NORMAL = 32
RATE = 2000.0
RISE = 0.2
COLUMNS = ("repetition", "p99 ms alone", "p99 ms with slow clients", "other CPUs")


def slow_clients(site: Site, *, quick: bool) -> Outcome:
    """p99 without and with slow clients, in turn, at a constant moderate rate."""
    repetitions, seconds = (5, 2.0) if quick else (11, 4.0)
    pairs: list[tuple[Seen, Seen]] = []
    others: list[float] = []
    with serving(site, site.iris) as service:
        _normal(service, seconds)
        for _ in range(repetitions):
            watch = quiet.Watch(service.process.pid)
            alone = _normal(service, seconds)
            with _slow(service):
                pairs.append((alone, _normal(service, seconds)))
            others.append(watch.others())
    return Outcome(
        "slow-clients",
        f"{NORMAL} connections, {RATE:.0f} requests/s to iris; {SLOW} connections that send half "
        "headers, dribble bodies or never read.",
        COLUMNS,
        [
            [str(number), f"{_p99(alone):.2f}", f"{_p99(crowded):.2f}", f"{busy:.2f}"]
            for number, ((alone, crowded), busy) in enumerate(zip(pairs, others, strict=True), 1)
        ],
        promises(pairs),
        {
            "alone_p99_ms": [_p99(alone) for alone, _ in pairs],
            "crowded_p99_ms": [_p99(crowded) for _, crowded in pairs],
            "other_cpus": others,
        },
    )


def promises(pairs: list[tuple[Seen, Seen]]) -> list[Promise]:
    """What is promised to normal clients; the machine drifts, so medians are compared."""
    alone = median(_p99(seen) for seen, _ in pairs)
    crowded = median(_p99(seen) for _, seen in pairs)
    faults = {fault: n for pair in pairs for seen in pair for fault, n in seen.faults.items()}
    return [
        at_most("rise of median p99", (crowded / alone - 1) * 100, RISE * 100, " %"),
        none_of("fault", faults),
    ]


def _normal(service: Service, seconds: float) -> Seen:
    return load(service.port, [kinds.iris()], Shape(NORMAL, seconds, RATE))


def _p99(seen: Seen) -> float:
    return seen.of("200")["p99_ms"]


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
