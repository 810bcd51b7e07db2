"""The loads: which model, how many rows in a request, how many clients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.wires import FloatArray


@dataclass(frozen=True)
class Load:
    """A closed loop: each client sends its next request when it has the answer to the last.

    An idle load has one client and is about latency.
    """

    name: str
    title: str
    model: str
    rows: int
    clients: int
    quick: bool = True

    @property
    def idle(self) -> bool:
        """Whether only one client asks."""
        return self.clients == 1


LOADS = (
    Load("iris", "iris, 1 row, 64 clients", "iris", 1, 64),
    Load("dense", "dense net, 1 row, 64 clients", "dense", 1, 64),
    Load("dense-256", "dense net, 256 rows, 2 clients", "dense", 256, 2),
    Load("conv", "conv net, 1 image, 8 clients", "conv", 1, 8),
    Load("iris-256", "iris, 256 rows, 8 clients", "iris", 256, 8, quick=False),
    Load("iris-idle", "iris, 1 row, 1 client", "iris", 1, 1),
    Load("dense-idle", "dense net, 1 row, 1 client", "dense", 1, 1),
)


def samples(models: Path, model: str, rows: int) -> tuple[FloatArray, FloatArray]:
    """Inputs, and the answers that bare onnxruntime gives to them."""
    with np.load(models / model / f"samples-{rows}.npz") as arrays:
        return arrays["inputs"], arrays["answer"]
