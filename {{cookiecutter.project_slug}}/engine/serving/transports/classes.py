"""Names of classes in the answers of `/predict`, and columns of classes as objects by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.serving.package.manifest import OutputTensor
from engine.serving.tensors.datatypes import Array

TABLE = 2


def counts_classes(output: OutputTensor) -> bool:
    """Whether the values are numbers of classes, which labels name."""
    return output.datatype.startswith(("INT", "UINT"))


def names_columns(output: OutputTensor) -> bool:
    """Whether the labels name columns, not values."""
    return bool(output.labels) and not counts_classes(output) and output.datatype != "BYTES"


def numbers_of(output: OutputTensor, values: Array) -> list[int] | None:
    """The number of each row's class, -1 where it has none; None where the values do not say it.

    Args:
        output: has labels.
        values: its rows: numbers of classes, or probabilities of shape [rows, classes].
    """
    numbers: list[int]
    if counts_classes(output):
        numbers = values.reshape(-1).tolist()
        return numbers
    if not output.exclusive or values.ndim != TABLE or values.shape[1] != len(output.labels):
        return None
    known = ~np.isnan(values).any(axis=1)
    numbers = np.where(known, values.argmax(axis=1), -1).tolist()
    return numbers


def by_name(output: OutputTensor, values: Array) -> list[dict[str, Any]] | None:
    """A matrix as one object for each row, with a key for each class; None where it has no names.

    The numbers stay those of numpy, whose shortest digits orjson knows.
    """
    fits = names_columns(output) and values.ndim == TABLE
    if not fits or values.shape[1] != len(output.labels):
        return None
    return [dict(zip(output.labels, row, strict=True)) for row in values]
