"""Answers of the protocol: those of requests that shared a run are written together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import orjson

from engine.serving.answer import JSON, USUAL, Answer, Headers
from engine.serving.inference.arrays import views
from engine.serving.request import Request
from engine.serving.tensors.datatypes import Array, datatype_of
from engine.serving.transports import oip_binary
from engine.serving.transports.answer_size import check_answer
from engine.serving.transports.bounds import UNLIMITED
from engine.serving.transports.few import cut, json_of, json_parts
from engine.serving.transports.oip_binary import BINARY, HEADER_LENGTH
from engine.serving.transports.oip_known import Wish

# In bytes; whatever is larger is not copied.
SMALL: Final = 1 << 18


class Writer:
    """Writes the answers of one model.

    Args:
        outputs: of the model, in its order.
        limit: most bytes of outputs in an answer.
    """

    def __init__(
        self, name: str, version: str, outputs: Sequence[str], limit: int = UNLIMITED
    ) -> None:
        self._limit = limit
        self._usual = tuple(Wish(each, False) for each in outputs)
        described = orjson.dumps({"model_name": name, "model_version": version})
        self._begin = _plain(described[:-1]) + b',"outputs":['

    def write(self, outputs: dict[str, Array], requests: Sequence[Request]) -> list[Answer]:
        """See ``Encode``."""
        wishes = requests[0].wishes
        if all(each.wishes is wishes or each.wishes == wishes for each in requests):
            return self._alike(outputs, requests, wishes or self._usual)
        parts = zip(views(outputs, requests), requests, strict=True)
        return [self._alike(part, [each], each.wishes or self._usual)[0] for part, each in parts]

    def _alike(
        self, outputs: Mapping[str, Array], requests: Sequence[Request], wishes: Sequence[Wish]
    ) -> list[Answer]:
        """The answers to requests that want the same."""
        rows = [each.rows for each in requests]
        check_answer([outputs[wish.name] for wish in wishes], rows, self._limit)
        forms: list[bytes] = []
        # What differs between the answers, in the order of the form.
        columns: list[Sequence[Any]] = []
        tensors: list[Sequence[bytes | memoryview]] = []
        for name, binary in wishes:
            array = outputs[name]
            sizes = [b"%d" % size for size in array.shape]
            if len(rows) > 1:
                sizes[0] = b"%d"
                columns.append(rows)
            form = b'{"name":%b,"shape":[%b],"datatype":"%b",' % (
                _plain(orjson.dumps(name)),
                b",".join(sizes),
                datatype_of(array).encode(),
            )
            if binary:
                pieces = _bytes_of(array, rows)
                forms.append(form + b'"parameters":{"binary_data_size":%d}}')
                columns.append([len(piece) for piece in pieces])
                tensors.append(pieces)
            else:
                forms.append(form + b'"data":[%b]}')
                columns.append(_values_of(array, rows))
        form = self._begin + b",".join(forms) + b"]"
        texts = [
            form % values + (b"}" if each.id is None else b',"id":%b}' % orjson.dumps(each.id))
            for values, each in zip(zip(*columns, strict=True), requests, strict=True)
        ]
        if not tensors:
            return [(200, USUAL, [text]) for text in texts]
        return [
            (200, _headers(len(text)), [text, *pieces])
            for text, pieces in zip(texts, zip(*tensors, strict=True), strict=True)
        ]


@lru_cache(maxsize=256)
def _headers(length: int) -> Headers:
    """The headers of an answer whose JSON has so many bytes, with tensors behind it."""
    return (JSON[0], BINARY), (HEADER_LENGTH, b"%d" % length)


def _values_of(array: Array, rows: Sequence[int]) -> list[bytes]:
    """The values of each request, flat, as JSON without brackets."""
    if len(rows) == 1 or array.dtype.kind == "O" or not array.size:
        return [json_of(part.reshape(-1))[1:-1] for part in cut(array, rows)]
    texts = json_parts(array.reshape(len(array), -1), rows)
    return [text[2:-2].replace(b"],[", b",") for text in texts]


def _bytes_of(array: Array, rows: Sequence[int]) -> list[bytes | memoryview]:
    """The bytes of each request's rows; numbers are not copied."""
    if len(rows) == 1 or array.dtype.kind == "O":
        return [oip_binary.write(part) for part in cut(array, rows)]
    step = array.nbytes // len(array)
    data = oip_binary.write(array)
    # Pieces of bytes are made faster than views.
    whole = bytes(data) if len(data) <= SMALL else data
    return cut(whole, [count * step for count in rows])


def _plain(text: bytes) -> bytes:
    """Text of a format that stands for itself."""
    return text.replace(b"%", b"%%")
