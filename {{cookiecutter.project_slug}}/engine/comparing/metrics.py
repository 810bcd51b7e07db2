"""Metrics of two models on the same rows, and how far chance may move their difference.

A metric is a function of weights, one for each row: all 1 for its value, and for its uncertainty
how often a row was drawn in a resample. Both models are weighted alike, so that what is hard for
both does not count as a difference between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

ClassMetric = Literal["accuracy", "f1_macro", "log_loss", "roc_auc"]
ValueMetric = Literal["rmse", "mae", "r2"]
Metric = Literal[ClassMetric, ValueMetric]
CLASS_METRICS: tuple[str, ...] = get_args(ClassMetric)
VALUE_METRICS: tuple[str, ...] = get_args(ValueMetric)
LOWER_IS_BETTER = frozenset({"log_loss", "rmse", "mae"})

Verdict = Literal["better", "equal", "within the margin", "worse", "undecided"]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Statistic = Callable[[Floats], float]

RESAMPLES = 2000
CONFIDENCE = 0.95
LEAST_ROWS = 50
LEAST_DIFFERENT = 6
"""With fewer rows on which two models differ, chance alone favours one on all of them in more than
1 of 20 cases."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A metric of the candidate and of the other model, and the number of rows they differ on."""

    candidate: Statistic
    other: Statistic
    different: int


@dataclass(frozen=True, slots=True)
class Compared:
    """A metric of both models. ``low`` and ``high`` bound candidate minus other, with 95 %
    confidence.
    """

    metric: str
    candidate: float
    other: float
    low: float
    high: float
    verdict: Verdict

    @property
    def difference(self) -> float:
        """Candidate minus other."""
        return self.candidate - self.other


def mean_pair(candidate: npt.NDArray[Any], other: npt.NDArray[Any]) -> Pair:
    """Means of a figure of each row: ``[rows]``."""
    return Pair(_mean(candidate), _mean(other), _different(candidate, other))


def rmse_pair(truth: Floats, candidate: Floats, other: Floats) -> Pair:
    """Roots of the mean squared errors."""
    pair = mean_pair(np.square(candidate - truth), np.square(other - truth))
    return Pair(
        lambda weights: math.sqrt(pair.candidate(weights)),
        lambda weights: math.sqrt(pair.other(weights)),
        pair.different,
    )


def r2_pair(truth: Floats, candidate: Floats, other: Floats) -> Pair:
    """Shares of the variance that the predictions explain."""
    return Pair(_r2(truth, candidate), _r2(truth, other), _different(candidate, other))


def f1_pair(truth: Integers, candidate: Integers, other: Integers) -> Pair:
    """Means over all classes of F1. Arguments are numbers of classes: ``[rows]``."""
    different = _different(candidate, other)
    return Pair(_f1_macro(truth, candidate), _f1_macro(truth, other), different)


def auc_pair(positive: npt.NDArray[np.bool_], candidate: Floats, other: Floats) -> Pair:
    """Areas under the ROC curve of two scores."""
    different = _different(candidate, other)
    return Pair(_roc_auc(positive, candidate), _roc_auc(positive, other), different)


def compare(
    pairs: Mapping[str, Pair], rows: int, margins: Mapping[str, float], seed: int = 0
) -> list[Compared]:
    """All metrics of both models, each with the interval of a paired bootstrap and a verdict.

    Args:
        pairs: by name of the metric.
        rows: how many.
        margins: by name of the metric; the loss that is accepted. 0 for others.
        seed: the same seed gives the same interval.
    """
    ones = np.ones(rows)
    points = {name: (each.candidate(ones), each.other(ones)) for name, each in pairs.items()}
    random, drawn = np.random.default_rng(seed), []
    for _ in range(RESAMPLES):
        weights = np.bincount(random.integers(rows, size=rows), minlength=rows).astype(np.float64)
        drawn.append([each.candidate(weights) - each.other(weights) for each in pairs.values()])
    tail = (1 - CONFIDENCE) / 2
    # A resample may lack a class, without which an area under the curve is not defined.
    bounds = np.nanquantile(np.array(drawn), [tail, 1 - tail], axis=0).T.tolist()
    found = []
    for (name, pair), (low, high) in zip(pairs.items(), bounds, strict=True):
        candidate, other = points[name]
        verdict: Verdict = "undecided"
        if rows >= LEAST_ROWS and math.isfinite(high - low):
            sign = -1 if name in LOWER_IS_BETTER else 1
            worst, best = sorted((sign * low, sign * high))
            gain = sign * (candidate - other)
            verdict = judge(gain, worst, best, margins.get(name, 0.0), pair.different)
        found.append(Compared(name, candidate, other, low, high, verdict))
    return found


def judge(gain: float, low: float, high: float, margin: float, different: int) -> Verdict:
    """The verdict on a gain, which is positive where the candidate is better.

    Worse is a candidate that loses more than the margin, where chance does not explain that it
    loses: the whole interval lies below 0.

    Args:
        gain: the estimate.
        low: lower end of its interval.
        high: upper end.
        margin: 0 or more, in units of the metric.
        different: rows on which the models differ.
    """
    if different < LEAST_DIFFERENT or low <= 0 <= high:
        return "equal"
    if low > 0:
        return "better"
    return "worse" if gain < -margin else "within the margin"


def _different(candidate: npt.NDArray[Any], other: npt.NDArray[Any]) -> int:
    return int(np.count_nonzero(candidate != other))


def _mean(figures: npt.NDArray[Any]) -> Statistic:
    values = figures.astype(np.float64)
    return lambda weights: float(weights @ values / weights.sum())


def _r2(truth: Floats, predicted: Floats) -> Statistic:
    # Around the mean, or squares of large numbers would swallow the variance.
    centred = truth - truth.mean()
    squares, errors = np.square(centred), np.square(predicted - truth)

    def statistic(weights: Floats) -> float:
        variance = float(weights @ squares - (weights @ centred) ** 2 / weights.sum())
        return 1 - float(weights @ errors) / variance if variance > 0 else math.nan

    return statistic


def _f1_macro(truth: Integers, predicted: Integers) -> Statistic:
    classes = int(max(truth.max(), predicted.max())) + 1
    # Rows with the same truth and prediction count as one.
    cells, cell = np.unique(truth * classes + predicted, return_inverse=True)
    true, told = np.divmod(cells, classes)
    right = true == told

    def statistic(weights: Floats) -> float:
        counts = np.bincount(cell, weights, len(cells))
        hits = np.bincount(true[right], counts[right], classes)
        both = np.bincount(true, counts, classes) + np.bincount(told, counts, classes)
        there = both > 0
        return float(np.mean(2 * hits[there] / both[there]))

    return statistic


def _roc_auc(positive: npt.NDArray[np.bool_], scores: Floats) -> Statistic:
    # Equal scores share a place in the order, and half of their pairs count.
    values, place = np.unique(scores, return_inverse=True)
    cell = 2 * place + positive

    def statistic(weights: Floats) -> float:
        counts = np.bincount(cell, weights, 2 * len(values))
        below, above = counts[::2], counts[1::2]
        pairs = float(above.sum() * below.sum())
        won = above @ (np.cumsum(below) - below / 2)
        return float(won) / pairs if pairs else math.nan

    return statistic
