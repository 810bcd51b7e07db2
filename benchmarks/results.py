"""What a run measured, as it is kept in results.json, and the numbers that follow from it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from benchmarks.loads import LOADS

# A measurement is disturbed when others took more than this share of the CPU time.
DISTURBED = 0.08


@dataclass(frozen=True)
class Sample:
    """One load on one configuration of one server, in one repetition.

    `rate` counts requests per second, latencies are milliseconds, `memory_mb` is the proportional
    set size of all processes after the load, `start_s` the time from start to the first answer,
    `others` the share of CPU time that processes outside the measurement took.
    """

    repetition: int
    load: str
    server: str
    configuration: str
    rate: float
    p50_ms: float
    p99_ms: float
    memory_mb: float
    start_s: float
    others: float = 0.0


@dataclass(frozen=True)
class Bare:
    """Bare `session.run`: rows per second of each thread configuration at a batch size."""

    repetition: int
    model: str
    batch: int
    rates: dict[str, float]
    others: float = 0.0

    @property
    def best(self) -> float:
        """Rows per second of the best thread configuration."""
        return max(self.rates.values())


@dataclass(frozen=True)
class CurvePoint:
    """Constant-rate load: what was offered and answered a second, and the latencies of that."""

    server: str
    offered: float
    answered: float
    p50_ms: float
    p99_ms: float


Measured = TypeVar("Measured", Sample, Bare)


@dataclass
class Results:
    """Everything that a run measured.

    `image_mb` is the size of our CPU image and of it compressed; empty where it was not built.
    `left_out` holds reasons by server or configuration, `relapses` the faults of those that had
    answered rightly before.
    """

    about: dict[str, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    bare: list[Bare] = field(default_factory=list)
    curves: list[CurvePoint] = field(default_factory=list)
    installed_mb: dict[str, float] = field(default_factory=dict)
    image_mb: list[float] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    relapses: dict[str, str] = field(default_factory=dict)

    def of(self, load: str, server: str, configuration: str) -> list[Sample]:
        """The repetitions of one load on one configuration, in order, without the disturbed ones.

        Where all were disturbed, all of them.
        """
        return _quiet(
            [
                each
                for each in self.samples
                if (each.load, each.server, each.configuration) == (load, server, configuration)
            ]
        )

    def bare_of(self, model: str, batch: int) -> list[Bare]:
        """The repetitions of bare `session.run`, in the same way."""
        return _quiet([each for each in self.bare if (each.model, each.batch) == (model, batch)])

    def configurations(self, load: str, server: str) -> list[str]:
        """The configurations of a server that were measured with a load, in order."""
        chosen = [each for each in self.samples if (each.load, each.server) == (load, server)]
        return list(dict.fromkeys(each.configuration for each in chosen))

    def repetitions(self, load: str, server: str, configuration: str) -> int:
        """How often it was measured."""
        key = (load, server, configuration)
        return sum((each.load, each.server, each.configuration) == key for each in self.samples)

    def has(self, repetition: int, load: str, server: str, configuration: str) -> bool:
        """Whether that was measured already."""
        key = (repetition, load, server, configuration)
        return any(
            (each.repetition, each.load, each.server, each.configuration) == key
            for each in self.samples
        )

    def best(self, load: str, server: str) -> str | None:
        """The best configuration of a server: by throughput, for one client by latency.

        Those that were left out after the first repetition, because they were far from the best,
        do not take part. A run that was cut off has measured some of the others once less.
        """
        names = self.configurations(load, server)
        if not names:
            return None
        idle = next(each.idle for each in LOADS if each.name == load)
        counts = {name: self.repetitions(load, server, name) for name in names}
        last = [name for name in names if counts[name] >= max(counts.values()) - 1]

        def merit(name: str) -> float:
            samples = self.of(load, server, name)
            return -_median(samples, "p50_ms") if idle else _median(samples, "rate")

        return max(last, key=merit)

    def save(self, path: Path) -> None:
        """Write all of it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


def load(path: Path) -> Results:
    """Read what `Results.save` wrote."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    content["samples"] = [Sample(**each) for each in content["samples"]]
    content["bare"] = [Bare(**each) for each in content["bare"]]
    content["curves"] = [CurvePoint(**each) for each in content["curves"]]
    return Results(**content)


def spread(values: Iterable[float]) -> float:
    """(largest - smallest) / median."""
    listed = list(values)
    return (max(listed) - min(listed)) / median(listed)


def paired_ratio(ours: Iterable[tuple[int, float]], theirs: Iterable[tuple[int, float]]) -> float:
    """Median over repetitions of ours / theirs, each from the same repetition.

    The machine drifts in the course of a run, and takes both with it. Where no repetition has both,
    because the others were disturbed, it is the ratio of the medians.
    """
    mine, other = dict(ours), dict(theirs)
    both = mine.keys() & other.keys()
    if not both:
        return median(mine.values()) / median(other.values())
    return median(mine[repetition] / other[repetition] for repetition in both)


def _quiet(measured: list[Measured]) -> list[Measured]:
    return [each for each in measured if each.others <= DISTURBED] or measured


def _median(samples: list[Sample], name: str) -> float:
    return median(float(getattr(each, name)) for each in samples)
