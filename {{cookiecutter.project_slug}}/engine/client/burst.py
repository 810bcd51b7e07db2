"""A timed burst of single rows: is the service fast enough, and does every request succeed?

No load test: it says within seconds that something is badly wrong, a model on the wrong device or
a container with too little cpu. `engine/load/` holds the load test.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from engine.client import wire
from engine.client.failures import TooSlow, Unreachable, Unsteady
from engine.client.parity import Record
from engine.client.refusals import is_ours, what_it_said
from engine.client.service import BUSY, Limits, Service

LIVE = "/healthz"
PATH_SAMPLES = 5


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request failed. ``ours``: the service itself reported an error or answered wrongly."""

    reason: str
    ours: bool


@dataclass(frozen=True, slots=True)
class Burst:
    """What was measured; ``failures`` are the failed requests, and ``path_ms`` is the time of a
    question that the service answers without a model.
    """

    milliseconds: tuple[float, ...]
    failures: tuple[Failure, ...]
    path_ms: float

    def quantile(self, share: float) -> float:
        """The time in ms within which that share of the answers came (nearest rank)."""
        ordered = sorted(self.milliseconds)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def check_burst(service: Service, records: Sequence[Record], limits: Limits) -> str:
    """Send the burst and judge it; what was measured, in one line.

    Raises:
        Unsteady: a request failed.
        TooSlow: the 95th percentile is beyond the limit.
    """
    if limits.burst_requests == 0:
        return "no burst was asked for"
    burst = run_burst(service, _requests(records, limits.burst_requests), limits.burst_clients)
    total = len(burst.milliseconds) + len(burst.failures)
    if burst.failures:
        unsteady = Unsteady(
            f"{len(burst.failures)} of {total} requests to {service.url} failed: "
            f"{burst.failures[0].reason}",
            "read its log (`.venv/bin/python -m engine.deploy logs ENV`): restarts, errors, too "
            "little memory?",
        )
        unsteady.proof = any(failure.ours for failure in burst.failures)
        raise unsteady
    p50, p95 = burst.quantile(0.5), burst.quantile(0.95)
    measured = (
        f"{total} requests, p50 {p50:.0f} ms, p95 {p95:.0f} ms, "
        f"of which the path takes {burst.path_ms:.0f} ms"
    )
    if p95 - burst.path_ms > limits.burst_p95_ms:
        raise TooSlow(
            f"{service.url}: p95 without the path is {p95 - burst.path_ms:.0f} ms and the limit is "
            f"{limits.burst_p95_ms:g} ms ({measured})",
            "give it more cpu, or raise rollout.burst.p95_ms",
        )
    return measured


@dataclass(frozen=True, slots=True)
class Shot:
    """A request of the burst and the status that its answer must have."""

    request: wire.Request
    status: int = 200


def run_burst(service: Service, requests: Sequence[Shot], clients: int) -> Burst:
    """Send the requests, some at a time; each client's first one is sent before and not timed."""
    with ThreadPoolExecutor(clients) as pool:
        # Connections are made here, so that the burst measures answers.
        list(pool.map(lambda _: _ask(service, requests[0]), range(clients)))
        path = statistics.median(_path(service) for _ in range(PATH_SAMPLES))
        results = list(pool.map(lambda request: _ask(service, request), requests))
    times = tuple(each for each in results if isinstance(each, float))
    return Burst(times, tuple(each for each in results if isinstance(each, Failure)), path)


def _requests(records: Sequence[Record], count: int) -> list[Shot]:
    usable = [each for each in records if wire.fits_json(each.golden.inputs)] or list(records)
    chosen = itertools.islice(itertools.cycle(usable), count)
    return [_single(record, index) for index, record in enumerate(chosen)]


def _single(record: Record, index: int) -> Shot:
    row = index % record.samples
    inputs = record.some(row, row + 1)
    ask = wire.predict if wire.fits_json(inputs) else wire.infer_binary
    return Shot(ask(record.manifest.name, inputs), 422 if record.refusal(row) else 200)


def _ask(service: Service, shot: Shot) -> float | Failure:
    """Milliseconds, or why it failed."""
    begun = time.perf_counter()
    try:
        response = service.post(shot.request)
    except Unreachable as error:
        return Failure(error.cause, ours=False)
    status = response.status_code
    if status != shot.status:
        ours = status == 200 or (status not in BUSY and is_ours(response))
        return Failure(f"HTTP {status}: {what_it_said(response)}", ours)
    return (time.perf_counter() - begun) * 1000


def _path(service: Service) -> float:
    """Milliseconds of a question that needs no model.

    Raises:
        Unreachable: no answer came back.
    """
    begun = time.perf_counter()
    service.get(LIVE)
    return (time.perf_counter() - begun) * 1000
