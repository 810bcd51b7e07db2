"""Which columns of a model a reference has, and their values in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from engine.serving.package.manifest import InputTensor, Manifest, OutputTensor
from engine.serving.reference.counting import MATRIX, fits, values_of
from engine.serving.reference.document import Column, Measure, Side
from engine.serving.tensors.datatypes import Array

MOST_INPUTS: Final = 48
MOST_OUTPUTS: Final = 16
# Of the rows of a file so many are kept, evenly spread, for quantiles.
MOST_ROWS: Final = 100_000
# Float32 probabilities add up to one within this.
SUM_TOLERANCE: Final = 1e-3


def columns_of(manifest: Manifest, outputs: Mapping[str, Array]) -> list[Column]:
    """The columns that can be compared, without bins yet.

    Args:
        outputs: some that the model gave.
    """
    inputs = [column for each in manifest.inputs for column in _of_input(each)]
    answers = [column for each in manifest.outputs for column in _of_output(each, outputs)]
    return [*inputs[:MOST_INPUTS], *answers[:MOST_OUTPUTS]]


def _of_input(tensor: InputTensor) -> Iterator[Column]:
    # A date is text here, and another one each day.
    if not tensor.date:
        yield from _of(tensor, "input", tensor.features)


def _of_output(tensor: OutputTensor, outputs: Mapping[str, Array]) -> Iterator[Column]:
    value = outputs.get(tensor.name)
    if value is not None and _are_probabilities(value):
        yield _column(tensor.name, "output", "confidence")
    labels = tuple(f"{tensor.name}.{label}" for label in tensor.labels)
    yield from _of(tensor, "output", labels)


def _of(tensor: InputTensor | OutputTensor, side: Side, names: tuple[str, ...]) -> Iterator[Column]:
    shape = tensor.shape
    if shape[:1] != (-1,):
        return
    text = tensor.datatype == "BYTES"
    if shape[1:] in ((), (1,)):
        name = names[0] if side == "input" and names else tensor.name
        yield Column(name=name, side=side, tensor=tensor.name, counts=())
    elif len(shape) == MATRIX and 0 < shape[1] <= MOST_INPUTS:
        if len(names) != shape[1]:
            names = tuple(f"{tensor.name}.{place}" for place in range(shape[1]))
        for place, name in enumerate(names):
            yield Column(name=name, side=side, tensor=tensor.name, place=place, counts=())
    elif not text:
        for measure in ("mean", "deviation", "norm"):
            yield _column(tensor.name, side, measure)


def _column(tensor: str, side: Side, measure: Measure) -> Column:
    name = f"{tensor}.{measure}"
    return Column(name=name, side=side, tensor=tensor, measure=measure, counts=())


def _are_probabilities(value: Array) -> bool:
    return bool(
        value.dtype.kind == "f"
        and value.ndim == MATRIX
        and value.shape[1] > 1
        and (value >= 0).all()
        and np.allclose(value.sum(axis=1), 1, atol=SUM_TOLERANCE)
    )


class Values:
    """The values of each column of a file: of all rows, or of every second, fourth, … one.

    Args:
        manifest: of the model.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._missing = {each.name: each.missing for each in manifest.inputs}
        self._step = 1
        self._seen = 0
        self._kept: list[list[Array]] = []
        self.rows = 0
        self.columns: list[Column] = []

    def add(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Take what a run of the model was given and gave."""
        if not self.columns:
            self.columns = columns_of(self._manifest, outputs)
        rows = len(next(iter(inputs.values())))
        chosen = slice(-self._seen % self._step, None, self._step)
        self._seen += rows
        sides = {"input": inputs, "output": outputs}
        kept = []
        for column in self.columns:
            tensor = sides[column.side][column.tensor]
            if not fits(column, tensor):
                kept.append(np.empty(0))
                continue
            missing = self._missing.get(column.tensor)
            kept.append(values_of(column, tensor[chosen], missing))
        self._kept.append(kept)
        self.rows += len(range(rows)[chosen])
        if self.rows > MOST_ROWS:
            self._halve()

    def _halve(self) -> None:
        self._kept = [[values[::2] for values in self.all()]]
        self._step *= 2
        self.rows = max(map(len, self._kept[0]))

    def all(self) -> list[Array]:
        """The values of each column, in the file's order."""
        return [np.concatenate(parts) for parts in zip(*self._kept, strict=True)]
