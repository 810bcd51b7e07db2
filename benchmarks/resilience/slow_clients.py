"""The latency of normal clients while two hundred others send slowly, or do not read.

Clients and service share the machine's cores, so the slow clients themselves cost the others time.
How much, a decoy shows: a process beside the service that reads from them and does nothing else.
"""

from __future__ import annotations

import subprocess
import sys
import time
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
SETTLE_SECONDS = 4.0
COLUMNS = (
    "repetition",
    "p99 ms alone",
    "with slow clients of a decoy",
    "with slow clients",
    "others",
)


@dataclass(frozen=True)
class Trial:
    """p99 in milliseconds without slow clients, with those of a decoy, and with its own, one right
    after the other.
    """

    alone: float
    beside: float
    crowded: float
    faults: dict[str, int]
    others: float


def slow_clients(site: Site, *, quick: bool) -> Outcome:
    """p99 without slow clients, beside and with them, in turn, at a constant moderate rate."""
    repetitions, seconds = (5, 2.0) if quick else (15, 4.0)
    with serving(site, site.iris) as service:
        _normal(service, seconds)
        trials = [_trial(service, seconds) for _ in range(repetitions)]
    return Outcome(
        "slow-clients",
        f"{NORMAL} connections, {RATE:.0f} requests/s to iris; {SLOW} connections that send half "
        f"headers, dribble bodies or never read. The {len(least_disturbed(trials))} trials that "
        "others disturbed least count.",
        COLUMNS,
        [
            [
                str(number),
                *(f"{p99:.2f}" for p99 in (each.alone, each.beside, each.crowded)),
                f"{each.others:.0%}",
            ]
            for number, each in enumerate(trials, 1)
        ],
        promises(trials),
        {"trials": [asdict(each) for each in trials]},
    )


def promises(trials: list[Trial]) -> list[Promise]:
    """What is promised to normal clients; the machine drifts, so medians are compared."""
    chosen = least_disturbed(trials)
    alone = median(each.alone for each in chosen)
    beside = median(each.beside for each in chosen)
    crowded = median(each.crowded for each in chosen)
    faults: Counter[str] = Counter()
    for each in trials:
        faults.update(each.faults)
    return [
        at_most("rise of median p99", (crowded / alone - 1) * 100, RISE * 100, " %"),
        at_most(
            "rise of median p99 against slow clients of a decoy",
            (crowded / beside - 1) * 100,
            RISE * 100,
            " %",
        ),
        none_of("fault", faults),
    ]


def least_disturbed(trials: list[Trial]) -> list[Trial]:
    """Two thirds of them."""
    return sorted(trials, key=lambda each: each.others)[: max(1, len(trials) * 2 // 3)]


def _trial(service: Service, seconds: float) -> Trial:
    watch = quiet.Watch(service.process.pid)
    alone = _normal(service, seconds)
    with _decoy() as port, _slow(port):
        beside = _normal(service, seconds)
    with _slow(service.port):
        crowded = _normal(service, seconds)
    faults = Counter(alone.faults) + Counter(beside.faults) + Counter(crowded.faults)
    return Trial(_p99(alone), _p99(beside), _p99(crowded), dict(faults), watch.others())


def _p99(seen: Seen) -> float:
    return seen.of("200")["p99_ms"]


def _normal(service: Service, seconds: float) -> Seen:
    return load(service.port, [kinds.iris()], Shape(NORMAL, seconds, RATE))


@contextmanager
def _slow(port: int) -> Iterator[None]:
    """The slow clients of a port, all of them connected and slow.

    Those that never read are clients like others until what they do not read fills every buffer.
    """
    with _beside("slowloris", str(port), str(SLOW)):
        time.sleep(SETTLE_SECONDS)
        yield


@contextmanager
def _decoy() -> Iterator[int]:
    """The port of a process that only reads."""
    with _beside("decoy") as line:
        yield int(line)


@contextmanager
def _beside(module: str, *arguments: str) -> Iterator[str]:
    """A process that says one line when it is there, and ends when its input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.resilience.{module}", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline()
        process.communicate(timeout=10)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
