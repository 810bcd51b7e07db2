"""From named arrays to the one table that a scikit-learn estimator is called with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from engine.serving.errors import InvalidInput, PackageError
from engine.serving.package.manifest import InputTensor, TableForm
from engine.serving.tensors.datatypes import Array

TableMaker = Callable[[Mapping[str, Array]], Any]


def table_maker(
    inputs: tuple[InputTensor, ...], form: TableForm, trained_with: str = ""
) -> TableMaker:
    """The function that makes the table.

    One input is the table itself. Several are its columns, in their order, each of shape [-1, 1].
    Where the estimator was fitted on a pandas DataFrame, the table is one.

    Args:
        inputs: of the manifest.
        form: "array" or "dataframe".
        trained_with: version of pandas that trained the model, for the message.

    Raises:
        PackageError: it has to be a DataFrame, and pandas is not installed.
    """
    missing = {each.name: each.missing for each in inputs if each.missing is not None}
    names = [each.name for each in inputs]
    if form == "dataframe":
        return _frame_maker(inputs, missing, trained_with)
    if len(names) == 1:
        return lambda arrays: _present(arrays[names[0]], missing.get(names[0]))

    has_text = any(each.datatype == "BYTES" for each in inputs)

    def columns(arrays: Mapping[str, Array]) -> Array:
        parts = [_present(arrays[name], missing.get(name)) for name in names]
        # Objects, because numbers and text stand side by side.
        return np.hstack([part.astype(np.object_) for part in parts] if has_text else parts)

    return columns


def _frame_maker(
    inputs: tuple[InputTensor, ...], missing: Mapping[str, str], trained_with: str
) -> TableMaker:
    try:
        import pandas as pd  # not in every serving set: only models trained on DataFrames need it
    except ImportError:
        raise PackageError(
            "the model was fitted on a DataFrame and needs pandas, which is not installed; add "
            f"pandas{'==' + trained_with if trained_with else ''} to requirements/serve-cpu.in and "
            "run `make lock`"
        ) from None
    first = inputs[0]
    if first.features:
        titles = list(first.features)
        return lambda arrays: pd.DataFrame(arrays[first.name], columns=titles)
    names = [each.name for each in inputs]
    # The library behind the model finds its own categories by their values.
    categories = dict.fromkeys((each.name for each in inputs if each.categorical), "category")

    dates = [each.name for each in inputs if each.date]

    def frame(arrays: Mapping[str, Array]) -> Any:
        table = pd.DataFrame(
            {name: _present(arrays[name], missing.get(name)).reshape(-1) for name in names}
        )
        for name in dates:
            table[name] = _times(pd, table[name], name)
        return table.astype(categories) if categories else table

    return frame


def _times(pd: Any, texts: Any, name: str) -> Any:
    """A column of points in time.

    Raises:
        InvalidInput: a text is no date, or has a time zone, which none of training had.
    """
    try:
        times = pd.to_datetime(texts, format="ISO8601")
    except (ValueError, TypeError):
        times = None
    # An empty text, and some words, are a missing value to pandas.
    if times is None or times.dt.tz is not None or (times.isna() & texts.notna()).any():
        raise InvalidInput(
            f"'{name}' holds a text that is no date; write dates as 2026-11-30 or "
            "2026-11-30T10:15:00, without a time zone",
            field=name,
        )
    return times


def _present(array: Array, missing: str | None) -> Array:
    """Text with the mark of a missing value replaced by NaN, as pandas and imputers know it."""
    if missing is None:
        return array
    return np.where(array == missing, np.nan, array)
