"""Follows every inference request, whichever way it takes, and tells who wants to know."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from app.metrics.service import Metrics
from app.telemetry.record import Record, RequestIds
from app.telemetry.traceparent import TRACEPARENT


class Lines(Protocol):
    """Writes a line for each request, within a budget.

    Attributes:
        silent_until: until then no ordinary request gets one; seconds of ``time.perf_counter``.
        slow_seconds: a request that takes longer is not an ordinary one.
        skipped: how many ordinary ones got none.
    """

    silent_until: float
    slow_seconds: float
    skipped: int

    def ended(self, record: Record) -> None:
        """A request was answered."""
        ...


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
        lines: is told of each request that was answered and may get a line in the log.
    """

    def __init__(self, metrics: Metrics, lines: Lines | None = None) -> None:
        self._metrics = metrics
        self._requests = metrics.requests
        self._meters = metrics.requests.meters
        self._lines = lines
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
        record.ended = ended = time.perf_counter()
        record.status = status
        seconds = ended - record.began
        counts, add_seconds = self._meters[record.route]
        counts[status] += 1
        add_seconds(seconds)
        if record.error is not None:
            self._metrics.failed(record.model, record.error)
        lines = self._lines
        if lines is not None:
            # Thousands a second get no line, so this is looked at before anything is called.
            if status < 400 and ended < lines.silent_until and seconds <= lines.slow_seconds:
                lines.skipped += 1
            else:
                lines.ended(record)
        if record.span is not None and self.tracer is not None:
            self.tracer.end(record)
