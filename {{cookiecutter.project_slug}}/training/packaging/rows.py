"""Whether the first dimension of a model counts rows that know nothing of each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from app.inference.model import SINGLE_ROWS_CHECKED, repeat_rows
from app.tensors.datatypes import Array

FEWEST = 3
RELATIVE, ABSOLUTE = 1e-2, 1e-3
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]


def row_noise(run: Run, inputs: Mapping[str, Array]) -> dict[str, float] | None:
    """Run rows together and singly, and compare.

    A model over the steps of one recording also begins with a dimension that varies, and would
    answer nonsense if the recordings of two requests were strung together.

    Returns:
        The largest difference of each output, which is rounding; None where rows depend on each
        other, so that requests must not share a run.
    """
    rows = min(min(len(value) for value in inputs.values()), SINGLE_ROWS_CHECKED)
    together = repeat_rows(inputs, max(rows, FEWEST))
    noise: dict[str, float] = {}
    try:
        expected = run(together)
        for row in range(max(rows, FEWEST)):
            single = run({name: value[row : row + 1] for name, value in together.items()})
            for name, value in single.items():
                same = expected[name][row : row + 1]
                if not _same(same, value):
                    return None
                noise[name] = max(noise.get(name, 0.0), largest_difference(same, value))
    except Exception:  # noqa: BLE001 - what cannot run alone cannot be shared out
        return None
    return noise


def _same(one: Array, other: Array) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    return bool(np.allclose(one, other, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True))


def largest_difference(one: Array, other: Array) -> float:
    """The largest distance between finite values of two arrays of one shape; 0 if not floats."""
    if one.dtype.kind != "f" or one.size == 0:
        return 0.0
    with np.errstate(all="ignore"):
        difference = np.abs(one.astype(np.float64) - other.astype(np.float64))
    finite = difference[np.isfinite(difference)]
    return float(finite.max()) if finite.size else 0.0
