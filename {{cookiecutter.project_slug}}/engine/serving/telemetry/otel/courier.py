"""Sends telemetry to one destination from a thread of its own.

The event loop only appends to a queue. The queue is bounded: a destination that is slow, silent or
gone costs spans, which are counted and reported, and never an answer or a growing process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan

from engine.serving.telemetry.otel.words import LastWords

log = logging.getLogger(__name__)

CAPACITY = 4096
BATCH = 512
INTERVAL_SECONDS = 1.0
# A destination that is down is named once; what is lost in the meantime, this often at most.
REPORT_SECONDS = 60.0

SendSpans = Callable[[Sequence[ReadableSpan]], bool]
SendMetrics = Callable[[], bool]


class Courier:
    """A queue of spans and the thread that sends them, and the metrics from time to time.

    Args:
        name: of the destination, in logs.
        send_spans: sends a batch; whether it was taken.
        send_metrics: reads and sends all metrics; None where another process does.
        close: releases the connections.
        words: what the libraries said last.
        metric_seconds: time between two readings of the metrics.
    """

    def __init__(
        self,
        name: str,
        send_spans: SendSpans,
        send_metrics: SendMetrics | None,
        close: Callable[[], None],
        words: LastWords,
        metric_seconds: float,
    ) -> None:
        self.name = name
        self._send_spans = send_spans
        self._send_metrics = send_metrics
        self._close = close
        self._words = words
        self._metric_seconds = metric_seconds
        self._queue: deque[ReadableSpan] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._failing = False
        self.lost = 0
        self._reported = 0
        self._report_after = 0.0
        # A daemon: a destination that hangs must not hold up the end of the process.
        self._thread = threading.Thread(target=self._run, name=f"telemetry-{name}", daemon=True)
        self._thread.start()

    def put(self, spans: Sequence[ReadableSpan]) -> None:
        """Queue spans; those that find no room are lost. Returns at once."""
        if len(self._queue) + len(spans) > CAPACITY:
            self.lost += len(spans)
            return
        self._queue.extend(spans)
        if len(self._queue) >= BATCH:
            self._wake.set()

    def begin_stop(self) -> None:
        """Send what is queued, and the metrics once more, as long as the destination takes it."""
        self._stopping = True
        self._wake.set()

    def join(self, seconds: float) -> None:
        """Wait for the end of that, and say what remains."""
        self._thread.join(seconds)
        if left := len(self._queue):
            log.warning("%s: stopped before %d spans could be sent", self.name, left)

    def _run(self) -> None:
        metrics_after = time.monotonic() + self._metric_seconds
        while not self._stopping:
            wait = min(INTERVAL_SECONDS, self._metric_seconds)
            self._wake.wait(wait)
            self._wake.clear()
            self._deliver()
            if time.monotonic() >= metrics_after:
                metrics_after = time.monotonic() + self._metric_seconds
                self._deliver_metrics()
        self._deliver()
        self._deliver_metrics()
        self._close()

    def _deliver(self) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            taken = self._attempt(lambda batch=batch: self._send_spans(batch))  # type: ignore[misc]
            if not taken:
                self.lost += len(batch)
            self._report(taken)
            if not taken and self._stopping:
                return

    def _deliver_metrics(self) -> None:
        if self._send_metrics is not None and not (self._stopping and self._failing):
            self._report(self._attempt(self._send_metrics))

    def _attempt(self, send: Callable[[], bool]) -> bool:
        self._words.forget()
        try:
            return send()
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread goes on
            self._words.say(repr(error))
            return False

    def _report(self, taken: bool) -> None:
        if not taken and not self._failing:
            reason = self._words.last or "no reason given"
            log.warning("%s takes no telemetry; answers are not affected: %s", self.name, reason)
        if taken and self._failing:
            log.warning("%s takes telemetry again; %d spans were lost", self.name, self.lost)
            self._reported = self.lost
        elif taken and self.lost > self._reported and time.monotonic() >= self._report_after:
            self._report_after = time.monotonic() + REPORT_SECONDS
            count = self.lost - self._reported
            self._reported = self.lost
            log.warning(
                "%s: %d spans were lost, more are made than it takes; lower TRACES_PER_SECOND",
                self.name,
                count,
            )
        self._failing = not taken
