"""The slow and exact reading of JSON arrays: every element looked at, every fault named."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import numpy as np

from app.errors import InvalidInput
from app.tensors.datatypes import NUMPY, Array
from app.tensors.signature import TensorSpec

SHOWN_CHARACTERS = 40


def walk(value: Any, spec: TensorSpec, field: str) -> Array:
    """Turn nested Python lists into an array of the input's datatype.

    Raises:
        InvalidInput: lists of one level differ in length, or an element does not fit.
    """
    shape = _shape(value, field)
    flat: list[Any] = []
    _collect(value, shape, spec, field, flat)
    with np.errstate(over="ignore"):
        return np.array(flat, dtype=NUMPY[spec.datatype]).reshape(shape)


def _shape(value: Any, field: str) -> tuple[int, ...]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            raise InvalidInput(
                f"{field} holds an empty list", field=field, rule="at least one value"
            )
        value = value[0]
    return tuple(shape)


def _collect(
    value: Any, shape: tuple[int, ...], spec: TensorSpec, field: str, flat: list[Any]
) -> None:
    if not shape:
        flat.append(_element(value, spec, field))
        return
    if not isinstance(value, list):
        raise InvalidInput(
            f"{field} is {_show(value)} where the lists before it hold {shape[0]} values",
            field=field,
            rule="lists of one level have the same length",
        )
    if len(value) != shape[0]:
        raise InvalidInput(
            f"{field} has {len(value)} values where the lists before it have {shape[0]}",
            field=field,
            rule="lists of one level have the same length",
        )
    for position, item in enumerate(value):
        _collect(item, shape[1:], spec, f"{field}[{position}]", flat)


def _element(value: Any, spec: TensorSpec, field: str) -> Any:
    kind = NUMPY[spec.datatype].kind
    if kind == "f":
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
        if value is None and spec.allow_nan:
            return math.nan
        _refuse(value, spec, field, "a number")
    if kind == "b":
        return value if isinstance(value, bool) else _refuse(value, spec, field, "true or false")
    if kind == "O":
        if value is None and spec.missing is not None:
            return spec.missing
        return value if isinstance(value, str) else _refuse(value, spec, field, "text")
    limits = np.iinfo(NUMPY[spec.datatype])
    if isinstance(value, int) and not isinstance(value, bool) and limits.min <= value <= limits.max:
        return value
    _refuse(value, spec, field, f"a whole number from {limits.min} to {limits.max}")


def _refuse(value: Any, spec: TensorSpec, field: str, wanted: str) -> NoReturn:
    raise InvalidInput(
        f"{field} is {_show(value)}; {spec.datatype} takes {wanted}",
        field=field,
        rule=f"{spec.datatype}: {wanted}",
    )


def _show(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if value is None:
        return "null"
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
