"""Metrics of feedback: how often the class that was answered was the right one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.metrics_core import Metric

from engine.serving.metrics.families import gauge
from engine.serving.reference.feedback import Accuracy, Feedback
from engine.serving.reference.recorder import WINDOWS

LABELS = ("model", "label", "window")


def collect(feedbacks: Iterable[tuple[str, Feedback]]) -> Iterator[Metric]:
    """The families of all models whose right classes somebody has said."""
    found: list[tuple[tuple[str, ...], Accuracy]] = []
    wrong: list[tuple[tuple[str, ...], float]] = []
    for model, feedback in feedbacks:
        for window in WINDOWS:
            if own := feedback.accuracy(window):
                found += [((model, each.label, window), each) for each in own]
                wrong.append(((model, window), feedback.wrong_ratio(own)))
    if not found:
        return
    yield gauge(
        "inference_feedback_rows",
        "Rows whose right class is this one, by feedback.",
        LABELS,
        ((labels, each.rows) for labels, each in found),
    )
    yield gauge(
        "inference_feedback_accuracy_ratio",
        "Share of these that were answered with it.",
        LABELS,
        ((labels, each.right / each.rows) for labels, each in found),
    )
    yield gauge(
        "inference_feedback_wrong_ratio",
        "Share of wrong answers, divided by the one up to which FEEDBACK_ACCURACY is kept.",
        ("model", "window"),
        wrong,
    )
