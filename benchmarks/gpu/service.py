"""Answers per second of the whole service, on CUDA and on the CPU, with many clients.

`python -m benchmarks.gpu.service MODELS` in a rendered service's folder and GPU environment. The
clients are processes of their own on the same machine, and take a part of its processors.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu.checks import serving
from benchmarks.loads import samples
from benchmarks.resilience.client import Kind
from benchmarks.resilience.generator import Clients
from benchmarks.resilience.kinds import REFUSED, post
from benchmarks.resilience.traffic import Shape
from benchmarks.wires import Wire, encode

SECONDS = 1.0
GENERATORS = 4
CPU = {"EXECUTION_PROVIDERS": "cpu", "COMPUTE_LANES": str(len(os.sched_getaffinity(0)))}
NO_GRAPHS = {"GPU_CUDA_GRAPHS": "false"}
PATHS: dict[Wire, str] = {"rows": "/predict", "binary": "/v2/models/{model}/infer"}


@dataclass(frozen=True)
class Load:
    """Clients that send one kind of request as fast as they are answered."""

    model: str
    rows: int
    wire: Wire
    clients: int

    @property
    def title(self) -> str:
        """What the table calls it."""
        return f"{self.model}, {self.rows} x {self.wire}, {self.clients} clients"


LOADS = (
    Load("dense", 1, "rows", 1),
    Load("dense", 1, "rows", 64),
    Load("dense", 256, "binary", 16),
    Load("conv", 1, "rows", 16),
    Load("conv", 1, "binary", 32),
)
CONFIGURATIONS: dict[str, Mapping[str, str]] = {
    "cpu": CPU,
    "cuda": {},
    "cuda, no graphs": NO_GRAPHS,
    "cuda, 4 workers": {"WORKERS": "4"},
    "no graphs, 4 workers": NO_GRAPHS | {"WORKERS": "4"},
}


def main() -> None:
    """Print one line for each load and configuration."""
    models = Path(sys.argv[1])
    columns = f"{'answers/s':>10}{'p50 ms':>9}{'p99 ms':>9}  refused, faults"
    print(f"{'load':34}{'configuration':22}{columns}")
    for name in dict.fromkeys(load.model for load in LOADS):
        for label, settings in CONFIGURATIONS.items():
            with serving(models / name / "packages", LOG_LEVEL="warning", **settings) as (port, _):
                for load in LOADS:
                    if load.model == name:
                        _measure(models, load, label, port)


def _measure(models: Path, load: Load, label: str, port: int) -> None:
    body = encode(load.wire, samples(models, load.model, load.rows)[0])
    kind = Kind("predict", post(PATHS[load.wire].format(model=load.model), body), (200, *REFUSED))
    generators = min(GENERATORS, load.clients)
    shape = Shape(load.clients // generators, SECONDS)
    each = [Clients(port, [kind], shape) for _ in range(generators)]
    seen = [clients.seen() for clients in each]
    p50 = sum(one.of("200").get("p50_ms", 0.0) for one in seen) / len(seen)
    p99 = max(one.of("200").get("p99_ms", 0.0) for one in seen)
    faults = sum(sum(one.faults.values()) for one in seen)
    refused = sum(one.refused for one in seen)
    rate = sum(one.rate for one in seen)
    print(
        f"{load.title:34}{label:22}{rate:10.0f}{p50:9.2f}{p99:9.2f}  {refused:.0f}, {faults}",
        flush=True,
    )


if __name__ == "__main__":
    main()
