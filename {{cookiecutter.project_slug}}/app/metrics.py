"""Prometheus metrics; base units, bounded labels, one registry for each service object."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class ModelObserver:
    """What one model's batcher reports."""

    def __init__(self, wait: Histogram, rows: Histogram, compute: Histogram) -> None:
        self._wait = wait
        self._rows = rows
        self._compute = compute

    def waited(self, seconds: float) -> None:
        """See ``app.inference.batcher.Observer``."""
        self._wait.observe(seconds)

    def computed(self, rows: int, seconds: float) -> None:
        """See ``app.inference.batcher.Observer``."""
        self._rows.observe(rows)
        self._compute.observe(seconds)


class Metrics:
    """All metrics of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "inference_requests", "Inference requests answered.", ["transport", "status"],
            registry=self.registry,
        )  # fmt: skip
        self._duration = Histogram(
            "inference_request_duration_seconds", "From the first byte read to the answer sent.",
            ["transport"], buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._wait = Histogram(
            "inference_queue_wait_seconds", "Time in the queue before the run began.",
            ["model"], buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._rows = Histogram(
            "inference_batch_rows", "Rows in one run of the model.",
            ["model"], buckets=ROWS, registry=self.registry,
        )  # fmt: skip
        self._compute = Histogram(
            "inference_compute_seconds", "Time of one run of the model.",
            ["model"], buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._ready = Gauge(
            "inference_ready", "1 when the service is ready, else 0.", registry=self.registry
        )
        self._build = Info("inference_build", "What is running.", registry=self.registry)
        self._model = Gauge(
            "inference_model_info", "1 for each model that is served.",
            ["model", "version", "execution_provider", "digest"], registry=self.registry,
        )  # fmt: skip

    def request(self, transport: str, status: int, seconds: float) -> None:
        """Count one answered inference request."""
        self._requests.labels(transport, str(status)).inc()
        self._duration.labels(transport).observe(seconds)

    def observer(self, model: str) -> ModelObserver:
        """The observer for one model's batcher."""
        return ModelObserver(
            self._wait.labels(model), self._rows.labels(model), self._compute.labels(model)
        )

    def build(self, facts: dict[str, str]) -> None:
        """Publish the release."""
        self._build.info(facts)

    def model(self, name: str, version: str, provider: str, digest: str) -> None:
        """Publish a model that is served."""
        self._model.labels(name, version, provider, digest).set(1)

    def ready(self, ready: bool) -> None:
        """Publish readiness."""
        self._ready.set(1 if ready else 0)
