"""Answers that came with the samples, compared with those that the package will hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.packaging.options import Options
from engine.packaging.samples import Samples
from engine.packaging.tolerance import BY_DTYPE
from engine.serving.errors import PackageError
from engine.serving.tensors.datatypes import Array

# Behind the library that computed the golden record.
AS_GIVEN = ", as given with the samples"


def check_given(given: Samples, computed: Mapping[str, Array], by: str, options: Options) -> None:
    """Compare every given answer; those of some outputs are enough.

    Args:
        given: samples, and ``output/<name>`` among them.
        computed: what the framework answers to the samples here.
        by: the framework, for the message.
        options: may hold a tolerance.

    Raises:
        PackageError: an output that the model does not have, or the first value that differs.
    """
    for name in given.outputs:
        if name not in computed:
            raise PackageError(
                f"the samples hold output/{name}, and the model gives {sorted(computed)}; name the "
                "answers as these outputs"
            )
        got = computed[name]
        wanted = given.answer(name, got.dtype)
        if wanted.size == got.size and wanted.shape != got.shape:
            # A column of labels is [rows] to one tool and [rows, 1] to another.
            squeezed = np.squeeze(wanted).shape == np.squeeze(got).shape
            wanted = wanted.reshape(got.shape) if squeezed else wanted
        if wanted.shape != got.shape:
            raise PackageError(
                f"the samples' output/{name} has shape {list(wanted.shape)}, and {by} gives "
                f"{list(got.shape)}; give the answers to the same rows"
            )
        wrong = ~close(wanted, got, options)
        if wrong.any():
            at = tuple(int(axis[0]) for axis in np.nonzero(wrong))
            raise PackageError(
                f"the samples' output/{name} at {list(at)} is {shown(wanted[at])}, and {by} gives "
                f"{shown(got[at])} ({int(wrong.sum())} of {wrong.size} values differ); the "
                "columns may have other types or another order than in training, or the answers "
                "are another model's"
            )


def shown(value: Any) -> str:
    """A value as a message has it, text in quotes: "1" is not 1."""
    return repr(value) if isinstance(value, str) else str(value)


def close(wanted: Array, got: Array, options: Options) -> Array:
    """Which values are equal, numbers up to the tolerance of their datatypes or of the options."""
    kinds = {wanted.dtype.kind, got.dtype.kind}
    if "O" in kinds or "f" not in kinds:
        return np.asarray(wanted == got)
    usual = max(BY_DTYPE.get(each.dtype, (0.0, ""))[0] for each in (wanted, got))
    limit = usual if options.tolerance is None else options.tolerance
    relative = limit if options.relative is None else options.relative
    return np.isclose(
        got.astype(np.float64),
        wanted.astype(np.float64),
        rtol=relative,
        atol=limit,
        equal_nan=True,
    )
