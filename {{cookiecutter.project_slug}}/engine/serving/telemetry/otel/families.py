"""Prometheus' metric families as OpenTelemetry's data.

The numbers of all workers stand in shared memory already, histograms included. So they are read
when they are exported, and no request pays for a second set of instruments.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

UNITS = {"seconds": "s", "bytes": "By", "ratio": "1", "rows": "{row}"}
# Each label of these is a column of a model, and `inference_drift_ratio` tells of all of them.
NOT_SENT = (
    "inference_drift_index",
    "inference_drift_missing_ratio",
    "inference_drift_unseen_ratio",
    "inference_drift_rows",
)
Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Shares:
    """One labelled histogram: values in each bucket, their number and sum."""

    bounds: list[float]
    counts: list[float]
    sum: float = 0.0

    def minus(self, before: Shares | None) -> Shares:
        """What came since."""
        if before is None:
            return self
        counts = [now - then for now, then in zip(self.counts, before.counts, strict=True)]
        return Shares(self.bounds, counts, self.sum - before.sum)


class Reader:
    """Reads all metrics for one destination.

    Args:
        collect: the families, summed over the workers.
        resource: names the service.
        delta: give what came since the last reading, and leave out what did not change; else give
            totals since the start.
    """

    def __init__(
        self, collect: Callable[[], Iterable[Family]], resource: Resource, *, delta: bool
    ) -> None:
        self._collect = collect
        self._resource = resource
        self._delta = delta
        self._since = time.time_ns()
        self._sums: dict[tuple[str, Labels], float] = {}
        self._shares: dict[tuple[str, Labels], Shares] = {}

    def read(self) -> MetricsData:
        """All metrics as they are now."""
        now = time.time_ns()
        metrics = [
            metric
            for family in self._collect()
            if family.name not in NOT_SENT and (metric := self._metric(family, now)) is not None
        ]
        if self._delta:
            self._since = now
        scope = ScopeMetrics(
            InstrumentationScope("engine.serving.telemetry"), metrics, schema_url=""
        )
        return MetricsData([ResourceMetrics(self._resource, [scope], schema_url="")])

    def _metric(self, family: Family, now: int) -> Metric | None:
        name, unit = name_and_unit(family.name)
        kind = AggregationTemporality.DELTA if self._delta else AggregationTemporality.CUMULATIVE
        data: Sum | Gauge | Histogram
        if family.type == "counter":
            data = Sum(list(self._counts(family, now)), kind, is_monotonic=True)
        elif family.type == "histogram":
            data = Histogram(list(self._histograms(family, now)), kind)
        else:
            data = Gauge([_point(sample, now, now, sample.value) for sample in family.samples])
        if not data.data_points:
            return None
        return Metric(name, family.documentation, unit, data)

    def _counts(self, family: Family, now: int) -> Iterator[NumberDataPoint]:
        for sample in family.samples:
            if sample.name.endswith("_created"):
                continue
            value = sample.value
            if self._delta:
                key = (family.name, _labels(sample))
                value -= self._sums.get(key, 0.0)
                self._sums[key] = sample.value
                if not value:
                    continue
            yield _point(sample, self._since, now, value)

    def _histograms(self, family: Family, now: int) -> Iterator[HistogramDataPoint]:
        for labels, shares in _shares(family).items():
            key = (family.name, labels)
            came = shares.minus(self._shares.get(key)) if self._delta else shares
            self._shares[key] = shares
            count = round(sum(came.counts))
            if self._delta and not count:
                continue
            yield HistogramDataPoint(
                attributes=dict(labels),
                start_time_unix_nano=self._since,
                time_unix_nano=now,
                count=count,
                sum=came.sum,
                bucket_counts=[round(each) for each in came.counts],
                explicit_bounds=came.bounds,
                # Both are optional in the protocol, and nobody knows them here.
                min=None,  # type: ignore[arg-type]
                max=None,  # type: ignore[arg-type]
            )


def name_and_unit(family: str) -> tuple[str, str]:
    """OpenTelemetry's name and unit: the first word is the namespace, a unit stands beside it."""
    namespace, _, rest = family.partition("_")
    words = rest.split("_")
    unit = UNITS.get(words[-1], "")
    # Rows are what is counted, not only a unit.
    if unit and words[-1] != "rows" and len(words) > 1:
        words = words[:-1]
    return f"{namespace}.{'_'.join(words)}", unit or "1"


def _shares(family: Family) -> dict[Labels, Shares]:
    found: dict[Labels, Shares] = {}
    below: dict[Labels, float] = {}
    for sample in family.samples:
        labels = _labels(sample)
        shares = found.setdefault(labels, Shares([], []))
        if sample.name.endswith("_bucket"):
            bound = sample.labels["le"]
            # Prometheus counts all values up to each bound, OpenTelemetry those of each bucket.
            shares.counts.append(sample.value - below.get(labels, 0.0))
            below[labels] = sample.value
            if bound != "+Inf":
                shares.bounds.append(float(bound))
        elif sample.name.endswith("_sum"):
            shares.sum = sample.value
    return found


def _labels(sample: Sample) -> Labels:
    return tuple((name, value) for name, value in sample.labels.items() if name != "le")


def _point(sample: Sample, since: int, now: int, value: float) -> NumberDataPoint:
    return NumberDataPoint(dict(_labels(sample)), since, now, value)
