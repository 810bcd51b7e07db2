"""Bounds of buckets, and Prometheus' families made of the shared table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from engine.serving.metrics.shared_table import Distribution

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# Numbers, each with the values of its labels.
Series = Iterable[tuple[tuple[str, ...], float]]
ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def size_of(bounds: tuple[float, ...]) -> int:
    """Columns of a distribution with these bounds: its buckets, one for the rest, and the sum."""
    return len(bounds) + 2


def histogram(
    name: str,
    text: str,
    labels: tuple[str, ...],
    series: Iterable[tuple[tuple[str, ...], Distribution]],
) -> Metric:
    """A histogram of distributions, each with the values of its labels."""
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, distribution in series:
        bounds = [*(str(float(bound)) for bound in distribution.bounds), "+Inf"]
        buckets = list(zip(bounds, distribution.cumulative(), strict=True))
        family.add_metric(values, buckets, distribution.sum())
    return family


def counter(name: str, text: str, labels: tuple[str, ...], series: Series) -> Metric:
    """A counter; its name is given without the ``_total`` that it is published with."""
    return _with(CounterMetricFamily(name, text, labels=labels), series)


def gauge(name: str, text: str, labels: tuple[str, ...], series: Series) -> Metric:
    """A gauge; without series only its name and text are shown."""
    return _with(GaugeMetricFamily(name, text, labels=labels), series)


def _with(family: CounterMetricFamily | GaugeMetricFamily, series: Series) -> Metric:
    for values, number in series:
        family.add_metric(values, number)
    return family
