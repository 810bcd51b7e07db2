"""Metrics of captured requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client.metrics_core import Metric

from engine.serving.metrics.families import counter
from engine.serving.metrics.shared_table import Count, SharedTable


class CaptureMetrics:
    """Counts the requests that were captured, and those that could not be."""

    COLUMNS: Final = 2

    def __init__(self, shared_table: SharedTable) -> None:
        self.taken = Count(shared_table)
        self.left_out = Count(shared_table)

    def collect(self) -> Iterator[Metric]:
        """The family, once a request was chosen."""
        series = [(("taken",), self.taken.total()), (("left_out",), self.left_out.total())]
        if any(number for _, number in series):
            yield counter(
                "inference_captured",
                "Requests of the captured sample: taken, or left out as too large or no JSON.",
                ("outcome",),
                series,
            )
