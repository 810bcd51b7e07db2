"""Prometheus metrics of one service: base units, bounded labels, one registry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.metrics.slab import Count, Distribution, Slab

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
ROUTES: Final = ("predict", "infer")
# 499: the client went away before it was answered.
STATUSES: Final = (200, 400, 401, 404, 405, 408, 413, 415, 422, 429, 499, 500, 503)
BASE_COLUMNS: Final = len(ROUTES) * (len(STATUSES) + len(SECONDS) + 2)
MODEL_COLUMNS: Final = 2 * (len(SECONDS) + 2) + len(ROWS) + 2


def columns_for(models: int) -> int:
    """Columns of the slab that the metrics of so many models need."""
    return BASE_COLUMNS + models * MODEL_COLUMNS


class ModelObserver:
    """What one model's batcher reports."""

    def __init__(self, slab: Slab) -> None:
        self.wait = Distribution(slab, SECONDS)
        self.rows = Distribution(slab, ROWS)
        self.compute = Distribution(slab, SECONDS)

    def waited(self, seconds: float) -> None:
        """See ``app.inference.batcher.Observer``."""
        self.wait.add(seconds)

    def computed(self, rows: int, seconds: float) -> None:
        """See ``app.inference.batcher.Observer``."""
        self.rows.add(rows)
        self.compute.add(seconds)


class Metrics(Collector):
    """All metrics of one service.

    Args:
        slab: where the numbers stand; workers share it.
    """

    def __init__(self, slab: Slab) -> None:
        self._slab = slab
        self._requests = {(route, status): Count(slab) for route in ROUTES for status in STATUSES}
        self._duration = {route: Distribution(slab, SECONDS) for route in ROUTES}
        self._models: dict[str, ModelObserver] = {}
        self._served: list[tuple[str, ...]] = []
        self._build: dict[str, str] = {}
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one answered inference request."""
        self._requests[route, status].add()
        self._duration[route].add(seconds)

    def observer(self, model: str) -> ModelObserver:
        """The observer for one model's batcher."""
        return self._models.setdefault(model, ModelObserver(self._slab))

    def build(self, facts: dict[str, str]) -> None:
        """Publish the release."""
        self._build = facts

    def model(self, name: str, version: str, provider: str, digest: str) -> None:
        """Publish a model that is served."""
        self._served.append((name, version, provider, digest))

    def set_ready(self, ready: bool) -> None:
        """Publish this worker's readiness."""
        self._slab.set_ready(ready)

    def all_ready(self) -> bool:
        """Whether every worker has published that it is ready."""
        return all(self._slab.ready())

    def collect(self) -> Iterator[Metric]:
        """All metrics, summed over the workers; called by prometheus_client."""
        yield self._request_counts()
        yield _histogram(
            "inference_request_duration_seconds",
            "From the first byte read to the answer sent.",
            "route",
            list(self._duration.items()),
        )
        observers = self._models.items()
        yield _histogram(
            "inference_queue_wait_seconds",
            "Time in the queue before the run began.",
            "model",
            [(name, observer.wait) for name, observer in observers],
        )
        yield _histogram(
            "inference_batch_rows",
            "Rows in one run of the model.",
            "model",
            [(name, observer.rows) for name, observer in observers],
        )
        yield _histogram(
            "inference_compute_seconds",
            "Time of one run of the model.",
            "model",
            [(name, observer.compute) for name, observer in observers],
        )
        yield from self._facts()

    def _request_counts(self) -> Metric:
        family = CounterMetricFamily(
            "inference_requests", "Inference requests answered.", labels=["route", "status"]
        )
        for (route, status), count in self._requests.items():
            family.add_metric([route, str(status)], count.total())
        return family

    def _facts(self) -> Iterator[Metric]:
        ready = 1 if self.all_ready() else 0
        yield GaugeMetricFamily(
            "inference_ready", "1 when every worker is ready, else 0.", value=ready
        )
        workers = self._slab.workers
        yield GaugeMetricFamily("inference_workers", "Worker processes.", value=workers)
        yield InfoMetricFamily("inference_build", "What is running.", value=self._build)
        models = GaugeMetricFamily(
            "inference_model_info",
            "1 for each model that is served.",
            labels=["model", "version", "execution_provider", "digest"],
        )
        for labels in self._served:
            models.add_metric(labels, 1)
        yield models


def _histogram(
    name: str, text: str, label: str, series: Sequence[tuple[str, Distribution]]
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=[label])
    for value, distribution in series:
        bounds = [*(str(float(bound)) for bound in distribution.bounds), "+Inf"]
        buckets = list(zip(bounds, distribution.cumulative(), strict=True))
        family.add_metric([value], buckets, distribution.sum())
    return family
