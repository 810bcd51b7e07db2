"""The figures that the service is held to, as data, and how they come out of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Literal

from benchmarks.loads import LOADS
from benchmarks.results import Results, Sample, paired_ratio
from benchmarks.servers import SERVERS

Figure = Literal["rate", "p50_ms", "p99_ms", "memory_mb"]
Against = Literal["model server", "tutorial app", "async app", "peer", "constant", "bare"]


@dataclass(frozen=True)
class Target:
    """A ratio of ours to theirs: at least `bound` for rates, at most `bound` for the rest.

    `ours` is a server's name; `configuration` empty: the best one. `theirs` narrows `against`: the
    beginning of a configuration's name, or the batch size of bare `session.run`. Bound 0: shown
    for comparison, nothing is required.
    """

    load: str
    figure: Figure
    against: Against
    bound: float
    ours: str = "ours"
    configuration: str = ""
    theirs: str = ""


TWO = "2 workers, 1 lane"
TARGETS = (
    Target("iris", "rate", "model server", 12),
    Target("iris", "p99_ms", "model server", 1 / 6),
    Target("iris", "rate", "tutorial app", 6),
    Target("iris", "rate", "async app", 0),
    Target("iris", "rate", "constant", 0.55, configuration="default", theirs="1 worker"),
    Target("iris", "rate", "constant", 0.80, configuration=TWO, theirs="2 workers"),
    Target("dense", "rate", "model server", 5),
    Target("dense", "p99_ms", "model server", 1 / 4),
    Target("dense", "rate", "tutorial app", 4),
    Target("dense", "rate", "async app", 0),
    Target("dense", "rate", "bare", 0.22, theirs="32"),
    Target("dense-256", "rate", "model server", 1.6),
    Target("dense-256", "rate", "tutorial app", 2.8),
    Target("dense-256", "rate", "async app", 0),
    Target("dense-256", "rate", "bare", 0.80, theirs="256"),
    Target("conv", "rate", "model server", 2),
    Target("conv", "rate", "model server", 2.6, ours="ours-binary"),
    Target("conv", "rate", "tutorial app", 3.5),
    Target("conv", "rate", "async app", 0),
    Target("conv", "rate", "bare", 0.55, theirs="1"),
    Target("conv", "rate", "bare", 0.78, ours="ours-binary", theirs="1"),
    Target("iris-idle", "p50_ms", "peer", 0.5),
    Target("dense-idle", "p50_ms", "peer", 0.5),
    Target("iris", "memory_mb", "tutorial app", 1, configuration="default", theirs="1 worker"),
    Target("iris", "memory_mb", "tutorial app", 1, configuration=TWO, theirs="2 workers"),
)
# From process start to the first answer, seconds more than the FastAPI tutorial app.
START_ALLOWANCE_S = 0.3
SPREAD_BOUND = 0.15


@dataclass(frozen=True)
class Outcome:
    """What came of a target: the ratio, None where a side was not measured, and against whom."""

    target: Target
    ratio: float | None
    opponent: str

    @property
    def met(self) -> bool | None:
        """Whether the bound was kept; None: not measured, or nothing is required."""
        if self.ratio is None or not self.target.bound:
            return None
        if self.target.figure == "rate":
            return self.ratio >= self.target.bound
        return self.ratio <= self.target.bound


def outcomes(results: Results) -> list[Outcome]:
    """All targets whose load is in the results."""
    loads = {each.load for each in results.samples}
    return [_outcome(results, target) for target in TARGETS if target.load in loads]


def _outcome(results: Results, target: Target) -> Outcome:
    name = target.configuration or results.best(target.load, target.ours) or ""
    ours = _series(results.of(target.load, target.ours, name), target.figure)
    ratios: list[tuple[float, str]] = []
    for opponent, series in _opponents(results, target):
        if ours and series:
            ratios.append((paired_ratio(ours, series), opponent))
    if not ratios:
        return Outcome(target, None, target.against)
    # The opponent that is hardest to beat.
    hardest = min(ratios) if target.figure == "rate" else max(ratios)
    return Outcome(target, *hardest)


def _opponents(results: Results, target: Target) -> Iterable[tuple[str, list[tuple[int, float]]]]:
    if target.against == "bare":
        yield f"bare session.run, batch {target.theirs}", _bare(results, target)
        return
    for server in SERVERS:
        if not _is_opponent(server.name, server.kind, target):
            continue
        names = results.configurations(target.load, server.name)
        if target.theirs:
            names = [name for name in names if name.startswith(target.theirs)]
        else:
            names = [each for each in [results.best(target.load, server.name)] if each]
        for name in names:
            samples = results.of(target.load, server.name, name)
            yield f"{server.title} ({name})", _series(samples, target.figure)


def _is_opponent(name: str, kind: str, target: Target) -> bool:
    if target.against == "constant":
        return name == "constant"
    if target.figure == "memory_mb":
        return name == "fastapi"
    if target.against == "peer":
        return kind in ("model server", "tutorial app", "async app")
    return kind == target.against


def _bare(results: Results, target: Target) -> list[tuple[int, float]]:
    load = next(each for each in LOADS if each.name == target.load)
    # Requests a second, so that rows and requests compare.
    return [
        (each.repetition, each.best / load.rows)
        for each in results.bare_of(load.model, int(target.theirs))
    ]


def _series(samples: list[Sample], figure: Figure) -> list[tuple[int, float]]:
    return [(each.repetition, float(getattr(each, figure))) for each in samples]


def start_seconds(results: Results, server: str) -> float | None:
    """Median time from start to the first right answer, of the fastest configuration, with iris."""
    names = results.configurations("iris", server)
    medians = [median(each.start_s for each in results.of("iris", server, name)) for name in names]
    return min(medians, default=None)
