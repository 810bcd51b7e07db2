"""Follows every inference request, whichever way it takes, and tells who wants to know."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from app.metrics.service import Metrics
from app.telemetry.record import Record, RequestIds
from app.telemetry.traceparent import TRACEPARENT

Sink = Callable[[Record], None]


class Tracer(Protocol):
    """Decides about each request when it begins and makes its spans when it was answered."""

    def begin(self, record: Record, headers: Mapping[bytes, bytes]) -> None:
        """A request was just read."""
        ...

    def end(self, record: Record) -> None:
        """A request that is traced was answered."""
        ...

    def stop(self, seconds: float) -> None:
        """Send what is left, for that many seconds at most; blocks."""
        ...


class RequestTelemetry:
    """Begins and ends the record of each request.

    Args:
        sink: is given each record when its request was answered: the log.
    """

    def __init__(self, metrics: Metrics, sink: Sink | None = None) -> None:
        self._metrics = metrics
        self._requests = metrics.requests
        self._sink = sink
        self._ids = RequestIds()
        # Set where telemetry is exported, once that is ready.
        self.tracer: Tracer | None = None

    def begin(self, route: str, path: str, headers: Mapping[bytes, bytes]) -> Record:
        """The record of a request that was just read; it must be given to ``end``."""
        self._requests.begun += 1
        record = Record(route, self._ids.of(headers), headers.get(TRACEPARENT), path)
        if self.tracer is not None:
            self.tracer.begin(record, headers)
        return record

    def end(self, record: Record, status: int) -> None:
        """The request was answered with this status; 499: its client went away."""
        record.ended = time.perf_counter()
        record.status = status
        self._requests.ended(record.route, status, record.ended - record.began)
        if record.error is not None:
            self._metrics.failed(record.model, record.error)
        # Nearly always one, and a loop costs as much as what it calls.
        if self._sink is not None:
            self._sink(record)
        if record.span is not None and self.tracer is not None:
            self.tracer.end(record)
