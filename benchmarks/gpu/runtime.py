"""Rows per second of a model on CUDA and on the CPU, through the service's own runtime.

`python -m benchmarks.gpu.runtime MODELS` in a rendered service's folder and GPU environment, with
the models of models.py. Loading compares each with its golden record, so a wrong answer on the GPU
ends this with an error before anything is measured.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from engine.serving.inference.model import Model, load_model, repeat_rows
from engine.serving.package.reader import read_package
from engine.serving.settings import Settings

from benchmarks.gpu.names import HALF

MODELS = ("dense", HALF, "conv")
ROWS = (1, 8, 32, 128)
SECONDS = 1.0
RUNS_AT_LEAST = 5
SETTINGS = {
    "cpu": Settings(execution_providers=("cpu",), intra_op_threads=0),
    "cuda": Settings(execution_providers=("cuda",), gpu_cuda_graphs=False),
    "cuda, graphs": Settings(execution_providers=("cuda",)),
}


def main() -> None:
    """Print one line for each model, provider and number of rows."""
    models = Path(sys.argv[1])
    print(f"{'model':8}{'provider':14}{'rows':>6}{'median ms':>12}{'rows/s':>12}")
    for name in MODELS:
        package = read_package(models / name / "packages" / name)
        for label, settings in SETTINGS.items():
            model = load_model(package, settings)
            for rows in ROWS:
                seconds = median_seconds(model, rows)
                print(
                    f"{name:8}{label:14}{rows:6}{seconds * 1e3:12.3f}{rows / seconds:12.0f}",
                    flush=True,
                )


def median_seconds(model: Model, rows: int) -> float:
    """The median time of one run; bounded in time."""
    inputs = repeat_rows(model.package.golden.inputs, rows)
    model.run(inputs)
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times) < RUNS_AT_LEAST:
        begun = time.perf_counter()
        model.run(inputs)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


if __name__ == "__main__":
    main()
