"""Finds the value at which a model fails, where the model itself records no rule for it.

An encoder in a step of one's own raises for a text that it was not fitted on, a forest for a number
that float32 does not hold. The run is repeated with a golden sample, of which a part is replaced by
the same part of the request, until one value is left at which it fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from engine.serving.errors import InvalidInput
from engine.serving.package.manifest import InputTensor
from engine.serving.tensors.datatypes import Array
from engine.serving.tensors.known_values import written

# Libraries whose errors are neither ValueError nor LookupError.
LIBRARIES = ("_catboost", "onnxruntime", "patsy")
# Runs of a slow model are not repeated for longer, in CPU time: a busy machine finds as much.
SECONDS = 1.0
EXAMPLES = 3
MATRIX = 2
Run = Callable[[Mapping[str, Array]], Any]
Cell = tuple[str, int]


def is_of_values(error: BaseException) -> bool:
    """Whether a model raises such an error for what it was given."""
    library = type(error).__module__.partition(".")[0]
    return isinstance(error, (ValueError, LookupError)) or library in LIBRARIES


def refusal(
    run: Run,
    given: Mapping[str, Array],
    golden: Mapping[str, Array],
    tensors: tuple[InputTensor, ...],
    begin: int = 0,
) -> InvalidInput | None:
    """The error that names the value.

    Args:
        run: the model's.
        given: inputs at which it failed.
        golden: inputs that it answers, of the same tensors.
        tensors: of the manifest.
        begin: number of the first row in the request.

    Returns:
        None where no value alone is the reason, or none was found within a second of CPU time.
    """
    if any(array.ndim not in (1, MATRIX) for array in given.values()) or any(
        array.shape[1:] != golden[name].shape[1:] for name, array in given.items()
    ):
        return None
    try:
        return _Search(run, given, golden).result(tensors, begin)
    except _Over:
        return None


class _Over(Exception):
    """The search takes too long, or the model fails in another way."""


class _Search:
    def __init__(self, run: Run, given: Mapping[str, Array], golden: Mapping[str, Array]) -> None:
        self._run = run
        self._given = given
        self._golden = golden
        self._right = {name: array[:1] for name, array in golden.items()}
        self._until = time.thread_time() + SECONDS

    def result(self, tensors: tuple[InputTensor, ...], begin: int) -> InvalidInput | None:
        if self._fails(self._right):
            return None
        row = self._row()
        if row is None:
            return None
        cells = [
            (name, at)
            for name, array in self._given.items()
            for at in range(array.shape[1] if array.ndim == MATRIX else 1)
        ]
        cell = self._cell({name: each[row : row + 1] for name, each in self._given.items()}, cells)
        if cell is None:
            return None
        name, at = cell
        array = self._given[name]
        column = array if array.ndim == 1 else array[:, at]
        (tensor,) = (each for each in tensors if each.name == name)
        title = tensor.features[at] if at < len(tensor.features) else name
        examples = ", ".join(written(each) for each in self._examples(name, at))
        return InvalidInput(
            f"{title!r} holds {written(column[row : row + 1].tolist()[0])}, which the model does "
            f"not take; send a value as in its training, such as {examples}",
            field=f"{name}[{begin + row}]" + (f"[{at}]" if array.ndim == MATRIX else ""),
            rule="a value that the model takes",
        )

    def _row(self) -> int | None:
        """The first row that fails by itself."""
        start, end = 0, min(len(array) for array in self._given.values())
        while end - start > 1:
            middle = (start + end) // 2
            if self._fails(self._rows(start, middle)):
                end = middle
            elif self._fails(self._rows(middle, end)):
                start = middle
            else:
                return None
        return start if end > start else None

    def _rows(self, start: int, end: int) -> dict[str, Array]:
        return {name: array[start:end] for name, array in self._given.items()}

    def _cell(self, row: Mapping[str, Array], cells: list[Cell]) -> Cell | None:
        """The one value of a row at which it fails, with all others from a golden sample."""
        while True:
            if not self._fails(self._with(row, cells)):
                return None
            if len(cells) == 1:
                return cells[0]
            middle = len(cells) // 2
            first = cells[:middle]
            cells = first if self._fails(self._with(row, first)) else cells[middle:]

    def _with(self, row: Mapping[str, Array], cells: list[Cell]) -> dict[str, Array]:
        mixed = {name: array.copy() for name, array in self._right.items()}
        for name, at in cells:
            place = (0, at) if mixed[name].ndim == MATRIX else 0
            mixed[name][place] = row[name][place]
        return mixed

    def _fails(self, inputs: Mapping[str, Array]) -> bool:
        if time.thread_time() > self._until:
            raise _Over
        try:
            self._run(inputs)
        except InvalidInput:
            return True
        except Exception as error:  # noqa: BLE001 - runtimes raise anything
            if not is_of_values(error):
                raise _Over from None
            return True
        return False

    def _examples(self, name: str, at: int) -> Iterator[Any]:
        array = self._golden[name]
        column = (array if array.ndim == 1 else array[:, at]).tolist()
        return iter(list(dict.fromkeys(each for each in column if each == each))[:EXAMPLES])
