"""Samples with types and answers, written where the model is: in the notebook.

    from engine.packaging.record import record

    record(model, X_test, "samples.json")

The file needs numpy and nothing else of this repository, so that it may be copied beside a notebook
that has another environment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROWS = 64
PREDICTION = "prediction"
LABEL = "label"


def record(model: Any, inputs: Any, path: str | Path = "samples.json", rows: int = ROWS) -> Path:
    """Write the first rows of a table with their types, and what the model answers to them.

    Args:
        model: A fitted estimator with the methods of scikit-learn's.
        inputs: What it is called with: a DataFrame, or an array of shape [rows] or [rows, columns].
        path: The JSON file to write; `make model SAMPLES=` reads it.
        rows: At most so many are kept.

    Returns:
        The path.

    Raises:
        ValueError: A column holds something else than numbers, booleans and text.
    """
    table = inputs[:rows]
    content: dict[str, Any]
    if hasattr(table, "columns"):
        columns = table_columns(table)
        data = [list(row) for row in zip(*columns.values(), strict=True)]
        content = {"columns": list(columns), "data": data}
    else:
        content = {"data": _values(np.asarray(table), "the array")}
    content["outputs"] = {
        name: _values(_dense(getattr(model, method)(table)), f"what {method}() gives")
        for name, method in methods_of(model).items()
    }
    path = Path(path)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return path


def methods_of(model: Any) -> Mapping[str, str]:
    """The outputs of an estimator: name to the method that computes it."""
    if not hasattr(model, "predict"):
        return {"transformed": "transform"}
    classes = getattr(model, "classes_", ())  # CatBoost's regressors have an empty list
    if isinstance(classes, list) and classes:  # several targets at once: a list of arrays for each method
        return {LABEL: "predict"}
    if hasattr(model, "predict_proba"):
        return {LABEL: "predict", "probabilities": "predict_proba"}
    if hasattr(model, "decision_function"):
        return {LABEL: "predict", "scores": "decision_function"}
    return {LABEL if len(classes) else PREDICTION: "predict"}


def table_columns(frame: Any) -> dict[str, list[Any]]:
    """The columns of a DataFrame as JSON holds them: null where a value is missing.

    Raises:
        ValueError: A column holds something else than numbers, booleans and text.
    """
    return {str(name): _values(frame[name], f"column {name!r}") for name in frame.columns}


def _values(given: Any, what: str) -> list[Any]:
    kind = np.asarray(given).dtype.kind
    if kind in "mMcV":
        raise ValueError(
            f"{what} holds {given.dtype}, and samples hold numbers, booleans and text: turn it into "
            "one of these before the model"
        )
    values: list[Any] = given.tolist()
    return [_value(each, what) for each in values]


def _value(value: Any, what: str) -> Any:
    if isinstance(value, list):
        return [_value(each, what) for each in value]
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return None
    if not isinstance(value, (bool, int, float, str)):
        raise ValueError(
            f"{what} holds {value!r} ({type(value).__name__}), and samples hold numbers, booleans "
            "and text: turn it into one of these before the model"
        )
    return value


def _dense(answer: Any) -> Any:
    return np.asarray(answer.toarray() if hasattr(answer, "toarray") else answer)
