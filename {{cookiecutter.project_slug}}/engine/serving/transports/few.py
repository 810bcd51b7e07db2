"""Small requests and answers, without an array for each: few numbers stay Python's until a whole
batch of them becomes one array, and what a batch gave is written once and then cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from engine.serving.tensors.datatypes import Array
from engine.serving.tensors.signature import Signature

# Beyond this the buffers of ``json_tensor`` are faster.
FEW_BYTES = 512
# Whatever is smaller is finite in every datatype read here, and read alike by every JSON parser.
LARGEST = 2.0**62
READ = ("FP32", "FP64")
# Writing so many takes some milliseconds.
PIECE_VALUES = 64 * 1024


class FewRows:
    """Reads small bodies ``{"data": [[...], ...]}`` for a model with one table of numbers."""

    def __init__(self, signature: Signature) -> None:
        first = signature.inputs[0]
        fits = len(signature.inputs) == 1 and signature.batched and len(first.shape) == 2
        readable = fits and first.datatype in READ and first.shape[1] > 0 and not first.known
        self._width = first.shape[1] if readable else 0

    def read(self, body: bytes) -> list[list[float]] | None:
        """The rows, which then fit the signature; None where the exact way has to look."""
        # Two quotation marks: only one key, written as it is.
        if not self._width or len(body) > FEW_BYTES or body.count(b'"') != 2:
            return None
        try:
            rows: list[list[float]] = orjson.loads(body)["data"]
            for row in rows:
                # Anything but numbers does not compare with them; a truth value does.
                if len(row) != self._width or not -LARGEST < min(row) <= max(row) < LARGEST:
                    return None
        except (ValueError, TypeError, LookupError):
            return None
        if not rows or type(rows) is not list or b"true" in body or b"false" in body:
            return None
        return rows


def json_of(array: Array) -> bytes:
    """An array as JSON. Numbers are written in pieces: each holds Python's lock."""
    # orjson knows numbers of any dimensions but none.
    if array.dtype.kind == "O" or array.ndim == 0:
        return orjson.dumps(array.tolist())
    if array.size <= PIECE_VALUES:
        whole = array if array.flags.c_contiguous else array.copy()
        return orjson.dumps(whole, option=orjson.OPT_SERIALIZE_NUMPY)
    values = array.size // len(array)
    if values > PIECE_VALUES:
        return b"[%b]" % b",".join([json_of(row) for row in array])
    step = PIECE_VALUES // values
    pieces = [json_of(array[at : at + step])[1:-1] for at in range(0, len(array), step)]
    return b"[%b]" % b",".join(pieces)


def json_parts(array: Array, rows: Sequence[int]) -> list[bytes]:
    """An output of a run as JSON, one text for each request; written once and then cut.

    Args:
        rows: of each request; their sum is the array's. Of a single one they do not count.
    """
    if len(rows) == 1 or array.dtype.kind == "O" or not array.size:
        return [json_of(part) for part in cut(array, rows)]
    begin, end = b"[" * array.ndim, b"]" * array.ndim
    # Between two rows, and nowhere within one.
    between = b"%b,%b" % (end[1:], begin[1:])
    lines = json_of(array)[array.ndim : -array.ndim].split(between)
    if len(lines) > len(rows):
        lines = [between.join(part) for part in cut(lines, rows)]
    return [b"%b%b%b" % (begin, line, end) for line in lines]


def cut(whole: Any, sizes: Sequence[int]) -> list[Any]:
    """Consecutive slices of these lengths; a single one is the whole, whatever its length."""
    if len(sizes) == 1:
        return [whole]
    parts, start = [], 0
    for size in sizes:
        parts.append(whole[start : start + size])
        start += size
    return parts
