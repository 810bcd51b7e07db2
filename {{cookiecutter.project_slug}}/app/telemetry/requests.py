"""Follows every inference request, whichever way it takes, and tells who wants to know."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from app.metrics.service import Metrics
from app.telemetry.record import TRACEPARENT, Record, RequestIds

Sink = Callable[[Record], None]


class RequestTelemetry:
    """Begins and ends the record of each request.

    Args:
        sinks: are given each record when its request is answered: log, spans.
    """

    def __init__(self, metrics: Metrics, sinks: Sequence[Sink] = ()) -> None:
        self._metrics = metrics
        self._sinks = tuple(sinks)
        self._ids = RequestIds()

    def begin(self, route: str, headers: Mapping[bytes, bytes]) -> Record:
        """The record of a request that was just read; it must be given to ``end``."""
        self._metrics.requests.begun()
        return Record(route, self._ids.of(headers), headers.get(TRACEPARENT))

    def end(self, record: Record, status: int) -> None:
        """The request was answered with this status; 499: its client went away."""
        record.ended = time.perf_counter()
        record.status = status
        self._metrics.requests.ended(record.route, status, record.ended - record.began)
        if record.error is not None:
            self._metrics.failed(record.model, record.error)
        for sink in self._sinks:
            sink(record)
