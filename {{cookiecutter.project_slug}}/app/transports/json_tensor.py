"""JSON arrays to numpy arrays, without a Python object for every number.

The fast way takes a homogeneous array as one buffer. A buffer has lost its nesting, so lengths
are compared beforehand. Whatever the fast way does not take goes to ``json_walk``, which is
slow and exact, and names the element at fault.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import simdjson

from app.errors import InvalidInput
from app.tensors.datatypes import NUMPY, Array
from app.tensors.signature import TensorSpec
from app.transports.json_walk import walk

# Buffer type of simdjson and the numpy type that reads it, by kind of dtype.
_BUFFERS: dict[str, tuple[Literal["d", "i", "u"], Any]] = {
    "f": ("d", np.float64),
    "i": ("i", np.int64),
    "u": ("u", np.uint64),
}


def nested_tensor(node: Any, spec: TensorSpec, field: str, brackets: int) -> Array:
    """Read an array whose nesting is its shape; a single row may come without its outer list, and
    a column of a table without a list around each of its values.

    Args:
        node: the parsed JSON value.
        spec: the input it is for.
        field: its name in the request, for messages.
        brackets: opening square brackets in the whole body.

    Raises:
        InvalidInput: ragged, or an element does not fit the datatype.
    """
    array = _fast_nested(node, spec, brackets)
    if array is None:
        array = walk(_plain(node), spec, field)
    if array.ndim == len(spec.shape) - 1:
        if spec.shape[1:] == (1,):
            return array[:, np.newaxis]
        if spec.shape[:1] == (-1,):
            return array[np.newaxis]
    return array


def shaped_tensor(node: Any, spec: TensorSpec, field: str, shape: tuple[int, ...]) -> Array:
    """Read an array whose shape is given beside it; the data is flat, or nested as the shape.

    Raises:
        InvalidInput: the number of elements or the nesting does not fit, or an element does not.
    """
    size = math.prod(shape)
    if size == 0 and isinstance(node, simdjson.Array) and len(node) == 0:
        return np.empty(shape, NUMPY[spec.datatype])
    flat = None
    if isinstance(node, simdjson.Array) and not (node and isinstance(node[0], simdjson.Array)):
        flat = _buffer(node, spec)
    if flat is None:
        values = walk(_plain(node), spec, field)
        if values.ndim > 1 and values.shape != shape:
            raise InvalidInput(
                f"{field} is nested as {list(values.shape)} and its shape says {list(shape)}",
                field=field,
                rule="data is flat, or nested as its shape",
            )
        flat = values.reshape(-1)
    if flat.size != size:
        raise InvalidInput(
            f"{field} has {flat.size} values and its shape {list(shape)} needs {size}",
            field=field,
            rule="as many values as the shape has",
        )
    return flat.reshape(shape)


def _fast_nested(node: Any, spec: TensorSpec, brackets: int) -> Array | None:
    """The array, or None where the slow way has to look."""
    if not isinstance(node, simdjson.Array) or len(node) == 0:
        return None
    if brackets == 1:
        return _buffer(node, spec)
    shape = _regular_shape(node)
    if shape == ():
        return None
    # Lists in a regular nesting of this shape. More brackets than that mean deeper nesting
    # somewhere (or another field with lists), which equal lengths alone would not show.
    lists, innermost = 1, 1
    for size in shape[:-1]:
        innermost *= size
        lists += innermost
    if brackets != lists:
        return None
    flat = _buffer(node, spec)
    if flat is None or flat.size != innermost * shape[-1]:
        return None
    return flat.reshape(shape)


def _regular_shape(node: simdjson.Array) -> tuple[int, ...]:
    """Lengths of the lists at each level, () when lists of one level differ in length."""
    count = len(node)
    if count == 0 or not isinstance(node[0], simdjson.Array):
        return (count,)
    inner = _regular_shape(node[0])
    if inner == () or count == 1:
        return inner and (1, *inner)
    if len(inner) == 1:
        width = inner[0]
        regular = all(isinstance(row, simdjson.Array) and len(row) == width for row in node)
    else:
        regular = all(
            isinstance(row, simdjson.Array) and _regular_shape(row) == inner for row in node
        )
    return (count, *inner) if regular else ()


def _buffer(node: simdjson.Array, spec: TensorSpec) -> Array | None:
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


def _plain(node: Any) -> Any:
    if isinstance(node, simdjson.Array):
        return node.as_list()
    if isinstance(node, simdjson.Object):
        return node.as_dict()
    return node
