"""Follows every inference request, whichever way it takes, and tells who wants to know."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Protocol

from engine.serving.metrics.service import Metrics
from engine.serving.request import Request, RequestIds
from engine.serving.telemetry.traceparent import TRACEPARENT

log = logging.getLogger(__name__)


class Lines(Protocol):
    """Writes a line for each request, within a budget.

    Attributes:
        silent_until: until then no ordinary request gets one; seconds of ``time.perf_counter``.
        slow_seconds: a request that takes longer is not an ordinary one.
    """

    silent_until: float
    slow_seconds: float

    def ended(self, request: Request) -> None:
        """A request was answered."""
        ...


class Tracer(Protocol):
    """Decides about each request when it begins and makes its spans when it was answered."""

    def begin(self, request: Request, headers: Mapping[bytes, bytes]) -> None:
        """A request was just read."""
        ...

    def end(self, request: Request) -> None:
        """A request that is traced was answered."""
        ...

    def stop(self, seconds: float) -> None:
        """Send what is left, for that many seconds at most; blocks."""
        ...


class RequestTelemetry:
    """Begins and ends the request of each request.

    Args:
        lines: called for each request that was answered and may get a line in the log.
    """

    def __init__(self, metrics: Metrics, lines: Lines | None = None) -> None:
        self._metrics = metrics
        self._requests = metrics.requests
        self._meters = metrics.requests.meters
        self._lines = lines
        self._ids = RequestIds()
        # Requests that were begun and not ended.
        self.open = 0
        # Set where telemetry is exported, once that is ready.
        self.tracer: Tracer | None = None

    def begin(self, route: str, path: str, headers: Mapping[bytes, bytes]) -> Request:
        """A request that was just read; it must be given to ``end``."""
        requests = self._requests
        requests.begun = number = requests.begun + 1
        self.open += 1
        request_id = self._ids.of(headers, number)
        request = Request(route, request_id, headers.get(TRACEPARENT), path)
        if self.tracer is not None:
            self.tracer.begin(request, headers)
        return request

    def end(self, request: Request, status: int) -> None:
        """The request was answered with this status; 499: its client went away."""
        self.open -= 1
        ended = time.perf_counter()
        seconds = ended - request.began
        others, add_seconds = self._meters[request.route]
        lines = self._lines
        # Thousands a second get no line and no span, so this is looked at before all else.
        if (
            status == 200
            and request.span is None
            and (lines is None or (ended < lines.silent_until and seconds <= lines.slow_seconds))
        ):
            add_seconds(seconds)
            return
        if status >= 400:
            # A status without a counter of its own is counted as its class.
            others[status if status in others else 400 if status < 500 else 500] += 1
        add_seconds(seconds)
        request.ended = ended
        request.status = status
        try:
            self._tell(request)
        except Exception:
            # It was answered: the caller must not answer a second time.
            log.exception("request %s was not observed", request.request_id)

    def _tell(self, request: Request) -> None:
        if request.error is not None:
            self._metrics.failed(request.model, request.error)
        if self._lines is not None:
            self._lines.ended(request)
        if request.span is not None and self.tracer is not None:
            self.tracer.end(request)
