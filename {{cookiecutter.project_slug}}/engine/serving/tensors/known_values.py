"""The values that a model takes in one column, where it fails on others or answers them as another.

An encoder that refuses categories it was not fitted on has such a list; packaging finds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.serving.errors import InvalidInput, quoted
from engine.serving.tensors.datatypes import NUMPY, Array, Datatype

Value = str | int | float | bool
# Of the values that a message lists.
MOST_TOLD = 10


class KnownValues:
    """All values that one column of an input may have.

    Args:
        column: its name, for messages.
        position: in the second dimension of the input; 0 where that is the column itself.
        datatype: of the input, as which the values are compared.
    """

    def __init__(
        self, column: str, position: int, values: Sequence[Value], datatype: Datatype
    ) -> None:
        self._column = column
        self._position = position
        self._values: frozenset[Any] = frozenset(np.array(values, NUMPY[datatype]).tolist())
        more = f" and others, {len(values)} in all" if len(values) > MOST_TOLD else ""
        self._told = ", ".join(map(written, values[:MOST_TOLD])) + more

    def check(self, name: str, array: Array, missing: str | None) -> None:
        """Look for other values; missing ones are another matter.

        Args:
            name: of the input.
            array: of shape [rows] or [rows, columns].
            missing: the text that stands for a missing value.

        Raises:
            InvalidInput: naming the first other value and the known ones.
        """
        values = (array if array.ndim == 1 else array[:, self._position]).tolist()
        if self._values.issuperset(values):
            return
        # NaN, which is not even equal to itself, is missing.
        others = {each for each in set(values) - self._values - {missing} if each == each}
        if not others:
            return
        row = next(at for at, each in enumerate(values) if each in others)
        place = f"[{row}]" if array.ndim == 1 else f"[{row}][{self._position}]"
        raise InvalidInput(
            f"{self._column!r} holds {written(values[row])}, which the model does not know; send "
            f"one of {self._told}",
            field=f"{name}{place}",
            rule=f"one of {self._told}",
        )


def written(value: Value) -> str:
    """A value as a message shows it."""
    return quoted(value) if isinstance(value, str) else repr(value)
