"""The slow and exact reading of JSON arrays: every element looked at, every fault named."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any, NoReturn

import numpy as np
import simdjson

from engine.serving.errors import InvalidInput, quoted
from engine.serving.tensors.datatypes import NUMPY, Array
from engine.serving.tensors.signature import TensorSpec

# Elements that are Python objects at a time.
CHUNK = 16 * 1024
# What needs no look at each element, by kind of dtype.
_USUAL: dict[str, set[type]] = {
    "f": {int, float}, "i": {int}, "u": {int}, "b": {bool}, "O": {str},
}  # fmt: skip
_WRONG = object()


def lengths(value: Any, most: int) -> tuple[int, ...]:
    """Lengths of a list, of its first element, and so on; at most so many."""
    found: list[int] = []
    while isinstance(value, simdjson.Array) and len(found) < most:
        found.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(found)


def walk(value: Any, spec: TensorSpec, field: str, shape: tuple[int, ...]) -> Array:
    """Turn a JSON value into an array of the input's datatype.

    Args:
        value: the parsed JSON value.
        field: its name in the request, for messages.
        shape: what it must have; not longer than its nesting, as ``lengths`` gives it.

    Raises:
        InvalidInput: a list has another length, or an element does not fit.
    """
    walker = _Walker(spec, field)
    walker.collect(value, shape, ())
    return walker.array().reshape(shape)


def check_list(value: Any, length: int, field: str) -> None:
    """Check that a value is a list as long as those before it.

    Raises:
        InvalidInput: it is not.
    """
    if not isinstance(value, simdjson.Array):
        found = f"is {_show(value)} where the lists before it hold {length} values"
    elif len(value) != length:
        found = f"has {len(value)} values where the lists before it have {length}"
    else:
        return
    raise InvalidInput(
        f"{field} {found}", field=field, rule="lists of one level have the same length"
    )


class _Walker:
    def __init__(self, spec: TensorSpec, field: str) -> None:
        self._spec = spec
        self._field = field
        self._dtype = NUMPY[spec.datatype]
        self._flat: list[Any] = []
        self._parts: list[Array] = []

    def array(self) -> Array:
        """All elements, in one dimension."""
        self._flush()
        return np.concatenate(self._parts)

    def collect(self, value: Any, shape: tuple[int, ...], path: tuple[int, ...]) -> None:
        """Take in the elements of a value of this shape."""
        if not shape:
            self._take([value], path, None)
            return
        if not isinstance(value, simdjson.Array) or len(value) != shape[0]:
            check_list(value, shape[0], self._place(path))
        if len(shape) > 1:
            for position, item in enumerate(value):
                self.collect(item, shape[1:], (*path, position))
            return
        items = iter(value)
        for start in range(0, shape[0], CHUNK):
            self._take(list(islice(items, CHUNK)), path, start)

    def _take(self, values: list[Any], path: tuple[int, ...], start: int | None) -> None:
        """Take in elements of one list, the first of which has this position; None: no list."""
        kind = self._dtype.kind
        usual = set(map(type, values)) <= _USUAL[kind]
        if usual and kind in "iu":
            limits = np.iinfo(self._dtype)
            usual = limits.min <= min(values) and max(values) <= limits.max
        if not usual:
            for index, value in enumerate(values):
                values[index] = element = _element(value, self._spec)
                if element is _WRONG:
                    whole = path if start is None else (*path, start + index)
                    _refuse(value, self._spec, self._place(whole))
        self._flat += values
        if len(self._flat) >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        with np.errstate(over="ignore"):
            self._parts.append(np.array(self._flat, dtype=self._dtype))
        self._flat = []

    def _place(self, path: tuple[int, ...]) -> str:
        return self._field + "".join(f"[{position}]" for position in path)


def _element(value: Any, spec: TensorSpec) -> Any:
    """The value as it is put into the array, or ``_WRONG``."""
    kind = NUMPY[spec.datatype].kind
    if value is None and kind == "f" and spec.allow_nan:
        return math.nan
    if value is None and kind == "O" and spec.missing is not None:
        return spec.missing
    if type(value) not in _USUAL[kind]:
        return _WRONG
    if kind in "iu":
        limits = np.iinfo(NUMPY[spec.datatype])
        return value if limits.min <= value <= limits.max else _WRONG
    return value


def _refuse(value: Any, spec: TensorSpec, field: str) -> NoReturn:
    dtype = NUMPY[spec.datatype]
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        wanted = f"a whole number from {limits.min} to {limits.max}"
    else:
        wanted = {"f": "a number", "b": "true or false", "O": "text"}[dtype.kind]
    if value is None and dtype.kind in "fO":
        wanted += ": the samples that the model was packaged with have no missing value"
    raise InvalidInput(
        f"{field} is {_show(value)}; {spec.datatype} takes {wanted}",
        field=field,
        rule=f"{spec.datatype}: {wanted}",
    )


def _show(value: Any) -> str:
    if isinstance(value, simdjson.Array):
        return f"a list of {len(value)}"
    if isinstance(value, simdjson.Object):
        return "an object"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return quoted(value) if isinstance(value, str) else repr(value)
