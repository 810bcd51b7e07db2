"""The table that an estimator was trained on, as the inputs of a package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.errors import PackageError
from app.package.manifest import InputTensor, TableForm
from app.runtimes.tables import table_maker
from app.tensors.datatypes import Array, datatype_of
from training.packaging.samples import Samples

INPUT = "features"
TEXTS = "texts"


@dataclass(frozen=True, slots=True)
class Table:
    """Inputs of the manifest, samples for them, and how the estimator wants them."""

    form: TableForm
    tensors: list[dict[str, Any]]
    arrays: dict[str, Array] = field(repr=False)

    def call(self, function: Any) -> Array:
        """Call an estimator's method on the samples, in float64 as it was trained."""
        inputs = tuple(InputTensor.model_validate(each) for each in self.tensors)
        make = table_maker(inputs, self.form)
        exact = {name: _exact(value) for name, value in self.arrays.items()}
        return np.asarray(function(make(exact)))


def _exact(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype == np.float32 else array


def table_of(estimator: Any, given: Samples, *, float32: bool) -> Table:
    """Find inputs that the estimator can be called with.

    Args:
        estimator: a fitted one.
        given: samples, as columns or as one array.
        float32: numbers are carried as FP32, not as FP64.

    Raises:
        PackageError: columns are missing, or the estimator cannot be called with the samples.
    """
    names = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
    texts = _texts(given)
    if texts is not None:
        tensor = {"name": TEXTS, "datatype": "BYTES", "shape": [-1]}
        return _callable(estimator, [tensor], {TEXTS: texts}, "array")
    columns = _columns(given, names, getattr(estimator, "n_features_in_", None))
    number = np.float32 if float32 else np.float64
    if any(value.dtype.kind == "O" for value in columns.values()):
        tensors, arrays = _one_input_each(columns, number)
        return _callable(estimator, tensors, arrays, "dataframe" if names else "array")
    array = np.column_stack([value.astype(number) for value in columns.values()])
    tensors = [_tensor(INPUT, array) | {"features": list(columns)}]
    forms: tuple[TableForm, ...] = ("array", "dataframe") if names else ("array",)
    return _callable(estimator, tensors, {INPUT: array}, *forms)


def _texts(given: Samples) -> Array | None:
    """One text a row, as vectorizers take them."""
    arrays = list(given.arrays.values())
    flat = len(arrays) == 1 and arrays[0].ndim == 1 and arrays[0].dtype.kind == "O"
    return arrays[0] if flat else None


def _columns(given: Samples, names: list[str], count: int | None) -> Mapping[str, Array]:
    if given.columns:
        columns = dict(given.columns)
        lacking = [name for name in names if name not in columns]
        if lacking:
            raise PackageError(
                f"the samples lack the columns {lacking} that the model was fitted on"
            )
        chosen = {name: columns[name] for name in names or columns}
    else:
        if len(given.arrays) != 1:
            raise PackageError(
                f"the samples hold the arrays {sorted(given.arrays)}; a scikit-learn model takes "
                "one table"
            )
        (array,) = given.arrays.values()
        if array.ndim != 2:
            raise PackageError(
                f"the samples have shape {list(array.shape)}; rows and columns are needed"
            )
        titles = names if len(names) == array.shape[1] else [f"x{i}" for i in range(array.shape[1])]
        chosen = {title: array[:, i] for i, title in enumerate(titles)}
    if count is not None and len(chosen) != count:
        raise PackageError(
            f"the samples have {len(chosen)} columns and the model was fitted on {count}; leave "
            "out what it does not take, such as the target"
        )
    return chosen


def _one_input_each(
    columns: Mapping[str, Array], number: Any
) -> tuple[list[dict[str, Any]], dict[str, Array]]:
    tensors, arrays = [], {}
    for name, value in columns.items():
        typed = value.astype(number) if value.dtype.kind == "f" else value
        arrays[name] = typed.reshape(-1, 1)
        tensors.append(_tensor(name, arrays[name]))
    return tensors, arrays


def _tensor(name: str, array: Array) -> dict[str, Any]:
    tensor: dict[str, Any] = {
        "name": name,
        "datatype": datatype_of(array),
        "shape": [-1, array.shape[1]],
    }
    if array.dtype.kind == "f" and np.isnan(array).any():
        tensor["allow_nan"] = True
    if array.dtype.kind == "O" and (array == "").any():
        tensor["missing"] = ""
    return tensor


def _callable(
    estimator: Any, tensors: list[dict[str, Any]], arrays: dict[str, Array], *forms: TableForm
) -> Table:
    """The first form that the estimator takes."""
    function = estimator.predict if hasattr(estimator, "predict") else estimator.transform
    fault = ""
    for form in forms:
        table = Table(form, tensors, arrays)
        try:
            table.call(function)
        except PackageError:
            raise
        except Exception as error:  # noqa: BLE001 - estimators raise anything
            fault = " ".join(str(error).split())
        else:
            return table
    raise PackageError(f"{type(estimator).__name__} cannot be called with the samples: {fault}")
