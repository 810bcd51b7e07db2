"""From named arrays to the one table that a scikit-learn estimator is called with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from app.errors import PackageError
from app.package.manifest import InputTensor, TableForm
from app.tensors.datatypes import Array

TableMaker = Callable[[Mapping[str, Array]], Any]


def table_maker(
    inputs: tuple[InputTensor, ...], form: TableForm, trained_with: str = ""
) -> TableMaker:
    """The function that makes the table.

    One input is the table itself. Several are its columns, in their order, each of shape [-1, 1].
    Where the estimator selects columns by name, the table is a pandas DataFrame.

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

    def columns(arrays: Mapping[str, Array]) -> Array:
        # Objects, because numbers and text stand side by side.
        parts = [_present(arrays[name], missing.get(name)).astype(np.object_) for name in names]
        return np.hstack(parts)

    return columns


def _frame_maker(
    inputs: tuple[InputTensor, ...], missing: Mapping[str, str], trained_with: str
) -> TableMaker:
    try:
        import pandas as pd  # not in every serving set: only models trained on DataFrames need it
    except ImportError:
        raise PackageError(
            "the model selects columns by name and needs pandas, which is not installed here; add "
            f"pandas{'==' + trained_with if trained_with else ''} to requirements/serve-cpu.in and "
            "run `make lock`"
        ) from None
    first = inputs[0]
    if len(inputs) == 1:
        columns = list(first.features)
        return lambda arrays: pd.DataFrame(arrays[first.name], columns=columns)
    names = [each.name for each in inputs]

    def frame(arrays: Mapping[str, Array]) -> Any:
        return pd.DataFrame(
            {name: _present(arrays[name], missing.get(name)).reshape(-1) for name in names}
        )

    return frame


def _present(array: Array, missing: str | None) -> Array:
    """Text with the mark of a missing value replaced by NaN, as pandas and imputers know it."""
    if missing is None:
        return array
    return np.where(array == missing, np.nan, array)
