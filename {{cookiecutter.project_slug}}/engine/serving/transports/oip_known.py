"""Requests of the protocol that differ from an earlier one in their values and their id only.

Clients send the same JSON again and again around other numbers. What it says was checked when it
came first, and is kept; then only the values are read.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
import simdjson

from engine.serving.errors import RequestError
from engine.serving.request import Inputs, Request
from engine.serving.tensors.datatypes import NUMPY, Array
from engine.serving.tensors.signature import Signature, TensorSpec
from engine.serving.transports.few import LARGEST
from engine.serving.transports.json_tensor import buffer
from engine.serving.transports.oip_binary import HEADER_LENGTH, split

# What is read on the event loop; reading more takes so long that finding its frame saves nothing.
LARGEST_TEXT: Final = 128 * 1024
# Bounds of what is kept of clients' bytes.
LARGEST_FRAME: Final = 2048
MOST_FRAMES: Final = 256
# The id is repeated in the answer.
MOST_ID_CHARACTERS: Final = 1024
# So many numbers of a table stay Python's: an array of them costs more.
FEW_VALUES: Final = 64
# What stands in a frame for a list and for the id. JSON has no such characters.
LIST: Final = b"\0"
ID: Final = b"\1"
DATA: Final = b'"data"'
BOM: Final = b"\xef\xbb\xbf"


class Wish(NamedTuple):
    """One output that the client asked for, and whether as a binary tensor."""

    name: str
    binary: bool


class Part(NamedTuple):
    """One input of a known request; ``rows`` reads a binary table whose numbers stay Python's, and
    is None where those become an array.
    """

    spec: TensorSpec
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    size: int
    binary: bool
    rows: struct.Struct | None


class Frame(NamedTuple):
    """What a known request says beside its values and its id."""

    parts: tuple[Part, ...]
    wishes: tuple[Wish, ...] | None


class KnownRequests:
    """Remembers the requests for one model and reads those that are like them."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        first = signature.inputs[0]
        one_table = len(signature.inputs) == 1 and signature.batched and len(first.shape) == 2
        # Rows of any width need arrays: only what has one width shares a run.
        is_table = one_table and first.shape[1] > 0 and not first.known
        self._letter = {"FP32": "f", "FP64": "d"}.get(first.datatype, "") if is_table else ""
        self._frames: dict[bytes, Frame] = {}

    def read(self, request: Request, body: bytes) -> bool:
        """Set inputs, wishes and id of a request; whether that was possible."""
        try:
            text, tensors = split(body, request.headers.get(HEADER_LENGTH))
            if len(text) > LARGEST_TEXT:
                return False
            key, lists, name = _cut(text)
            frame = self._frames.get(key)
            if frame is None or len(name) > MOST_ID_CHARACTERS:
                return False
            inputs = _inputs(frame.parts, lists, tensors)
            if inputs is None:
                return False
            request.id = orjson.loads(name) if name else None
        except (ValueError, TypeError, RuntimeError):
            return False
        request.inputs, request.wishes = inputs, frame.wishes
        return True

    def learn(
        self, text: bytes, inputs: Mapping[str, Array], wishes: tuple[Wish, ...] | None
    ) -> None:
        """Remember a request, where another one with its frame can only mean the same.

        Args:
            text: its JSON, which was read and found right.
            inputs: that were read, in its order.
        """
        if len(text) > LARGEST_TEXT:
            return
        key, lists, name = _cut(text)
        if len(key) > LARGEST_FRAME:
            return
        try:
            parts = self._parts(key, len(lists), bool(name), inputs)
        except (ValueError, TypeError, LookupError, RequestError):
            # Something else than lists and the id was cut out.
            return
        if len(self._frames) >= MOST_FRAMES:
            self._frames.clear()
        self._frames[key] = Frame(parts, wishes)

    def _parts(
        self, key: bytes, lists: int, named: bool, inputs: Mapping[str, Array]
    ) -> tuple[Part, ...]:
        """The inputs of a frame, which is read with other lists and another id to see that nothing
        but these were cut out.

        Raises:
            ValueError: more was, or a value is none of this module's.
        """
        pieces = key.removeprefix(BOM).replace(ID, b'"\x7f"').split(LIST)
        marks = [b"[%d]" % number for number in range(lists)]
        marked = [each for pair in zip(pieces, [*marks, b""], strict=True) for each in pair]
        document = orjson.loads(b"".join(marked))
        parts: list[Part] = []
        found: list[Any] = [document.get("id")]
        for entry, array in zip(document["inputs"], inputs.values(), strict=True):
            spec = self._signature.input(entry["name"])
            dtype = NUMPY[spec.datatype]
            if dtype.kind not in "fiu" or not array.size:
                raise ValueError(f"no values of {spec}")
            binary = "data" not in entry
            if not binary:
                found.append(entry["data"])
            few = self._letter and array.size <= FEW_VALUES
            rows = struct.Struct(f"<{array.size}{self._letter}") if few else None
            parts.append(Part(spec, dtype, array.shape, array.size, binary, rows))
        if found != ["\x7f" if named else None, *([number] for number in range(lists))]:
            raise ValueError("not all lists are data")
        return tuple(parts)


def _cut(text: bytes) -> tuple[bytes, list[bytes], bytes]:
    """A request without what seem to be its lists of numbers and its id; those; and the id, with
    its quotation marks.
    """
    pieces: list[bytes] = []
    lists: list[bytes] = []
    at = 0
    while (key := text.find(DATA, at)) >= 0:
        begin = text.find(b"[", key)
        end = text.find(b"]", begin) + 1
        if not 0 < begin < end:
            break
        pieces.append(text[at:begin])
        lists.append(text[begin:end])
        at = end
    pieces.append(text[at:])
    frame, name = LIST.join(pieces), b""
    if (key := frame.find(b'"id"')) >= 0:
        begin = frame.find(b'"', key + 4)
        end = frame.find(b'"', begin + 1) + 1
        if 0 < begin < end:
            name = frame[begin:end]
            frame = frame[:begin] + ID + frame[end:]
    return frame, lists, name


def _inputs(parts: tuple[Part, ...], lists: list[bytes], tensors: memoryview) -> Inputs | None:
    """The inputs of a request, None where one does not fit."""
    values = iter(lists)
    arrays: dict[str, Array] = {}
    for part in parts:
        if part.binary:
            size = part.size * part.dtype.itemsize
            read = _tensor(part, tensors[:size])
            tensors = tensors[size:]
        else:
            read = _numbers(part, next(values, b""))
        if read is None:
            return None
        if isinstance(read, list):
            # The only input.
            return None if tensors else read
        arrays[part.spec.name] = read
    return None if tensors else arrays


def _numbers(part: Part, text: bytes) -> list[list[float]] | Array | None:
    if part.rows is None:
        node = simdjson.Parser().parse(text)
        array = buffer(node, part.spec) if isinstance(node, simdjson.Array) else None
        return array.reshape(part.shape) if array is not None and array.size == part.size else None
    values = orjson.loads(text)
    # Anything but numbers does not compare with them; a truth value does.
    if len(values) != part.size or not -LARGEST < min(values) <= max(values) < LARGEST:
        return None
    if b"e" in text and bool in set(map(type, values)):
        return None
    return _rows(part, values)


def _tensor(part: Part, data: memoryview) -> list[list[float]] | Array | None:
    if data.nbytes != part.size * part.dtype.itemsize:
        return None
    if part.rows is not None:
        values = list(part.rows.unpack(data))
        return _rows(part, values) if math.isfinite(sum(values)) else None
    array = np.frombuffer(data, part.dtype.newbyteorder("<")).reshape(part.shape)
    # Runtimes read whole words; a tensor behind an odd number of bytes is moved once.
    return array if array.flags.aligned else array.copy()


def _rows(part: Part, values: list[float]) -> list[list[float]]:
    width = part.shape[1]
    if part.size == width:
        return [values]
    return [values[at : at + width] for at in range(0, part.size, width)]
