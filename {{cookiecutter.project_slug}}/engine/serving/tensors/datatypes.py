"""Open Inference Protocol datatypes and the numpy dtypes that carry them.

Source: Open Inference Protocol, "Tensor Data Types". BYTES is carried as an object array of
``str``, since the runtimes here know text and no other variable-length element.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "FP32", "FP64", "BYTES",
]  # fmt: skip
DATATYPES: tuple[Datatype, ...] = get_args(Datatype)

NUMPY: dict[Datatype, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(np.object_),
}
_OIP: dict[np.dtype[Any], Datatype] = {dtype: name for name, dtype in NUMPY.items()}


def datatype_of(array: Array) -> Datatype:
    """The protocol's name for an array's dtype.

    Raises:
        TypeError: the dtype has no name in the protocol.
    """
    if array.dtype.kind in "US":
        return "BYTES"
    try:
        return _OIP[array.dtype]
    except KeyError:
        raise TypeError(f"dtype {array.dtype} has no Open Inference Protocol name") from None


def canonical(array: Array) -> Array:
    """The same values in the form used inside the service: text as an object array of ``str``."""
    if array.dtype.kind in "US":
        return array.astype(np.str_).astype(np.object_)
    return array
