"""What an estimator answers: its methods as the outputs of a package."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.packaging.options import Options
from engine.packaging.record import methods_of
from engine.packaging.sklearn_calls import Table
from engine.serving.errors import PackageError
from engine.serving.tensors.datatypes import Array, canonical, datatype_of


def answers(
    estimator: Any, table: Table, options: Options
) -> tuple[list[dict[str, Any]], dict[str, Array]]:
    """The outputs, as the manifest writes them, and their values for the samples.

    Raises:
        PackageError: a value has a type that cannot be carried, or the labels do not fit.
    """
    outputs, golden = [], {}
    for name, method in methods_of(estimator).items():
        value = table.call(getattr(estimator, method))
        if value.dtype.kind == "O" and not all(isinstance(each, str) for each in value.reshape(-1)):
            raise PackageError(
                f"{method}() gives {type(value.reshape(-1)[0]).__name__} objects, which cannot be "
                "carried; a dense array of numbers or text is needed (sparse_output=False)"
            )
        value = _plain(canonical(value))
        if options.to == "onnx" and value.dtype.kind == "f":
            value = value.astype(np.float32)
        golden[name] = value
        shape = [-1, *value.shape[1:]]
        output = {"name": name, "datatype": datatype_of(value), "shape": shape, "method": method}
        if method == "predict" and options.labels:
            output["labels"] = _labels(value, options)
        elif method in ("predict_proba", "decision_function"):
            output |= _columns(estimator, value)
        outputs.append(output)
    return outputs, golden


def _plain(value: Array) -> Array:
    """Whole numbers as INT64: KMeans counts in 32 bits, and nobody means anything by it."""
    return value.astype(np.int64) if value.dtype.kind in "iu" else value


def _columns(estimator: Any, value: Array) -> dict[str, Any]:
    """Names of the columns, where the classes are not just counted from 0."""
    classes = [str(each) for each in getattr(estimator, "classes_", ())]
    counted = classes == [str(number) for number in range(len(classes))]
    fits = value.shape[1:] == (len(classes),)
    return {"labels": classes} if fits and not counted else {}


def _labels(value: Array, options: Options) -> list[str]:
    if value.ndim > 1:
        raise PackageError(
            f"--labels {','.join(options.labels)}: names the classes of one target, and the model "
            f"predicts {value.shape[1]} at once; leave --labels out"
        )
    if value.dtype.kind != "i" or value.min() < 0 or value.max() >= len(options.labels):
        raise PackageError(
            f"--labels names {len(options.labels)} classes, which must be counted from 0; the "
            f"model predicts {sorted(set(value.reshape(-1).tolist()))[:10]}"
        )
    return list(options.labels)
