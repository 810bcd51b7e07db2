"""What a model takes and gives, and the check that a request must pass before it may join a batch.

Shapes follow the Open Inference Protocol: -1 is a dimension that varies. When every input and
output begins with -1, that first dimension counts rows and requests can share a run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engine.serving.errors import InvalidInput, quoted
from engine.serving.tensors.datatypes import NUMPY, Array, Datatype, datatype_of
from engine.serving.tensors.known_values import KnownValues

FEW = 32


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: its name, datatype and shape (-1 for a dimension that varies).

    ``missing`` is the text that stands for a missing value, which JSON writes as null; None where
    a text may not be missing. ``known`` are the columns of which the model takes no other values.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    allow_nan: bool = False
    allow_empty: bool = False
    missing: str | None = None
    known: tuple[KnownValues, ...] = ()

    def __str__(self) -> str:
        return f"{self.datatype}{list(self.shape)}"

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of that shape is allowed; -1 in the specification fits any size."""
        if len(shape) != len(self.shape):
            return False
        # The usual case, without a loop: only the number of rows varies.
        if self.shape[:1] == (-1,) and shape[1:] == self.shape[1:]:
            return True
        return all(want in (-1, have) for want, have in zip(self.shape, shape, strict=True))


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of one model, in the model's own order.

    ``independent_rows`` is False where the first dimension counts something else, such as the
    steps of one recording: then requests must not share a run. ``one_table`` says that the inputs
    are columns of one table, and so have the same number of rows in any case.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    independent_rows: bool = True
    one_table: bool = False

    @cached_property
    def batched(self) -> bool:
        """True when the first dimension of every tensor counts rows that know nothing of others."""
        first = [spec.shape[:1] for spec in (*self.inputs, *self.outputs)]
        return self.independent_rows and all(size == (-1,) for size in first)

    def input(self, name: str) -> TensorSpec:
        """The input of that name.

        Raises:
            InvalidInput: the model has no such input.
        """
        for spec in self.inputs:
            if spec.name == name:
                return spec
        raise InvalidInput(
            f"the model has no input {quoted(name)}; it takes {_names(self.inputs)}", field="inputs"
        )

    def check(self, arrays: Mapping[str, Array]) -> int:
        """Check named arrays against the inputs.

        Returns:
            The number of rows; 1 where the model has no row dimension.

        Raises:
            InvalidInput: a name, datatype, rank, dimension or value breaks the signature.
        """
        if len(arrays) > len(self.inputs):
            for name in arrays:
                self.input(name)
        for spec in self.inputs:
            if spec.name not in arrays:
                raise InvalidInput(
                    f"input {spec.name!r} is missing; it takes {spec}", field=spec.name
                )
            check_tensor(spec, arrays[spec.name])
        if self.batched:
            return self._rows(arrays)
        if self.one_table:
            self._rows(arrays)
        return 1

    def _rows(self, arrays: Mapping[str, Array]) -> int:
        first = self.inputs[0].name
        rows = arrays[first].shape[0]
        for spec in self.inputs[1:]:
            other = arrays[spec.name].shape[0]
            if other != rows:
                raise InvalidInput(
                    f"input {first!r} has {rows} rows and input {spec.name!r} has {other}",
                    field=spec.name,
                    rule="all inputs have the same number of rows",
                )
        return int(rows)


def check_tensor(spec: TensorSpec, array: Array) -> None:
    """Check one array against its specification.

    Raises:
        InvalidInput: naming the tensor, the value found and the rule.
    """
    if array.dtype != NUMPY[spec.datatype]:
        raise InvalidInput(
            f"{spec.name!r} is {datatype_of(array)}; the model takes {spec.datatype}",
            field=spec.name,
            rule=f"datatype {spec.datatype}",
        )
    if not spec.fits(array.shape):
        raise InvalidInput(
            f"{spec.name!r} has shape {list(array.shape)}; the model takes {list(spec.shape)}, "
            "where -1 stands for any number",
            field=spec.name,
            rule=f"shape {list(spec.shape)}",
        )
    if array.size == 0 and not spec.allow_empty:
        raise InvalidInput(
            f"{spec.name!r} is empty: its shape is {list(array.shape)}",
            field=spec.name,
            rule="at least one row, and no dimension of 0",
        )
    if not spec.allow_nan and array.dtype.kind == "f":
        _check_finite(spec, array)
    if spec.known:
        for each in spec.known:
            each.check(spec.name, array, spec.missing)


def _check_finite(spec: TensorSpec, array: Array) -> None:
    # NaN and infinity survive a sum, so a finite sum proves that all is finite. For a few numbers
    # that is several times faster than numpy, whose calls cost more than their work then.
    if array.size <= FEW and math.isfinite(sum(array.ravel().tolist())):
        return
    finite = np.isfinite(array)
    if finite.all():
        return
    position = tuple(map(int, np.unravel_index(int(finite.argmin()), array.shape)))
    raise InvalidInput(
        f"{spec.name!r} holds {array[position]} at {list(position)}, after conversion to "
        f"{spec.datatype}; impute missing values before sending",
        field=spec.name + "".join(f"[{index}]" for index in position),
        rule="finite numbers only",
    )


def _names(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(repr(spec.name) for spec in specs)
