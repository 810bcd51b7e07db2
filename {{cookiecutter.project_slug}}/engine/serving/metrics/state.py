"""Metrics of the service as a whole: what runs, in which state, and how its event loops do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client.core import InfoMetricFamily
from prometheus_client.metrics_core import Metric

from engine.serving.lifecycle import SILENT_SECONDS, State, overall
from engine.serving.metrics.families import SECONDS, gauge, histogram, size_of
from engine.serving.metrics.shared_table import Distribution, SharedTable


class StateMetrics:
    """What is running, and whether it can answer."""

    COLUMNS: Final = size_of(SECONDS)

    def __init__(self, shared_table: SharedTable) -> None:
        self._table = shared_table
        self.lag = Distribution(shared_table, SECONDS)
        self.build: dict[str, str] = {}
        self.served: list[tuple[str, ...]] = []

    def collect(self) -> Iterator[Metric]:
        """The families of all workers."""
        states = self._table.states(SILENT_SECONDS)
        state = overall(states)
        yield gauge(
            "inference_ready",
            "1 when every worker is ready, else 0.",
            (),
            [((), float(state is State.READY))],
        )
        yield gauge(
            "inference_state",
            "1 for the state that the service is in, else 0.",
            ("state",),
            (((each.value,), float(each is state)) for each in State),
        )
        yield gauge("inference_workers", "Worker processes.", (), [((), len(states))])
        yield InfoMetricFamily("inference_build", "What is running.", value=self.build)
        yield gauge(
            "inference_model_info",
            "1 for each model that is served.",
            ("model", "version", "execution_provider", "digest"),
            ((labels, 1.0) for labels in self.served),
        )
        yield histogram(
            "inference_event_loop_lag_seconds",
            "How late a timer of the event loop fires, four times a second.",
            (),
            [((), self.lag)],
        )
