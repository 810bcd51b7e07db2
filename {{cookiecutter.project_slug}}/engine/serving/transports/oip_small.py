"""Small requests of the protocol, and their answers: read by orjson, kept as Python's numbers until
a whole batch becomes one array, and written once for a batch.

Everything here has an exact double in ``oip``, which takes over wherever this does not fit.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from engine.serving.answer import JSON, USUAL, Answer, Headers
from engine.serving.request import Request
from engine.serving.tensors.datatypes import NUMPY, Array, datatype_of
from engine.serving.tensors.signature import Signature, TensorSpec
from engine.serving.transports.few import LARGEST
from engine.serving.transports.oip_binary import BINARY, HEADER_LENGTH

# Beyond this the exact way is as fast.
SMALL_BYTES: Final = 2048
# In bytes; whatever is larger is copied less the exact way.
SMALL_OUTPUT: Final = 1 << 18
ENTRY: Final = frozenset(("name", "shape", "datatype"))
TOP: Final = frozenset(("inputs", "outputs", "id", "parameters"))
MOST_ID: Final = 1024
MOST_TABLES: Final = 256
DATA: Final = b'"data"'
JSON_KINDS: Final = "fiu"


class Wish(NamedTuple):
    """One output that the client asked for, and whether as a binary tensor."""

    name: str
    binary: bool


class Unfit(Exception):
    """The exact way has to look."""


class SmallReader:
    """Reads small requests for one model.

    Args:
        max_rows: most rows of a request.
    """

    def __init__(self, signature: Signature, max_rows: int) -> None:
        self._specs = {spec.name: spec for spec in signature.inputs}
        self._outputs = tuple(spec.name for spec in signature.outputs)
        first = signature.inputs[0]
        # Rows of one table of numbers need no array of their own.
        self._table = len(self._specs) == 1 and signature.batched and len(first.shape) == 2
        self._max_rows = max_rows if signature.batched else 1 << 60
        self._all_binary = tuple(Wish(each, True) for each in self._outputs)
        # How struct calls the numbers of a table. Rows of any width need arrays: only what has one
        # width shares a run.
        rows = self._table and first.shape[1] > 0
        self._letter = {"FP32": "f", "FP64": "d"}.get(first.datatype) if rows else None
        self._first = first
        # What the JSON before a binary table says, or that around the numbers of a table: it is
        # the same for all tables of one shape.
        self._tables: dict[bytes, tuple[list[int], tuple[Wish, ...] | None]] = {}
        self._fits = all(NUMPY[spec.datatype].kind in JSON_KINDS for spec in signature.inputs)

    def read(self, request: Request, body: bytes) -> bool:
        """Set inputs, wishes and id of a request; whether that was possible."""
        if not self._fits or len(body) > SMALL_BYTES:
            return False
        length = request.headers.get(HEADER_LENGTH)
        try:
            text, tensors = (body, b"") if length is None else _split(body, length)
            # Escapes could hide a key that is given twice.
            if b"\\" in text:
                return False
            self._take(request, text, tensors)
        except (Unfit, ValueError, TypeError, LookupError, AttributeError, struct.error):
            return False
        return True

    def _take(self, request: Request, text: bytes, tensors: bytes) -> None:
        if tensors and text in self._tables:
            shape, request.wishes = self._tables[text]
            request.id = None
            request.inputs = self._table_of(tensors, shape)
            return
        around, numbers = _around(text) if self._letter is not None else (b"", b"")
        if around in self._tables:
            shape, request.wishes = self._tables[around]
            request.id = None
            values = orjson.loads(numbers)
            if len(values) != shape[0] * shape[1]:
                raise Unfit
            request.inputs = self._numbers(values, shape, self._first, truths=b"e" in numbers)
            return
        document = orjson.loads(text)
        # Among numbers a truth value compares like one.
        truths = b"true" in text or b"false" in text
        if not document.keys() <= TOP:
            raise Unfit
        entries = document["inputs"]
        if len(entries) != len(self._specs):
            raise Unfit
        # A key that is given twice has more quotation marks than what was read.
        strings = len(document)
        arrays: dict[str, Any] = {}
        tensors_are_all = bool(tensors)
        for entry in entries:
            strings += self._entry(entry, arrays, tensors, truths=truths)
            tensors = arrays.pop("", tensors)
        if tensors or len(arrays) != len(self._specs):
            raise Unfit
        request_id, wishes = None, None
        if len(document) > 1:
            if "id" in document:
                request_id = document["id"]
                if type(request_id) is not str or len(request_id) > MOST_ID:
                    raise Unfit
                strings += 1
            wishes, more = self._wishes(document)
            strings += more
        if text.count(b'"') != 2 * strings:
            raise Unfit
        request.id, request.wishes = request_id, wishes
        if request_id is None and self._letter is not None and (tensors_are_all or around):
            if len(self._tables) >= MOST_TABLES:
                self._tables.clear()
            self._tables[text if tensors_are_all else around] = entries[0]["shape"], wishes
        request.inputs = next(iter(arrays.values())) if self._table else arrays

    def _entry(
        self, entry: dict[str, Any], arrays: dict[str, Any], tensors: bytes, *, truths: bool
    ) -> int:
        """Read one input; how many strings it has. Tensors that are left are under ``""``."""
        name = entry["name"]
        spec = self._specs[name]
        shape = entry["shape"]
        if name in arrays or entry["datatype"] != spec.datatype or len(entry) != 4:
            raise Unfit
        size = 1
        for number in shape:
            if type(number) is not int or number < 1:
                raise Unfit
            size *= number
        if size > SMALL_BYTES or not spec.fits(tuple(shape)) or shape[0] > self._max_rows:
            raise Unfit
        if "data" in entry:
            values = entry["data"]
            if len(values) != size:
                raise Unfit
            arrays[name] = self._numbers(values, shape, spec, truths=truths)
            return 6
        parameters = entry["parameters"]
        count = parameters["binary_data_size"]
        dtype = NUMPY[spec.datatype]
        if len(parameters) != 1 or type(count) is not int or count != size * dtype.itemsize:
            raise Unfit
        piece = tensors[:count]
        if len(piece) != count:
            raise Unfit
        arrays[name] = self._tensor(piece, shape, dtype)
        arrays[""] = tensors[count:]
        return 7

    def _numbers(
        self, values: list[Any], shape: list[int], spec: TensorSpec, *, truths: bool
    ) -> Any:
        dtype = NUMPY[spec.datatype]
        # Anything but numbers does not compare with them; a truth value does.
        lowest, highest = min(values), max(values)
        if dtype.kind == "f":
            if not -LARGEST < lowest <= highest < LARGEST:
                raise Unfit
            if truths and bool in set(map(type, values)):
                raise Unfit
            if self._letter is not None:
                return _rows(values, shape[1])
        else:
            limits = np.iinfo(dtype)
            if set(map(type, values)) != {int} or lowest < limits.min or highest > limits.max:
                raise Unfit
        array = np.array(values, dtype).reshape(shape)
        return {spec.name: array} if self._table else array

    def _tensor(self, piece: bytes, shape: list[int], dtype: np.dtype[Any]) -> Any:
        if self._letter is not None:
            return self._table_of(piece, shape)
        array = np.frombuffer(piece, dtype.newbyteorder("<")).reshape(shape)
        return {next(iter(self._specs)): array} if self._table else array

    def _table_of(self, piece: bytes, shape: list[int]) -> list[list[float]]:
        rows, width = shape
        values = list(struct.unpack(f"<{rows * width}{self._letter}", piece))
        if not math.isfinite(sum(values)):
            raise Unfit
        return _rows(values, width)

    def _wishes(self, document: Mapping[str, Any]) -> tuple[tuple[Wish, ...] | None, int]:
        """The outputs that are wanted, None for all as JSON; and the strings that say so."""
        strings, all_binary = 0, False
        if "parameters" in document:
            parameters = document["parameters"]
            all_binary = parameters["binary_data_output"]
            if type(all_binary) is not bool or len(parameters) != 1:
                raise Unfit
            strings += 1
        wishes: dict[str, Wish] = {}
        for entry in document.get("outputs", ()):
            name, binary = entry["name"], all_binary
            if name in wishes or name not in self._outputs:
                raise Unfit
            strings += 2
            if len(entry) > 1:
                parameters = entry["parameters"]
                binary = parameters["binary_data"]
                if type(binary) is not bool or len(parameters) != 1 or len(entry) != 2:
                    raise Unfit
                strings += 2
            wishes[name] = Wish(name, binary)
        if "outputs" in document and not wishes:
            raise Unfit
        if not wishes and not all_binary:
            return None, strings
        return tuple(wishes.values()) or self._all_binary, strings


class SmallWriter:
    """Writes the answers of requests that shared a run.

    Args:
        outputs: of the model, in its order.
    """

    def __init__(self, name: str, version: str, outputs: Sequence[str]) -> None:
        self._outputs = outputs
        described = orjson.dumps({"model_name": name, "model_version": version})
        self._begin = _plain(described[:-1]) + b',"outputs":['

    def write(
        self, outputs: Mapping[str, Array], requests: Sequence[Request]
    ) -> list[Answer] | None:
        """The answers; None where the exact way has to write them."""
        wishes = requests[0].wishes
        if any(each.wishes is not wishes and each.wishes != wishes for each in requests):
            return None
        total = sum(each.rows for each in requests)
        forms: list[bytes] = []
        columns: list[Sequence[Any]] = []
        tensors: list[Sequence[bytes]] = []
        single = total == len(requests)
        rows: Sequence[int] = [1] * total if single else [each.rows for each in requests]
        for name, binary in self._wanted(wishes):
            array = outputs[name]
            if array.shape[:1] != (total,) or array.dtype.kind not in JSON_KINDS or not array.size:
                return None
            if array.nbytes > SMALL_OUTPUT:
                return None
            form = b'{"name":%b,"shape":[%%d%b],"datatype":"%b",' % (
                _plain(orjson.dumps(name)),
                b"".join([b",%d" % size for size in array.shape[1:]]),
                datatype_of(array).encode(),
            )
            columns.append(rows)
            if binary:
                pieces = _bytes_of(array, rows)
                forms.append(form + b'"parameters":{"binary_data_size":%d}}')
                columns.append([len(piece) for piece in pieces])
                tensors.append(pieces)
            else:
                forms.append(form + b'"data":[%b]}')
                columns.append(_flat_json(array, rows))
        form = self._begin + b",".join(forms) + b"]"
        texts = [
            form % values + (b"}" if each.id is None else b',"id":%b}' % orjson.dumps(each.id))
            for values, each in zip(zip(*columns, strict=True), requests, strict=True)
        ]
        if not tensors:
            return [(200, USUAL, [text]) for text in texts]
        return [
            (200, binary_headers(len(text)), [b"".join((text, *pieces))])
            for text, pieces in zip(texts, zip(*tensors, strict=True), strict=True)
        ]

    def _wanted(self, wishes: tuple[Wish, ...] | None) -> Sequence[tuple[str, bool]]:
        return [(name, False) for name in self._outputs] if wishes is None else wishes


def binary_headers(length: int) -> Headers:
    """The headers of an answer whose JSON has so many bytes, with tensors behind it."""
    return (JSON[0], BINARY), (HEADER_LENGTH, b"%d" % length)


def _split(body: bytes, length: bytes) -> tuple[bytes, bytes]:
    # Of a body so small its length has at most four digits.
    if not length.isdigit() or len(length) > 4 or int(length) > len(body):
        raise Unfit
    end = int(length)
    return body[:end], body[end:]


def _flat_json(array: Array, rows: Sequence[int]) -> list[bytes]:
    """The numbers of each request, flat, without brackets."""
    flat = np.ascontiguousarray(array).reshape(len(array), -1)
    text = orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].split(b"],[")
    if len(text) == len(rows):
        return text
    parts, start = [], 0
    for count in rows:
        parts.append(b",".join(text[start : start + count]))
        start += count
    return parts


def _bytes_of(array: Array, rows: Sequence[int]) -> list[bytes]:
    """The bytes of each request's rows."""
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    step = len(data) // len(array)
    parts, start = [], 0
    for count in rows:
        stop = start + count * step
        parts.append(data[start:stop])
        start = stop
    return parts


def _plain(text: bytes) -> bytes:
    """Text of a format that stands for itself."""
    return text.replace(b"%", b"%%")


def _around(text: bytes) -> tuple[bytes, bytes]:
    """A request without its flat list of numbers, and the list; nothing where that is unclear."""
    if text.count(DATA) != 1:
        return b"", b""
    begin = text.find(b"[", text.find(DATA))
    end = text.find(b"]", begin) + 1
    if not 0 < begin < end:
        return b"", b""
    # With its bracket, so that it can only have stood there.
    return text[: begin + 1] + text[end:], text[begin:end]


def _rows(values: list[Any], width: int) -> list[list[Any]]:
    if len(values) == width:
        return [values]
    return [values[at : at + width] for at in range(0, len(values), width)]
