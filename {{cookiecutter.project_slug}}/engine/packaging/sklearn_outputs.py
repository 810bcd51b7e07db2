"""What an estimator answers: its methods as the outputs of a package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    for name, method, target, value in _values(estimator, table):
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
        if target is not None:
            output |= {"target": target} | _columns(estimator.classes_[target], value, ())
        elif method == "predict":
            output |= _classes(estimator, value, options)
        elif method in ("predict_proba", "decision_function"):
            output |= _columns(getattr(estimator, "classes_", ()), value, options.labels)
        outputs.append(output)
    return outputs, golden


def _values(estimator: Any, table: Table) -> Iterator[tuple[str, str, int | None, Array]]:
    """Name, method, position among several targets, and answer of each output."""
    for name, method in methods_of(estimator).items():
        yield name, method, None, table.call(getattr(estimator, method))
    if has_targets(estimator):
        answers = estimator.predict_proba(table.made())
        if isinstance(answers, list):
            for target, each in enumerate(answers):
                yield f"probabilities_{target}", "predict_proba", target, np.asarray(each)


def has_targets(estimator: Any) -> bool:
    """Whether it predicts several targets at once, with probabilities."""
    several = isinstance(getattr(estimator, "classes_", None), list)
    return several and hasattr(estimator, "predict_proba")


def _plain(value: Array) -> Array:
    """Whole numbers as INT64: KMeans counts in 32 bits, and nobody means anything by it."""
    return value.astype(np.int64) if value.dtype.kind in "iu" else value


def _classes(estimator: Any, value: Array, options: Options) -> dict[str, Any]:
    """Names of the classes that an output counts or, as text, holds."""
    if options.labels:
        return {"labels": _labels(value, options)}
    classes = getattr(estimator, "classes_", ())
    texts = value.ndim == 1 and value.dtype.kind == "O" and not isinstance(classes, list)
    return {"labels": [str(each) for each in classes]} if texts and len(classes) else {}


def _columns(classes: Any, value: Array, labels: Sequence[str]) -> dict[str, Any]:
    """Names of the columns, where the classes are not just counted from 0."""
    if value.shape[1:] != (len(classes),):
        return {}
    if labels:
        return {"labels": [labels[each] for each in classes]}
    names = [str(each) for each in classes]
    counted = names == [str(number) for number in range(len(names))]
    return {} if counted else {"labels": names}


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
