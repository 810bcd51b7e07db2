"""What two models answered, beside the right answers, in a few numbers for each row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.comparing.metrics import (
    CLASS_METRICS,
    VALUE_METRICS,
    Floats,
    Pair,
    auc_pair,
    f1_pair,
    mean_pair,
    r2_pair,
    rmse_pair,
)
from engine.scoring.errors import ScoringError
from engine.serving.package.manifest import Manifest, OutputTensor
from engine.serving.tensors.datatypes import Array
from engine.serving.transports.tutorial import counts_classes

TABLE = 2
MOST_CLASSES = 1000
# Probabilities below are counted as this one; it is the smallest step of FP32 beside 1.
LEAST_PROBABILITY = float(np.finfo(np.float32).eps)

Outputs = Mapping[str, Array]


class Answers(Protocol):
    """The rows of a file as far as they are read."""

    def add(self, truth: Sequence[Any], candidate: Outputs, other: Outputs) -> None:
        """Add rows.

        Args:
            truth: their right answers, as the file has them.
            candidate: outputs of the candidate, with a row for each.
            other: outputs of the other model.

        Raises:
            ScoringError: a right answer is none for this task.
        """

    def pairs(self) -> dict[str, Pair]:
        """The metrics that can be computed, by name.

        Raises:
            ScoringError: the right answers are none that the models could give.
        """


def answers_for(metric: str | None, candidate: Manifest, other: Manifest) -> Answers:
    """What takes the answers for a metric; without one, for the task of the candidate.

    Raises:
        ScoringError: a model has no output that could be compared.
    """
    classes = metric in CLASS_METRICS if metric else _classifies(candidate)
    for manifest in (candidate, other):
        first = manifest.outputs[0]
        one = first.shape in ((-1,), (-1, 1)) or (classes and _columns(manifest, first))
        if not one or _classifies(manifest) != classes:
            task, fit = ("classes", CLASS_METRICS) if classes else ("numbers", VALUE_METRICS)
            raise ScoringError(
                f"output {first.name!r} of model {manifest.name!r} {manifest.version} is "
                f"{first.datatype}{list(first.shape)}, and {', '.join(fit)} compare {task}, one "
                "for each row; choose another metric, or a model with such an output first"
            )
    return _Classes(candidate, other) if classes else _Values(candidate, other)


class _Values:
    """Regression: a number for each row."""

    def __init__(self, *manifests: Manifest) -> None:
        self._names = [manifest.outputs[0].name for manifest in manifests]
        self._rows: list[Floats] = []

    def add(self, truth: Sequence[Any], candidate: Outputs, other: Outputs) -> None:
        """See ``Answers``."""
        told = [
            outputs[name].reshape(-1).astype(np.float64)
            for name, outputs in zip(self._names, (candidate, other), strict=True)
        ]
        self._rows.append(np.stack([np.array([_number(each) for each in truth]), *told]))

    def pairs(self) -> dict[str, Pair]:
        """See ``Answers``."""
        truth, candidate, other = np.concatenate(self._rows, axis=1)
        for name, values in zip(("candidate", "other model"), (candidate, other), strict=True):
            if not np.isfinite(values).all():
                raise ScoringError(
                    f"the {name} answers {values[~np.isfinite(values)][0]} for some rows, which "
                    "is no number; remove these rows, or correct the model"
                )
        return {
            "rmse": rmse_pair(truth, candidate, other),
            "mae": mean_pair(np.abs(candidate - truth), np.abs(other - truth)),
            "r2": r2_pair(truth, candidate, other),
        }


class _Classes:
    """Classification: the name of a class for each row, with probabilities where both have them."""

    def __init__(self, *manifests: Manifest) -> None:
        self._sides = [_Side(manifest) for manifest in manifests]
        self._numbers: dict[str, int] = {}
        self._truth: list[npt.NDArray[np.int64]] = []
        self._told: list[list[npt.NDArray[np.int64]]] = [[], []]
        self._chances: list[list[Floats]] = [[], []]
        self._scores: list[list[Floats]] = [[], []]

    def add(self, truth: Sequence[Any], candidate: Outputs, other: Outputs) -> None:
        """See ``Answers``."""
        names = [self._sides[0].name(each) for each in truth]
        self._truth.append(self._numbered(names))
        for at, outputs in enumerate((candidate, other)):
            side = self._sides[at]
            self._told[at].append(self._numbered(side.classes(outputs)))
            chances, scores = side.chances(outputs, names)
            self._chances[at].append(chances)
            self._scores[at].append(scores)

    def pairs(self) -> dict[str, Pair]:
        """See ``Answers``."""
        truth = np.concatenate(self._truth)
        candidate, other = (np.concatenate(each) for each in self._told)
        names = list(self._numbers)
        there = {names[each] for each in np.unique(truth)}
        for side in self._sides:
            if side.known and not there & set(side.known):
                raise ScoringError(
                    f"the right answers are {_some(sorted(there))}, and the model knows "
                    f"{_some(side.known)}: name the column of right answers with LABEL"
                )
        found = {
            "accuracy": mean_pair(candidate == truth, other == truth),
            "f1_macro": f1_pair(truth, candidate, other),
        }
        chances = [np.concatenate(each) for each in self._chances]
        if not any(np.isnan(each).any() for each in chances):
            first, second = (-np.log(np.clip(each, LEAST_PROBABILITY, 1)) for each in chances)
            found["log_loss"] = mean_pair(first, second)
            classes = [side.columns for side in self._sides]
            if len(classes[0]) == TABLE and classes[0] == classes[1] and len(there) == TABLE:
                positive = truth == self._numbers[classes[0][1]]
                one, two = (np.concatenate(each) for each in self._scores)
                found["roc_auc"] = auc_pair(positive, one, two)
        return found

    def _numbered(self, names: Sequence[str]) -> npt.NDArray[np.int64]:
        numbers = self._numbers
        found = np.array([numbers.setdefault(each, len(numbers)) for each in names], np.int64)
        if len(numbers) > MOST_CLASSES:
            raise ScoringError(
                f"there are more than {MOST_CLASSES} different right answers, {_some(numbers)}: "
                "name the column of right answers with LABEL, or compare numbers with METRIC=rmse"
            )
        return found


class _Side:
    """How one model says classes and probabilities.

    ``columns`` are the classes of the columns of probabilities; none where it has no such output.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._first = manifest.outputs[0]
        self._table, columns = _probabilities(manifest)
        self.columns = [_class_name(each) for each in columns]
        self._counted = (
            [_class_name(each) for each in self._first.labels] if _counts(self._first) else []
        )
        self.known = self._counted or self.columns

    def name(self, value: Any) -> str:
        """The class that a file means: its name, or its number where the model counts classes."""
        name = _class_name(value)
        if name not in self._counted and name.isdigit() and int(name) < len(self._counted):
            return self._counted[int(name)]
        return name

    def classes(self, outputs: Outputs) -> list[str]:
        """The predicted classes."""
        if self._table is self._first:
            return [self.columns[at] for at in outputs[self._first.name].argmax(axis=1)]
        values = outputs[self._first.name].reshape(-1).tolist()
        if self._counted:
            return [dict(enumerate(self._counted)).get(each, str(each)) for each in values]
        return [_class_name(each) for each in values]

    def chances(self, outputs: Outputs, names: Sequence[str]) -> tuple[Floats, Floats]:
        """The probability of the right class and of the last one: ``[rows]`` each. NaN where the
        model has none.
        """
        nothing = np.full(len(names), math.nan)
        if self._table is None:
            return nothing, nothing
        table = outputs[self._table.name].astype(np.float64)
        if table.min() < 0 or not np.allclose(table.sum(axis=1), 1, atol=1e-3):
            return nothing, nothing
        places = {name: at for at, name in enumerate(self.columns)}
        known = np.array([places.get(name, -1) for name in names])
        right = np.where(known < 0, math.nan, table[np.arange(len(names)), known])
        return right, table[:, -1]


def _classifies(manifest: Manifest) -> bool:
    first = manifest.outputs[0]
    return not first.datatype.startswith("FP") or _probabilities(manifest)[0] is not None


def _probabilities(manifest: Manifest) -> tuple[OutputTensor | None, Sequence[str]]:
    """The output with a column for each class, and the names of these."""
    for each in manifest.outputs:
        columns = _columns(manifest, each)
        if columns and each.method in (None, "predict_proba"):
            return each, columns
    return None, ()


def _columns(manifest: Manifest, output: OutputTensor) -> Sequence[str]:
    """The classes of the columns of an output; none where it has no such columns."""
    first = manifest.outputs[0]
    if not output.datatype.startswith("FP") or len(output.shape) != TABLE or output.shape[1] == 1:
        return ()
    if output.labels:
        return output.labels
    # The names of the classes that the label counts, where it counts the columns.
    return first.labels if _counts(first) and len(first.labels) == output.shape[1] else ()


def _counts(output: OutputTensor) -> bool:
    return bool(output.labels) and counts_classes(output)


def _class_name(value: Any) -> str:
    """One spelling of a class, whatever the file or the model writes: 1, 1.0, "1"; true, True."""
    text = str(value).strip()
    if text in ("True", "False"):
        return text.lower()
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else repr(number)


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ScoringError(
            f"the right answer {value!r} is no number, which rmse, mae and r2 need; correct the "
            "row, or name the column of right answers with LABEL"
        )
    return number


def _some(names: Any) -> str:
    shown = [repr(each) for each in list(names)[:5]]
    return ", ".join([*shown, "…"] if len(names) > len(shown) else shown)
