"""All metrics of one service, in one Prometheus registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from engine.serving.errors import RequestError
from engine.serving.lifecycle import State
from engine.serving.metrics import memory, models
from engine.serving.metrics.capture import CaptureMetrics
from engine.serving.metrics.device import DeviceMetrics
from engine.serving.metrics.models import ModelMetrics
from engine.serving.metrics.process import ProcessMetrics
from engine.serving.metrics.requests import RequestMetrics
from engine.serving.metrics.shared_table import SharedTable
from engine.serving.metrics.state import StateMetrics
from engine.serving.metrics.ticker import Ticker
from engine.serving.reference.document import MOST_NUMBERS
from engine.serving.reference.feedback import numbers_for as feedback_numbers


def columns_for(count: int) -> int:
    """Columns of the shared table that the metrics of so many models need."""
    service = RequestMetrics.COLUMNS + StateMetrics.COLUMNS + ProcessMetrics.COLUMNS
    return service + CaptureMetrics.COLUMNS + count * ModelMetrics.COLUMNS


def numbers_for(count: int, remembered: int = 0) -> int:
    """Further numbers of the shared table, for the references of so many models, and for feedback
    where so many rows of each are remembered.
    """
    return count * (MOST_NUMBERS + (feedback_numbers(remembered) if remembered else 0))


class Metrics(Collector):
    """All metrics of one service.

    Args:
        shared_table: where the numbers stand; workers share it.
        connections: how many client connections this worker has open now.
    """

    def __init__(
        self, shared_table: SharedTable, connections: Callable[[], int] = lambda: 0
    ) -> None:
        self._table = shared_table
        self.requests = RequestMetrics(shared_table, connections)
        self._state = StateMetrics(shared_table)
        self._processes = ProcessMetrics(shared_table)
        self.capture = CaptureMetrics(shared_table)
        self.device = DeviceMetrics()
        self._models: dict[str, ModelMetrics] = {}
        self.ticker = Ticker(self._state.lag.add, self._beat)
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def observer(self, model: str) -> ModelMetrics:
        """The metrics of one model. All workers must ask for the models in the same order."""
        if model not in self._models:
            self._models[model] = ModelMetrics(self._table)
        return self._models[model]

    def failed(self, model: str, error: RequestError) -> None:
        """A request to a model failed; "" when it did not get as far as to a model."""
        if (observer := self._models.get(model)) is not None:
            observer.failed(error)

    def build(self, facts: dict[str, str]) -> None:
        """Publish the release."""
        self._state.build = facts

    def model(self, name: str, version: str, provider: str, digest: str) -> None:
        """Publish a model that is served."""
        self._state.served.append((name, version, provider, digest))

    def set_state(self, state: State) -> None:
        """Publish this worker's state."""
        self._table.set_state(state)

    def states(self, silent: float) -> list[State]:
        """See ``SharedTable.states``."""
        return self._table.states(silent)

    def _beat(self) -> None:
        self._table.beat()
        self.publish()

    def publish(self) -> None:
        """Write this worker's numbers for the others to read."""
        self.requests.publish()
        for each in self._models.copy().values():
            each.publish()
        self._table.publish()

    def collect(self) -> Iterator[Metric]:
        """All metrics of all workers; called by prometheus_client."""
        self.publish()
        yield from self.requests.collect()
        # A copy: models are loaded in a thread, and each one adds itself.
        yield from models.collect(self._models.copy().items())
        yield from self.capture.collect()
        yield from self._state.collect()
        yield from memory.collect()
        yield from self._processes.collect()
        yield from self.device.collect()
