"""Metrics of each model: its queue, its runs, what was refused, and whether it answers rightly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from prometheus_client.metrics_core import Metric

from engine.serving.errors import LIMITS, DeadlineExceeded, Overloaded, RequestError
from engine.serving.metrics import drift, feedback
from engine.serving.metrics.families import ROWS, SECONDS, counter, gauge, histogram, size_of
from engine.serving.metrics.shared_table import Count, Distribution, Gauge, SharedTable
from engine.serving.reference.counting import Counter
from engine.serving.reference.feedback import Feedback
from engine.serving.reference.feedback import numbers_for as feedback_numbers
from engine.serving.reference.recorder import Recorder

# A worker that has not compared yet has written nothing, which is 0.
PASSED, FAILED = 1.0, 2.0


class ModelMetrics:
    """What one model's batcher, and those who load it, report."""

    COLUMNS: Final = 2 * size_of(SECONDS) + size_of(ROWS) + len(LIMITS) + 5

    def __init__(self, shared_table: SharedTable) -> None:
        self.wait = Distribution(shared_table, SECONDS)
        # Of ``engine.serving.inference.batcher.Observer``; called for every request, so nothing
        # is in between.
        self.waited = self.wait.add
        self.rows = Distribution(shared_table, ROWS)
        self.compute = Distribution(shared_table, SECONDS)
        self.refused = {limit: Count(shared_table) for limit in LIMITS}
        self.timed_out = Count(shared_table)
        self.queued = Gauge(shared_table)
        self.in_flight = Gauge(shared_table)
        self._golden = Gauge(shared_table)
        self._fallback = Gauge(shared_table)
        self._table = shared_table
        self.recorder: Recorder | None = None
        self.feedback: Feedback | None = None
        self._load: Callable[[], tuple[int, int]] = lambda: (0, 0)

    def computed(self, rows: int, seconds: float) -> None:
        """See ``engine.serving.inference.batcher.Observer``."""
        self.rows.add(rows)
        self.compute.add(seconds)

    def failed(self, error: RequestError) -> None:
        """Count a request that was refused by the queue, or waited in it for too long."""
        if isinstance(error, Overloaded):
            if error.limit:
                self.refused[error.limit].add()
        elif isinstance(error, DeadlineExceeded):
            self.timed_out.add()

    def watch(self, load: Callable[[], tuple[int, int]]) -> None:
        """From now on ask this for the rows that wait and the rows that are being computed."""
        self._load = load

    def verified(self, passed: bool) -> None:
        """Publish whether the model answered as in training when it was loaded."""
        self._golden.set(PASSED if passed else FAILED)

    def fell_back(self, fallback: bool) -> None:
        """Publish whether the model computes on the CPU although a GPU was asked for."""
        self._fallback.set(1.0 if fallback else 0.0)

    def compare_with(self, counter: Counter) -> Recorder:
        """From now on compare what the model is asked and answers with its training."""
        shared, own = self._table.reserve_array(counter.reference.size)
        self.recorder = Recorder(counter, shared, own)
        return self.recorder

    def take_feedback(self, labels: Sequence[str], promised: float, remembered: int) -> Feedback:
        """From now on count how often the class that is answered is the right one."""
        shared, own = self._table.reserve_array(feedback_numbers(remembered))
        self.feedback = Feedback(labels, promised, remembered, shared, own)
        return self.feedback

    def publish(self) -> None:
        """Write this worker's gauges for the others to read."""
        if self.feedback is not None:
            self.feedback.publish()
        if self.recorder is not None:
            self.recorder.publish()
        waiting, computing = self._load()
        self.queued.set(waiting)
        self.in_flight.set(waiting + computing)

    def golden(self) -> float | None:
        """1: answers as in training; 0: in some worker it does not; None: not known yet."""
        values = self._golden.values()
        if FAILED in values:
            return 0.0
        return 1.0 if PASSED in values else None

    def fallback(self) -> float:
        """1 when some worker computes on the CPU although a GPU was asked for."""
        return max(self._fallback.values())


def collect(models: Iterable[tuple[str, ModelMetrics]]) -> Iterator[Metric]:
    """The families of all models, each with its name."""
    named = [((name,), each) for name, each in models]
    yield from drift.collect(
        (name, each.recorder) for (name,), each in named if each.recorder is not None
    )
    yield from feedback.collect(
        (name, each.feedback) for (name,), each in named if each.feedback is not None
    )
    label = ("model",)
    yield histogram(
        "inference_queue_wait_seconds",
        "Time in the queue before the run began.",
        label,
        ((name, each.wait) for name, each in named),
    )
    yield histogram(
        "inference_batch_rows",
        "Rows in one run of the model.",
        label,
        ((name, each.rows) for name, each in named),
    )
    yield histogram(
        "inference_compute_seconds",
        "Time of one run of the model.",
        label,
        ((name, each.compute) for name, each in named),
    )
    yield from _queue(named)
    yield from _checks(named)


def _queue(named: list[tuple[tuple[str], ModelMetrics]]) -> Iterator[Metric]:
    label = ("model",)
    yield gauge(
        "inference_queue_rows",
        "Rows waiting for a run.",
        label,
        ((name, each.queued.total()) for name, each in named),
    )
    yield gauge(
        "inference_rows_in_flight",
        "Rows waiting for a run or being computed.",
        label,
        ((name, each.in_flight.total()) for name, each in named),
    )
    yield counter(
        "inference_refused",
        "Requests refused with 429, by the limit of the queue that they met.",
        ("model", "reason"),
        (
            ((*name, limit), count.total())
            for name, each in named
            for limit, count in each.refused.items()
        ),
    )
    yield counter(
        "inference_timed_out",
        "Requests answered with 503, because they waited past their deadline.",
        label,
        ((name, each.timed_out.total()) for name, each in named),
    )


def _checks(named: list[tuple[tuple[str], ModelMetrics]]) -> Iterator[Metric]:
    golden = [(name, each.golden()) for name, each in named]
    yield gauge(
        "inference_golden_check",
        "1: the model answers as in training; 0: it does not, or cannot be loaded.",
        ("model",),
        ((name, passed) for name, passed in golden if passed is not None),
    )
    yield gauge(
        "inference_provider_fallback",
        "1 when a GPU was asked for and the model computes on the CPU, else 0.",
        ("model",),
        ((name, each.fallback()) for name, each in named if each.golden() == 1.0),
    )
