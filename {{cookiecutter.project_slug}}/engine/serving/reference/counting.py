"""Counts values of named arrays into the bins of a reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.serving.reference.document import Column, Reference
from engine.serving.tensors.datatypes import Array

Counts = npt.NDArray[np.float64]
MATRIX = 2


def values_of(column: Column, tensor: Array, missing_text: str | None = None) -> Array:
    """One value for each row of a tensor.

    Args:
        tensor: of shape [rows, ...].
        missing_text: the text that means a missing value.

    Returns:
        float64 of shape [rows], NaN where a value is missing; of a category of texts object of
        shape [rows], None where it is missing.
    """
    if column.place is not None:
        tensor = tensor[:, column.place]
    rows = tensor.reshape(len(tensor), -1)
    if tensor.dtype.kind == "O":
        texts = [None if text == missing_text else text for text in rows[:, 0].tolist()]
        if column.measure == "length":
            return np.array([np.nan if text is None else len(text) for text in texts], np.float64)
        return np.array(texts, dtype=np.object_)
    numbers = rows.astype(np.float64)
    match column.measure:
        case "mean":
            return np.asarray(numbers.mean(axis=1))
        case "deviation":
            return np.asarray(numbers.std(axis=1))
        case "norm":
            return np.asarray(np.sqrt(np.einsum("ij,ij->i", numbers, numbers)))
        case "confidence":
            return np.asarray(numbers.max(axis=1))
        case _:
            return numbers[:, 0]


def count(column: Column, values: Array) -> Counts:
    """How many values are in each bin, then how many are missing, then how many are in no bin.

    A number below the first or above the last edge is in the first or the last bin, and is counted
    as in no bin as well.

    Returns:
        float64 of shape [column.size].
    """
    counts = np.zeros(column.size)
    bins = len(column.counts)
    if column.categories:
        places = {category: at for at, category in enumerate(column.categories)}
        for value in values.tolist():
            at = bins if value is None or value != value else places.get(value, bins + 1)
            counts[at] += 1
        return counts
    there = values[~np.isnan(values)]
    counts[bins] = len(values) - len(there)
    if column.edges:
        inner = np.searchsorted(column.edges[1:-1], there, side="right")
        counts[:bins] = np.bincount(inner, minlength=bins)
        outside = (there < column.edges[0]) | (there > column.edges[-1])
        counts[bins + 1] = np.count_nonzero(outside)
    return counts


class Counter:
    """Counts rows into the bins of all columns of a reference.

    Args:
        missing_texts: by input, the text that means a missing value.
    """

    def __init__(self, reference: Reference, missing_texts: Mapping[str, str | None]) -> None:
        self.reference = reference
        self._missing = missing_texts

    def count(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Counts:
        """The counts of some rows.

        Returns:
            float64 of shape [reference.size], column after column.
        """
        sides: dict[str, Mapping[str, Array]] = {"input": inputs, "output": outputs}
        parts: list[Any] = []
        for column in self.reference.columns:
            tensor = sides[column.side].get(column.tensor)
            if tensor is None or not fits(column, tensor):
                parts.append(np.zeros(column.size))
                continue
            parts.append(count(column, values_of(column, tensor, self._missing.get(column.tensor))))
        return np.concatenate(parts)


def fits(column: Column, tensor: Array) -> bool:
    """Whether the tensor has rows, and the column's place in each."""
    if tensor.ndim == 0 or not tensor.size:
        return False
    return column.place is None or (tensor.ndim == MATRIX and column.place < tensor.shape[1])
