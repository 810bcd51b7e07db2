"""Bins for the values of a column, none with so few rows that it tells of one."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.serving.reference import counting
from engine.serving.reference.document import LEAST_ROWS, MOST_BINS, Column
from engine.serving.tensors.datatypes import Array

# A number with so few different values is counted value by value.
FEW_VALUES: Final = 20
QUANTILES: Final = 10
# Edges are multiples of a power of ten that is at most this part of the range.
ROUNDED_TO: Final = 100

Numbers = npt.NDArray[np.float64]


def binned(column: Column, values: Array) -> Column | None:
    """The column with bins and counts, or None where nothing can be counted.

    Args:
        values: of shape [rows]; see ``counting.values_of``.
    """
    if values.dtype.kind == "O":
        there = [value for value in values.tolist() if value is not None]
        common = _common(Counter(there))
        if 2 * sum(common.values()) < len(there):
            # Free text: how long it is.
            name = f"{column.name}.length"
            lengths = [math.nan if each is None else len(each) for each in values.tolist()]
            longer = column.model_copy(update={"name": name, "measure": "length"})
            return binned(longer, np.array(lengths, np.float64))
        made = column.model_copy(update={"categories": tuple(common)}) if common else None
    else:
        made = _numbers(column, values)
    if made is None:
        return None
    bins = len(made.categories) or len(made.edges) - 1
    counts = counting.count(made.model_copy(update={"counts": (0,) * bins}), values)
    *inside, missing, other = (int(each) for each in counts)
    document = made.model_dump() | {
        "counts": inside,
        "missing": missing,
        "other": 0 if made.edges else other,
    }
    return Column.model_validate(document)


def _numbers(column: Column, values: Array) -> Column | None:
    there = values[np.isfinite(values)]
    if not len(there):
        return None
    different = np.unique(there)
    if len(different) <= FEW_VALUES:
        categories = tuple(sorted(_common(Counter(there.tolist()))))
        return column.model_copy(update={"categories": categories}) if categories else None
    edges = _merged(_edges(there), there)
    return column.model_copy(update={"edges": edges}) if len(edges) > 1 else None


def _common(rows: Counter[float] | Counter[str]) -> dict[float | str, int]:
    return {value: count for value, count in rows.most_common(MOST_BINS) if count >= LEAST_ROWS}


def _edges(values: Numbers) -> Numbers:
    """Rounded quantiles; the first and the last one are rounded outwards."""
    quantiles = np.quantile(values, np.linspace(0, 1, QUANTILES + 1))
    spread = float(quantiles[-2] - quantiles[1]) or float(quantiles[-1] - quantiles[0])
    power = math.floor(math.log10(spread / ROUNDED_TO))
    step = 10.0**power
    places = quantiles / step
    whole = np.concatenate(([np.floor(places[0])], np.round(places[1:-1]), [np.ceil(places[-1])]))
    return np.unique(np.round(whole * step, max(0, -power)))


def _merged(edges: Numbers, values: Numbers) -> tuple[float, ...]:
    """The edges between bins of enough rows."""
    kept = [float(edges[0])]
    places = np.searchsorted(np.sort(values), edges, side="left")
    places[-1] = len(values)
    last = 0
    for edge, place in zip(edges[1:-1], places[1:-1], strict=True):
        if place - last >= LEAST_ROWS:
            kept.append(float(edge))
            last = int(place)
    if len(values) - last < LEAST_ROWS and len(kept) > 1:
        kept.pop()
    return (*kept, float(edges[-1]))
