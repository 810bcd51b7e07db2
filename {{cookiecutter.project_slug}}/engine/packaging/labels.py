"""Names of classes: on an integer output that counts them, and on those with a column for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from engine.packaging.options import Options
from engine.packaging.write import Source
from engine.serving.errors import PackageError
from engine.serving.tensors.datatypes import Array

SUM_TOLERANCE = 1e-3
TABLE = 2


def labelled(source: Source, options: Options) -> Source:
    """The source with the names that were given, and with what the columns of classes are.

    Raises:
        PackageError: no output counts so many classes or has so many columns.
    """
    outputs = source.outputs
    if options.labels and not any(each.get("labels") for each in outputs):
        outputs = _named(source, list(options.labels))
    exclusive = {
        each["name"]: {"exclusive": True}
        for each in outputs
        if each.get("labels") and _are_shares(source.golden_outputs[each["name"]])
    }
    return replace(source, outputs=[each | exclusive.get(each["name"], {}) for each in outputs])


def _named(source: Source, names: list[str]) -> list[dict[str, Any]]:
    columns = [each for each in source.outputs if each["shape"][1:] == [len(names)]]
    columns = [e for e in columns if source.golden_outputs[e["name"]].dtype.kind == "f"]
    counting = [each for each in source.outputs if _counts(source, each, len(names))][:1]
    chosen = counting or columns[:1]
    if not chosen:
        described = ", ".join(f"{e['name']} {e['datatype']}{e['shape']}" for e in source.outputs)
        raise PackageError(
            f"--labels names {len(names)} classes, and no output counts them from 0 or has a "
            f"column for each: {described}; leave --labels out, or give as many names"
        )
    told = source.golden_outputs[counting[0]["name"]].reshape(-1) if counting else None
    for each in columns:
        values = source.golden_outputs[each["name"]]
        if _are_shares(values) or (told is not None and np.array_equal(values.argmax(1), told)):
            chosen.append(each)
    return [
        {**each, "labels": names} if any(each is one for one in chosen) else each
        for each in source.outputs
    ]


def _are_shares(values: Array) -> bool:
    """Whether each row holds probabilities of classes that exclude each other."""
    if values.dtype.kind != "f" or values.ndim != TABLE or values.shape[1] < TABLE:
        return False
    numbers = values.astype(np.float64)
    sums = np.abs(numbers.sum(axis=1) - 1) <= SUM_TOLERANCE
    return bool(values.size and (numbers >= 0).all() and sums.all())


def _counts(source: Source, output: Mapping[str, Any], classes: int) -> bool:
    """Whether an output has one number for each row, and they may be those of classes."""
    values = source.golden_outputs[output["name"]]
    one_each = output["shape"][1:] in ([], [1])
    whole = values.dtype.kind in "iu" and values.size > 0 and one_each
    return bool(whole and values.min() >= 0 and values.max() < classes)
