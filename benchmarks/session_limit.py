"""The limit of the hardware: rows per second of a bare `session.run`, without any server.

`python session_limit.py MODEL SECONDS SAMPLES...` prints, as JSON, the rate of each thread
configuration for each file of samples. Runs in the rendered service's serving environment.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-not-found]

BATCHES = (1, 32, 256)


def main() -> None:
    """Measure every configuration with every batch size that the samples allow."""
    model, seconds = Path(sys.argv[1]), float(sys.argv[2])
    rates: dict[str, dict[str, float]] = {}
    for inputs in batches([Path(each) for each in sys.argv[3:]]):
        rates[str(len(inputs))] = {
            label: rate(model, inputs, callers, threads, spinning, seconds)
            for label, callers, threads, spinning in configurations(len(os.sched_getaffinity(0)))
        }
    json.dump(rates, sys.stdout)


def configurations(cpus: int) -> list[tuple[str, int, int, bool]]:
    """Label, callers, threads in a run, and whether these spin while they wait."""
    if cpus == 1:
        return [("1 caller", 1, 1, False)]
    return [
        (f"{cpus} callers, 1 thread each", cpus, 1, False),
        (f"1 caller, {cpus} threads", 1, cpus, True),
        (f"1 caller, {cpus} threads, no spinning", 1, cpus, False),
    ]


def batches(samples: list[Path]) -> list[Any]:
    """Arrays of 1, 32 and 256 rows, as far as the largest sample goes."""
    largest: Any = max((np.load(path)["inputs"] for path in samples), key=len)
    return [np.ascontiguousarray(largest[:rows]) for rows in BATCHES if rows <= len(largest)]


def rate(
    model: Path, inputs: Any, callers: int, threads: int, spinning: bool, seconds: float
) -> float:
    """Rows per second."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: inputs}
    session.run(None, feed)
    counts = [0] * callers
    begun = time.perf_counter()

    def call(caller: int) -> None:
        while time.perf_counter() - begun < seconds:
            session.run(None, feed)
            counts[caller] += 1

    each = [threading.Thread(target=call, args=(caller,)) for caller in range(callers)]
    for thread in each:
        thread.start()
    for thread in each:
        thread.join()
    return sum(counts) * len(inputs) / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
