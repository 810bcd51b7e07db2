"""Metrics of drift: how far what is asked and answered is from the model's training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.metrics_core import Metric

from engine.serving.metrics.families import gauge
from engine.serving.reference.index import Shift
from engine.serving.reference.recorder import WINDOWS, Recorder

LABELS = ("model", "side", "column", "window")
Labels = tuple[str, ...]


def collect(recorders: Iterable[tuple[str, Recorder]]) -> Iterator[Metric]:
    """The families of all models that have a reference."""
    shifts: list[tuple[Labels, Shift]] = [
        ((model, column.side, column.name, window), shift)
        for model, recorder in recorders
        for window in WINDOWS
        for column, shift in zip(recorder.columns, recorder.shifts(window), strict=True)
    ]
    if not shifts:
        return
    yield _family(
        "inference_drift_index",
        "Population stability index of a column against the model's training.",
        ((labels, each.index) for labels, each in shifts),
    )
    yield _family(
        "inference_drift_ratio",
        "The index as a share of the one from which on it is neither small nor chance.",
        ((labels, each.index / each.limit) for labels, each in shifts),
    )
    yield _family(
        "inference_drift_missing_ratio",
        "Share of rows without a value.",
        ((labels, each.missing) for labels, each in shifts),
    )
    yield _family(
        "inference_drift_unseen_ratio",
        "Share of values that training has not seen: other categories, numbers outside its range.",
        ((labels, each.unseen) for labels, each in shifts),
    )
    yield _family(
        "inference_drift_rows",
        "Rows that were counted, a sample of all.",
        ((labels, float(each.rows)) for labels, each in shifts),
    )


def _family(name: str, text: str, series: Iterable[tuple[Labels, float]]) -> Metric:
    return gauge(name, text, LABELS, series)
