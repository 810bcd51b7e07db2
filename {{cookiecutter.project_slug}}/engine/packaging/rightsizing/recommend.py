"""From measurements to settings and sizes, each with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.packaging.rightsizing.measure import Measurement

# A larger batch must make rows cheaper by a tenth, as the service itself demands while it warms up.
WORTHWHILE = 0.9
# Below this a request costs more in HTTP than in computing, and worker processes share that out.
TINY_SECONDS = 0.001
# From here on somebody waits for one run, and more threads inside it are felt.
SLOW_SECONDS = 0.02
FASTER = 1.5
# Parsing, the event loop, other requests' bodies.
SPARE_MB = 200
HEADROOM = 1.25
# Of what one CPU can compute; the rest is for HTTP and for peaks.
LOAD = 0.6
# Reading, checking and answering a small request.
HTTP_SECONDS = 0.0002
CLASSICAL = "ai.onnx.ml"


@dataclass(frozen=True, slots=True)
class Model:
    """What is known beside the measurements. ``operators`` holds the domains of an ONNX file's
    operators; ``parameters_mb`` the size of all its files.
    """

    form: str
    operators: frozenset[str]
    parameters_mb: float


@dataclass(frozen=True, slots=True)
class Advice:
    """Settings of the service, size of the container, and a sentence for each."""

    variables: dict[str, str]
    cpu: float
    memory_gb: float
    reasons: tuple[str, ...]


def advise(
    model: Model, by_threads: list[Measurement], cuda: Measurement | None, wanted: float = 0.0
) -> Advice:
    """Recommend.

    Args:
        model: what it is.
        by_threads: measured on the CPU, with one thread first.
        cuda: measured on a GPU, where there is one.
        wanted: requests of one row a second that the service shall answer; 0: not said.
    """
    one = by_threads[0]
    reasons = [_batching(one)]
    variables: dict[str, str] = {}
    cpu = 1.0
    if wanted:
        rate = 1 / (HTTP_SECONDS + 1 / _best(one))
        cpu = float(max(1, math.ceil(wanted / (LOAD * rate))))
        reasons.append(
            f"cpu {cpu:g}: {wanted:g} requests of one row a second, at about {rate:.0f} for each "
            f"CPU, of which {LOAD:.0%} are counted on"
        )
    variables, more = _threads(one, by_threads[-1], cpu)
    reasons += more
    workers = int(variables.get("WORKERS", "1"))
    memory = max(each.peak_mb for each in by_threads)
    needed = (memory * workers + SPARE_MB) * HEADROOM / 1024
    memory_gb = max(1.0, math.ceil(needed * 2) / 2)
    reasons.append(
        f"memory {memory_gb:g} GB: the process needed {memory:.0f} MB at most"
        + (f", {workers} of them" if workers > 1 else "")
        + f", and {SPARE_MB} MB are for requests"
    )
    reasons.append(_gpu(model, one, cuda))
    return Advice(variables, cpu, memory_gb, tuple(reasons))


def _best(measured: Measurement) -> float:
    return measured.fastest.rows_per_second


def _batching(one: Measurement) -> str:
    if not one.batched:
        return "requests do not share runs: the model has no rows that are independent"
    limit = batch_limit(one)
    gain = _best(one) / one.single.rows_per_second
    return (
        f"batches of up to {limit} rows pay ({gain:.1f} times the rows a second of single ones); "
        "the service finds that out by itself at its start"
    )


def batch_limit(measured: Measurement) -> int:
    """The batch beyond which rows get no cheaper."""
    cheapest = measured.single
    for batch in measured.batches[1:]:
        if batch.rows_per_second * WORTHWHILE > cheapest.rows_per_second:
            cheapest = batch
    return cheapest.rows


def _threads(one: Measurement, many: Measurement, cpu: float) -> tuple[dict[str, str], list[str]]:
    latency = one.single.median
    if latency < TINY_SECONDS:
        if cpu < 2:
            return {}, [
                f"a run of {latency * 1000:.2f} ms costs less than its HTTP: one CPU serves"
            ]
        return {"WORKERS": f"{cpu:g}"}, [
            f"WORKERS={cpu:g}: a run of {latency * 1000:.2f} ms costs less than its HTTP, which "
            "several processes share"
        ]
    faster = latency / many.single.median if many is not one else 1.0
    if latency > SLOW_SECONDS and faster > FASTER:
        return {"INTRA_OP_THREADS": "0", "COMPUTE_LANES": "1"}, [
            f"INTRA_OP_THREADS=0 COMPUTE_LANES=1: {many.threads} threads make a run {faster:.1f} "
            f"times faster than the {latency * 1000:.0f} ms of one; give it as many CPUs"
        ]
    return {}, [
        f"one thread inside a run: {many.threads} make it {faster:.1f} times faster, and runs "
        "beside each other use the CPUs better"
    ]


def _gpu(model: Model, one: Measurement, cuda: Measurement | None) -> str:
    if model.form == "joblib":
        return "a GPU buys nothing: scikit-learn computes on the CPU only"
    if model.operators and CLASSICAL in model.operators:
        return (
            "a GPU buys nothing: trees and linear models use operators (ai.onnx.ml) that ONNX "
            "Runtime has for the CPU only"
        )
    if cuda is None:
        cost = one.fastest.median / one.fastest.rows * 1000
        verdict = "rarely pays" if cost < 1 else "may pay: measure it there"
        return f"no GPU here to measure; at {cost:.2f} ms a row on one CPU, one {verdict}"
    gain = _best(cuda) / _best(one)
    return f"the GPU computes {gain:.1f} times the rows of one CPU" + (
        "; compare that with its price" if gain > 1 else ": it does not pay"
    )
