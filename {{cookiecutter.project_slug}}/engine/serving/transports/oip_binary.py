"""The binary tensor extension of the Open Inference Protocol: raw bytes behind the JSON header.

Source: Triton's "Binary Tensor Data Extension". Elements are little-endian and row-major; an
element of BYTES is its length in four bytes, then its bytes.
"""

from __future__ import annotations

import math
import struct

import numpy as np

from engine.serving.errors import InvalidInput, MalformedBody, quoted
from engine.serving.tensors.datatypes import NUMPY, Array, Datatype
from engine.serving.transports.bounds import UNLIMITED, check_rows, check_texts

HEADER_LENGTH = b"inference-header-content-length"
BINARY = b"application/octet-stream"
MOST_DIGITS = 18
LENGTH = struct.Struct("<I")


def split(body: bytes, header_length: bytes | None) -> tuple[bytes, memoryview]:
    """Split a body into its JSON part and the tensors behind it.

    Raises:
        MalformedBody: the header's value is not a length within the body.
    """
    if header_length is None:
        return body, memoryview(b"")
    # Python does not read numbers of any length.
    few = header_length.isdigit() and len(header_length) <= MOST_DIGITS
    if not few or int(header_length) > len(body):
        found = quoted(header_length.decode("latin-1"))
        raise MalformedBody(
            f"Inference-Header-Content-Length is {found} and the body has {len(body)} bytes",
            rule="the length of the JSON part, in bytes",
        )
    length = int(header_length)
    return body[:length], memoryview(body)[length:]


def read(
    data: memoryview,
    datatype: Datatype,
    shape: tuple[int, ...],
    field: str,
    max_rows: int = UNLIMITED,
    max_texts: int = UNLIMITED,
) -> Array:
    """An array over the bytes of one tensor; nothing is copied but text.

    Args:
        data: the bytes.
        datatype: of the tensor.
        shape: that passed ``check_shape``.
        field: its name in the request, for messages.
        max_rows: most texts in the first dimension.
        max_texts: most texts.

    Raises:
        InvalidInput: the number of bytes does not fit shape and datatype.
        BodyTooLarge: more rows than allowed.
    """
    size = math.prod(shape)
    if datatype == "BYTES":
        if size * LENGTH.size > data.nbytes:
            raise _wrong_text(field, f"has {data.nbytes} bytes, too few for {size} elements")
        check_rows(shape[0] if shape else 1, max_rows)
        check_texts(size, max_texts, field)
        return _read_text(data, size, field).reshape(shape)
    dtype = NUMPY[datatype].newbyteorder("<")
    if data.nbytes != size * dtype.itemsize:
        raise InvalidInput(
            f"{field} has {data.nbytes} bytes and {datatype}{list(shape)} needs "
            f"{size * dtype.itemsize}",
            field=field,
            rule="as many bytes as shape and datatype need",
        )
    array = np.frombuffer(data, dtype=dtype).reshape(shape)
    # Runtimes read whole words; a tensor behind an odd number of bytes is moved once.
    return array if array.flags.aligned else array.copy()


def write(array: Array) -> bytes | memoryview:
    """The bytes of one tensor; numeric arrays are not copied."""
    if array.dtype.kind == "O":
        parts = [str(value).encode() for value in array.reshape(-1)]
        return b"".join(LENGTH.pack(len(part)) + part for part in parts)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _read_text(data: memoryview, count: int, field: str) -> Array:
    values = np.empty(count, dtype=np.object_)
    position = 0
    for index in range(count):
        start = position + LENGTH.size
        if start > data.nbytes:
            raise _wrong_text(field, f"ends before element {index} of {count}")
        (length,) = LENGTH.unpack_from(data, position)
        position = start + length
        if position > data.nbytes:
            raise _wrong_text(field, f"ends inside element {index} of {count}")
        try:
            values[index] = str(data[start:position], "utf-8")
        except UnicodeDecodeError:
            raise _wrong_text(field, f"has an element {index} that is not UTF-8") from None
    if position != data.nbytes:
        raise _wrong_text(field, f"has {data.nbytes - position} bytes behind its last element")
    return values


def _wrong_text(field: str, what: str) -> InvalidInput:
    return InvalidInput(
        f"{field} {what}", field=field, rule="BYTES: a four-byte length before each element"
    )
