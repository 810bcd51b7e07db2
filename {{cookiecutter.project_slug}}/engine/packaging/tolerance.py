"""How far a served answer may lie from the training framework's, and why so far."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from engine.packaging.options import Options
from engine.packaging.rows import MARGIN, ROUNDING, largest_difference
from engine.serving.tensors.datatypes import Array

# float32 has seven digits, sums lose some; float16 has three; float64 differs by the order of sums.
BY_DTYPE = {
    np.dtype(np.float16): (1e-2, "float16 holds three digits"),
    np.dtype(np.float32): (1e-5, "float32 kernels add up in another order"),
    np.dtype(np.float64): (1e-7, "float64 kernels add up in another order"),
}


@dataclass(frozen=True, slots=True)
class Tolerance:
    """``absolute + relative * |expected|``, and the reason."""

    absolute: float
    relative: float
    reason: str

    def entry(self) -> dict[str, float | str]:
        """The manifest's form."""
        return asdict(self)


def tolerance_of(expected: Array, served: Array, options: Options, noise: float = 0.0) -> Tolerance:
    """The tolerance of one floating-point output.

    Args:
        expected: by the training framework.
        served: by the runtime.
        options: may hold a tolerance given by hand.
        noise: the tolerance that the runtime needs against itself when rows run alone; none can
            be smaller, and what is more than rounding was refused before.
    """
    usual, reason = BY_DTYPE[expected.dtype]
    limit = relative = usual
    if options.tolerance is not None:
        limit = relative = options.tolerance
        reason = options.tolerance_reason or "given by hand"
    elif noise * MARGIN > usual:
        limit = 10.0 ** math.ceil(math.log10(noise * MARGIN))
        # Large values beside small ones need an absolute tolerance that would be a wide share.
        relative = min(limit, ROUNDING[expected.dtype.itemsize])
        reason = f"rows alone and together differ by {noise:.1e} in the runtime itself"
    if options.relative is not None:
        relative = options.relative
    return Tolerance(limit, relative, f"{reason}; {_measured(expected, served)} when packaged")


def _measured(expected: Array, served: Array) -> str:
    if expected.shape != served.shape:
        return "not comparable"
    largest = largest_difference(expected, served)
    return f"largest difference {largest:.1e}" if largest else "equal"
