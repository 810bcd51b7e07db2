"""One measurement in a process of its own, which prints it as JSON.

Alone in its process, because peak memory and thread pools cannot be taken back.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

SECONDS = 0.25
LEAST_RUNS = 5
LONGEST_SECONDS = 2.0
MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """Runs with so many rows: median and 95th percentile in seconds."""

    rows: int
    median: float
    p95: float

    @property
    def rows_per_second(self) -> float:
        """How many rows one lane computes."""
        return self.rows / self.median


@dataclass(frozen=True, slots=True)
class Measurement:
    """A model with so many threads inside a run; sizes in MB, times in seconds."""

    threads: int
    provider: str
    batched: bool
    load_seconds: float
    import_mb: float
    load_mb: float
    peak_mb: float
    batches: list[Batch] = field(default_factory=list)

    @property
    def single(self) -> Batch:
        """One row at a time."""
        return self.batches[0]

    @property
    def fastest(self) -> Batch:
        """The size with the most rows a second."""
        return max(self.batches, key=lambda batch: batch.rows_per_second)


def measure(package: Path, threads: int, max_rows: int, providers: str = "cpu") -> Measurement:
    """Load the model as the service does, and run its golden samples in growing batches."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    from engine.serving.inference.model import load_model, repeat_rows
    from engine.serving.package.reader import read_package
    from engine.serving.settings import load_settings

    settings = load_settings(execution_providers=providers, intra_op_threads=threads)
    content = read_package(package)
    before = peak_mb()
    begun = time.perf_counter()
    model = load_model(content, settings)
    seconds, loaded = time.perf_counter() - begun, peak_mb()
    golden = content.golden.inputs
    batches: list[Batch] = []
    rows = 1
    while rows <= (max_rows if model.signature.batched else 1):
        inputs = repeat_rows(golden, rows) if model.signature.batched else golden
        batches.append(_timed(lambda given=inputs: model.run(given), rows))  # type: ignore[misc]
        if batches[-1].median > LONGEST_SECONDS:
            break
        rows *= 2
    return Measurement(
        threads,
        model.provider,
        model.signature.batched,
        seconds,
        before,
        loaded,
        peak_mb(),
        batches,
    )


def _timed(run: Callable[[], object], rows: int) -> Batch:
    run()
    times: list[float] = []
    until = time.perf_counter() + SECONDS
    while len(times) < LEAST_RUNS or time.perf_counter() < until:
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
        if sum(times) > LONGEST_SECONDS:
            break
    times.sort()
    return Batch(rows, times[len(times) // 2], times[int(len(times) * 0.95)])


def peak_mb() -> float:
    """The most memory that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MEGABYTE if sys.platform == "darwin" else peak / 1024


def main() -> None:
    """Measure once: package, threads, largest batch, execution providers."""
    package, threads, max_rows, providers = sys.argv[1:]
    print(json.dumps(asdict(measure(Path(package), int(threads), int(max_rows), providers))))


if __name__ == "__main__":
    main()
