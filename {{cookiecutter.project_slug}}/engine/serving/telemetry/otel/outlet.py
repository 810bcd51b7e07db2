"""Sends the spans and metrics of one process to one destination, from threads of their own.

The queue is bounded: a destination that is slow, silent or gone costs spans, which are counted and
reported, and never an answer or a growing process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from engine.serving.telemetry.otel.destinations import TIMEOUT_SECONDS, Destination

log = logging.getLogger(__name__)

CAPACITY = 4096
BATCH = 512
INTERVAL_SECONDS = 1.0
# A destination that is down is named once; what is lost in the meantime, this often at most.
REPORT_SECONDS = 60.0
LIBRARIES = ("opentelemetry", "azure", "urllib3", "requests", "msal")
LONGEST_REASON = 300


class LastWarning(logging.Handler):
    """Remembers the last warning of the exporting libraries, and keeps it from the log.

    They log each attempt that fails, several lines at a time, for as long as a collector is down.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        self.text = " ".join(record.getMessage().split())[:LONGEST_REASON]

    def listen(self) -> None:
        """Take over the loggers of the libraries; once for each process."""
        for name in LIBRARIES:
            logger = logging.getLogger(name)
            logger.handlers = [self]
            logger.propagate = False
            logger.setLevel(logging.WARNING)


class Outlet(SpanProcessor):
    """The SDK's queue of spans for one destination, and the metrics from time to time.

    Args:
        to: the destination.
        warning: what the libraries said last.
        metrics: reads all metrics; None where another process sends them.
        metric_seconds: time between two readings of the metrics.
    """

    def __init__(
        self,
        to: Destination,
        warning: LastWarning,
        metrics: Callable[[], MetricsData] | None,
        metric_seconds: float,
    ) -> None:
        self._to = to
        self._warning = warning
        self._send_metrics = None if metrics is None else to.metric_sender(metrics)
        self._metric_seconds = metric_seconds
        # Spans that were queued, found no room, or were sent in vain; those that left the queue.
        self._queued = self._dropped = self._failed = self._sent = 0
        self._reported = 0
        self._report_after = 0.0
        self._failing = False
        # Spans and metrics are sent one after the other: each failure has its own reason.
        self._sending = threading.Lock()
        self._stopping = threading.Event()
        self._batches = BatchSpanProcessor(
            _Sender(self._send_spans),
            CAPACITY,
            INTERVAL_SECONDS * 1000,
            BATCH,
            TIMEOUT_SECONDS * 1000,
        )
        # Daemons: a destination that hangs must not hold up the end of the process.
        if metrics is not None:
            threading.Thread(target=self._follow_metrics, name="metrics", daemon=True).start()
        self._last = threading.Thread(target=self._finish, name="telemetry-stop", daemon=True)

    @property
    def lost(self) -> int:
        """Spans that found no room, or that the destination did not take."""
        return self._dropped + self._failed

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span, or lose it where there is no room. Returns at once."""
        if self._queued - self._sent >= CAPACITY:
            self._dropped += 1
            return
        self._queued += 1
        self._batches.on_end(span)

    def begin_stop(self) -> None:
        """Send what is queued, and the metrics once more, as long as the destination takes it."""
        self._stopping.set()
        self._last.start()

    def join(self, seconds: float) -> None:
        """Wait for the end of that, and say what remains."""
        self._last.join(seconds)
        if left := self._queued - self._sent:
            log.warning("%s: stopped before %d spans could be sent", self._to.name, left)

    def _finish(self) -> None:
        self._batches.shutdown()  # type: ignore[no-untyped-call]
        if self._send_metrics is not None and not self._failing:
            self._attempt(self._send_metrics)
        self._to.close()

    def _follow_metrics(self) -> None:
        while self._send_metrics is not None and not self._stopping.wait(self._metric_seconds):
            self._attempt(self._send_metrics)

    def _send_spans(self, spans: Sequence[ReadableSpan]) -> bool:
        taken = self._attempt(lambda: self._to.send_spans(spans), len(spans))
        self._sent += len(spans)
        return taken

    def _attempt(self, send: Callable[[], bool], spans: int = 0) -> bool:
        with self._sending:
            self._warning.text = ""
            try:
                taken = send()
            except Exception as error:  # noqa: BLE001 - whatever it is, the thread goes on
                self._warning.text = repr(error)[:LONGEST_REASON]
                taken = False
            self._failed += 0 if taken else spans
            self._report(taken)
        return taken

    def _report(self, taken: bool) -> None:
        name, lost = self._to.name, self.lost
        if not taken and not self._failing:
            reason = self._warning.text or "no reason given"
            log.warning("%s takes no telemetry; answers are not affected: %s", name, reason)
        if taken and self._failing:
            log.warning("%s takes telemetry again; %d spans were lost", name, lost)
            self._reported = lost
        elif taken and lost > self._reported and time.monotonic() >= self._report_after:
            self._report_after = time.monotonic() + REPORT_SECONDS
            log.warning(
                "%s: %d spans were lost, more are made than it takes; lower TRACES_PER_SECOND",
                name,
                lost - self._reported,
            )
            self._reported = lost
        self._failing = not taken


class _Sender(SpanExporter):
    """What the SDK's queue calls with a batch."""

    def __init__(self, send: Callable[[Sequence[ReadableSpan]], bool]) -> None:
        self._send = send

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See ``SpanExporter``."""
        return SpanExportResult.SUCCESS if self._send(spans) else SpanExportResult.FAILURE
