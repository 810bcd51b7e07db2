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
DATE = "date"


def record(model: Any, inputs: Any, path: str | Path = "samples.json", rows: int = ROWS) -> Path:
    """Write the first rows of a table with their types, and what the model answers to them.

    Args:
        model: A fitted model with the methods of scikit-learn's, a booster, or a Keras model.
        inputs: What it is called with: a DataFrame, or an array of shape [rows] or [rows, columns].
        path: The JSON file to write; `make model SAMPLES=` reads it.
        rows: At most so many are kept.

    Returns:
        The path.

    Raises:
        ValueError: A column holds something else than numbers, booleans, text and dates.
    """
    table = inputs[:rows]
    content: dict[str, Any]
    if hasattr(table, "columns"):
        columns = table_columns(table)
        data = [list(row) for row in zip(*columns.values(), strict=True)]
        content = {"columns": list(columns), "data": data}
        dates = [str(name) for name in table.columns if is_date(table[name])]
        if dates:
            content["types"] = dict.fromkeys(dates, DATE)
    else:
        content = {"data": _values(_dense(table), "the array")}
    content["outputs"] = {
        name: _values(_dense(answer), f"the output {name}")
        for name, answer in _answers(model, table).items()
    }
    path = Path(path)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return path


def _answers(model: Any, table: Any) -> dict[str, Any]:
    if hasattr(model, "layers"):  # Keras
        answer = model.predict(table, verbose=0)
        parts = list(answer.values()) if isinstance(answer, dict) else answer
        parts = parts if isinstance(parts, (list, tuple)) else [parts]
        names = getattr(model, "output_names", [model.layers[-1].name])
        return dict(zip(names, parts, strict=True))
    return {name: getattr(model, method)(table) for name, method in methods_of(model).items()}


def methods_of(model: Any) -> Mapping[str, str]:
    """The outputs of an estimator: name to the method that computes it."""
    if not hasattr(model, "predict"):
        return {"transformed": "transform"}
    if hasattr(model, "inplace_predict"):  # XGBoost's Booster, whose predict() takes its own matrix
        return {PREDICTION: "inplace_predict"}
    classes = getattr(model, "classes_", ())  # CatBoost's regressors have an empty list
    if isinstance(classes, list) and classes:  # several targets: other methods give lists of arrays
        return {LABEL: "predict"}
    if hasattr(model, "predict_proba"):
        return {LABEL: "predict", "probabilities": "predict_proba"}
    if hasattr(model, "decision_function"):
        return {LABEL: "predict", "scores": "decision_function"}
    return {LABEL if len(classes) else PREDICTION: "predict"}


def table_columns(frame: Any) -> dict[str, list[Any]]:
    """The columns of a DataFrame as JSON holds them: null where a value is missing, dates as text.

    Raises:
        ValueError: A column holds something else than numbers, booleans, text and dates.
    """
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise ValueError(f"two columns have the same name: {names}; names must differ")
    return {str(name): _values(frame[name], f"column {name!r}") for name in frame.columns}


def is_date(column: Any) -> bool:
    """Whether a column holds points in time; those of a time zone are objects to numpy."""
    return bool(np.asarray(column[:0]).dtype.kind == "M")


def _values(given: Any, what: str) -> list[Any]:
    array = np.asarray(given)
    if array.dtype.kind == "M":
        texts = np.datetime_as_string(array, unit="auto").tolist()
        return [None if text == "NaT" else text for text in texts]
    if array.dtype.kind in "mcV":
        raise ValueError(
            f"{what} holds {given.dtype}, and samples hold numbers, booleans, text and dates: turn "
            "it into one of these before the model"
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
            f"{what} holds {value!r} ({type(value).__name__}), and samples hold numbers, booleans, "
            "text and dates without a time zone: turn it into one of these before the model"
        )
    return value


def _dense(answer: Any) -> Any:
    return np.asarray(answer.toarray() if hasattr(answer, "toarray") else answer)
