"""JSON arrays to numpy arrays, without a Python object for every number.

The fast way takes a homogeneous array as one buffer. A buffer has lost its nesting, so lengths
are compared beforehand. Whatever the fast way does not take goes to ``json_walk``, which is
slow and exact, and names the element at fault.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import Any, Literal

import numpy as np
import simdjson

from engine.serving.errors import InvalidInput
from engine.serving.tensors.datatypes import NUMPY, Array
from engine.serving.tensors.signature import TensorSpec
from engine.serving.transports.bounds import UNLIMITED, check_rows, check_shape
from engine.serving.transports.json_walk import check_list, lengths, walk

# Rows that are compared with the first one, where that one does not fit the model.
LOOKED_AT = 4096

# Buffer type of simdjson and the numpy type that reads it, by kind of dtype.
_BUFFERS: dict[str, tuple[Literal["d", "i", "u"], Any]] = {
    "f": ("d", np.float64),
    "i": ("i", np.int64),
    "u": ("u", np.uint64),
}


def nested_tensor(
    node: Any, spec: TensorSpec, field: str, brackets: int, max_rows: int = UNLIMITED
) -> Array:
    """Read an array whose nesting is its shape; a single row may come without its outer list, and
    a column of a table without a list around each of its values.

    Args:
        node: the parsed JSON value.
        spec: the input it is for.
        field: its name in the request, for messages.
        brackets: opening square brackets in the whole body.
        max_rows: most rows allowed.

    Raises:
        InvalidInput: ragged, of another shape, or an element does not fit the datatype.
        BodyTooLarge: more rows than allowed.
    """
    if isinstance(node, simdjson.Array) and len(node) == 0:
        raise InvalidInput(f"{field} holds an empty list", field=field, rule="at least one value")
    nesting = lengths(node, len(spec.shape) + 1)
    if nesting:
        shape = _completed(nesting, spec)
        _check_nesting(node, nesting, shape, spec, field)
        if spec.shape[:1] == (-1,):
            check_rows(shape[0], max_rows)
        array = _fast_nested(node, spec, nesting, brackets)
    else:
        array = None
    if array is None:
        array = walk(node, spec, field, nesting)
    shape = _completed(array.shape, spec)
    if not shape and spec.shape:
        raise InvalidInput(
            f"{field} is a single value; put the values of a row into a list",
            field=field,
            rule=f"shape {list(spec.shape)}",
        )
    return array.reshape(shape)


def _completed(shape: tuple[int, ...], spec: TensorSpec) -> tuple[int, ...]:
    """The shape with the dimensions that a single row, or a column of a table, leaves out."""
    if not shape and spec.shape == (-1, 1):
        return (1, 1)
    if len(shape) == len(spec.shape) - 1:
        if spec.shape[1:] == (1,):
            return (*shape, 1)
        if spec.shape[:1] == (-1,):
            return (1, *shape)
    return shape


def _check_nesting(
    node: simdjson.Array,
    nesting: tuple[int, ...],
    shape: tuple[int, ...],
    spec: TensorSpec,
    field: str,
) -> None:
    if len(nesting) > 1 and not spec.fits(shape):
        # The first row may be the one that differs from the others.
        for position, item in enumerate(islice(node, LOOKED_AT)):
            check_list(item, nesting[1], f"{field}[{position}]")
    check_shape(shape, spec, spec.name)


def shaped_tensor(
    node: Any, spec: TensorSpec, field: str, shape: tuple[int, ...], max_rows: int = UNLIMITED
) -> Array:
    """Read an array whose shape is given beside it; the data is flat, or nested as the shape.

    Args:
        node: the parsed JSON value.
        spec: the input it is for.
        field: its name in the request, for messages.
        shape: that passed ``check_shape``.
        max_rows: most rows allowed.

    Raises:
        InvalidInput: the number of elements or the nesting does not fit, or an element does not.
        BodyTooLarge: more rows than allowed.
    """
    size = math.prod(shape)
    nesting = lengths(node, max(len(shape), 1) + 1)
    if size == 0 and nesting == (0,):
        return np.empty(shape, NUMPY[spec.datatype])
    if len(nesting) > 1 and nesting != shape:
        raise InvalidInput(
            f"{field} is nested as {list(nesting)} and its shape says {list(shape)}",
            field=field,
            rule="data is flat, or nested as its shape",
        )
    if not nesting:
        # One value without a list; what is no value of the datatype is named first.
        walk(node, spec, field, nesting)
    values = math.prod(nesting)
    if values != size:
        raise InvalidInput(
            f"{field} has {values} values and its shape {list(shape)} needs {size}",
            field=field,
            rule="as many values as the shape has",
        )
    if spec.shape[:1] == (-1,):
        check_rows(shape[0], max_rows)
    flat = buffer(node, spec) if len(nesting) == 1 else None
    if flat is None or flat.size != size:
        flat = walk(node, spec, field, nesting)
    return flat.reshape(shape)


def _fast_nested(
    node: simdjson.Array, spec: TensorSpec, shape: tuple[int, ...], brackets: int
) -> Array | None:
    """The array, or None where the slow way has to look."""
    if brackets == 1:
        return buffer(node, spec)
    # Lists in a regular nesting of this shape. More brackets than that mean deeper nesting
    # somewhere (or another field with lists), which equal lengths alone would not show.
    lists, innermost = 1, 1
    for size in shape[:-1]:
        innermost *= size
        lists += innermost
    if brackets != lists or not _is_regular(node, shape):
        return None
    flat = buffer(node, spec)
    if flat is None or flat.size != innermost * shape[-1]:
        return None
    return flat.reshape(shape)


def _is_regular(node: simdjson.Array, shape: tuple[int, ...]) -> bool:
    """Whether all lists of a level have the length that the shape gives it."""
    if len(shape) == 1:
        return len(node) == shape[0]
    if len(shape) == 2:
        width = shape[1]
        return len(node) == shape[0] and all(
            isinstance(row, simdjson.Array) and len(row) == width for row in node
        )
    return len(node) == shape[0] and all(
        isinstance(row, simdjson.Array) and _is_regular(row, shape[1:]) for row in node
    )


def buffer(node: simdjson.Array, spec: TensorSpec) -> Array | None:
    """All numbers of a list, at any depth, or None if one does not fit the datatype."""
    dtype = NUMPY[spec.datatype]
    if dtype.kind not in _BUFFERS:
        return None
    letter, wide = _BUFFERS[dtype.kind]
    try:
        values: Array = np.frombuffer(node.as_buffer(of_type=letter), dtype=wide)
    except (TypeError, ValueError):
        return None
    if dtype == wide:
        return values
    if dtype.kind == "f":
        # Too large for the datatype becomes infinite, and the signature check names it; numpy's
        # warning about that is switched off where the server starts.
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    if values.size and (values.min() < limits.min or values.max() > limits.max):
        return None
    return values.astype(dtype)
