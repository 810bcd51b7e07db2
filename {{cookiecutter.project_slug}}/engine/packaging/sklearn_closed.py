"""Columns of which an estimator takes no other values than those that it was fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.packaging.sklearn_calls import Way, ask
from engine.packaging.sklearn_columns import Known
from engine.serving.tensors.datatypes import Array

# More make a manifest slow to read.
MOST_KNOWN = 10_000
STRANGE = "no value of training"


def only_known(
    estimator: Any, way: Way, columns: Mapping[str, Array], known: Mapping[str, Known]
) -> dict[str, list[Any]]:
    """The values of each such column.

    Nothing is concluded from the kind of the encoder: the estimator answers all values that it
    knows, and fails at another one.

    Args:
        estimator: a fitted one.
        way: how it is called.
        columns: samples that it answers.
        known: what it records of its columns.
    """
    found: dict[str, list[Any]] = {}
    for name in way.names:
        values = _as_held(known[name].all_values, columns[name]) if name in known else []
        other = _another(values, columns[name]) if 0 < len(values) <= MOST_KNOWN else None
        if other is None or _answers(estimator, way, columns, name, [other]):
            continue
        if _answers(estimator, way, columns, name, values):
            found[name] = values
    return found


def _as_held(values: list[Any], column: Array) -> list[Any]:
    """The values that the column's type can hold."""
    if column.dtype.kind == "O":
        return values
    return [each for each in values if _holds(column.dtype, each)]


def _holds(dtype: np.dtype[Any], value: Any) -> bool:
    try:
        return bool(dtype.type(value) == value)
    except OverflowError:
        return False


def _another(values: list[Any], column: Array) -> Any:
    """A value of the column's type that is none of these; None where there is none."""
    if column.dtype.kind == "O":
        return STRANGE if STRANGE not in values else None
    if column.dtype.kind == "b":
        return None if len(set(values)) > 1 else not values[0]
    for each in (max(values) + 1, min(values) - 1):
        if _holds(column.dtype, each):
            return each
    return None


def _answers(
    estimator: Any, way: Way, columns: Mapping[str, Array], name: str, values: Sequence[Any]
) -> bool:
    """Whether it answers rows of the samples with these values in one column."""
    rows = {each: np.resize(array, len(values)) for each, array in columns.items()}
    rows[name] = np.array(values, columns[name].dtype)
    try:
        ask(estimator, way.original(rows))
    except Exception:  # noqa: BLE001 - estimators raise anything
        return False
    return True
