"""`POST /predict` and `/predict/{name}`: the contract that the tutorials of this field teach.

Request: ``{"data": [[5.9, 3.0, 5.1, 1.8]]}``, or one flat row, or ``{"data": {"name": [...]}}``
for a model with several inputs, or ``{"data": [{"column": value, ...}]}`` for a table. Answer:
``{"predictions": [2], ...}``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import simdjson

from engine.serving.answer import USUAL, Answer
from engine.serving.errors import InvalidInput
from engine.serving.inference.arrays import views
from engine.serving.inference.model import Model
from engine.serving.package.manifest import OutputTensor
from engine.serving.request import Encode, Request
from engine.serving.tensors.datatypes import Array
from engine.serving.transports.bounds import UNLIMITED, check_keys, check_values, row_limit
from engine.serving.transports.few import FewRows, json_of, json_rows
from engine.serving.transports.json_body import opening_brackets, parse_object
from engine.serving.transports.json_tensor import nested_tensor
from engine.serving.transports.records import (
    are_records,
    as_arrays,
    from_columns,
    is_column,
    is_one_table,
)

FEW = 32


def decode(
    body: bytes, model: Model, max_rows: int = UNLIMITED, max_values: int = UNLIMITED
) -> dict[str, Array]:
    """Read the named arrays of a request.

    Args:
        body: the whole body.
        model: the model that is asked.
        max_rows: most rows allowed in one request.
        max_values: most values.

    Raises:
        MalformedBody: not a JSON object.
        InvalidInput: no ``data``, or its values do not fit the signature.
        BodyTooLarge: more rows than allowed.
    """
    most = row_limit(model, max_rows)
    check_values(body, model.signature, most, max_values)
    document = check_keys(parse_object(body), "")
    if "data" not in document:
        raise InvalidInput(
            f'"data" is missing; send for example {short_example(model)}',
            field="data",
            rule='an object with the key "data"',
        )
    data = document["data"]
    specs = model.signature.inputs
    # With the lists of other fields counted too, the fast way is merely not taken.
    brackets = opening_brackets(body)
    if is_one_table(data, model):
        document = from_columns(data, model, most)
        data, brackets = document["data"], -1
    if are_records(data, model):
        document = as_arrays(data, model, most)
        data, brackets = document["data"], -1
    if isinstance(data, simdjson.Object):
        arrays: dict[str, Array] = {}
        if len(data) > 1:
            brackets = -1
        # Not by items(), which makes Python objects of all that is within.
        for name in check_keys(data, "data", len(specs)):
            spec = model.signature.input(name)
            arrays[name] = nested_tensor(data[name], spec, f"data.{name}", brackets, most)
        return arrays
    if len(specs) > 1:
        names = ", ".join(repr(spec.name) for spec in specs)
        raise InvalidInput(
            f'the model takes {len(specs)} inputs: "data" must be an object with {names}; send for '
            f"example {short_example(model)}",
            field="data",
        )
    return {specs[0].name: nested_tensor(data, specs[0], "data", brackets, most)}


def encode(outputs: Mapping[str, Array], model: Model) -> bytes:
    """The JSON answer: the first output as ``predictions``, the others under their names."""
    first, *others = model.manifest.outputs
    predictions = outputs[first.name]
    answer: dict[str, Any] = {"predictions": _jsonable(predictions)}
    if first.labels and counts_classes(first):
        labels, count = first.labels, len(first.labels)
        answer["labels"] = [
            labels[value] if 0 <= value < count else None
            for value in predictions.reshape(-1).tolist()
        ]
    if others:
        answer["outputs"] = {each.name: _jsonable(outputs[each.name]) for each in others}
    answer["model"] = model.name
    answer["version"] = model.manifest.version
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def counts_classes(output: OutputTensor) -> bool:
    """Whether the values are numbers of classes; else labels name the columns."""
    return output.datatype.startswith(("INT", "UINT"))


class Codec:
    """Reads and writes requests of the contract for one model."""

    def __init__(
        self, model: Model, max_rows: int = UNLIMITED, max_values: int = UNLIMITED
    ) -> None:
        self._model = model
        self._most = max_rows, max_values
        self._few = FewRows(model.signature)
        first, *others = model.manifest.outputs
        self._first = first.name
        labels = first.labels if counts_classes(first) else ()
        self._labels = [orjson.dumps(label) for label in labels]
        self._others = [(orjson.dumps(each.name), each.name) for each in others]
        model_of = orjson.dumps({"model": model.name, "version": model.manifest.version})
        self._end = b"," + model_of[1:]

        # One object, by which a batch sees that all of it is encoded alike.
        self.encode: Encode = self._answers

    def decode(self, request: Request, body: bytes) -> None:
        """Set what the request asks; see ``decode``."""
        request.inputs = self._few.read(body) or decode(body, self._model, *self._most)
        request.encode = self.encode

    def _answers(self, outputs: dict[str, Array], requests: Sequence[Request]) -> list[Answer]:
        """See ``Encode``."""
        return [(200, USUAL, [body]) for body in self.encode_each(outputs, requests)]

    def encode_each(self, outputs: dict[str, Array], requests: Sequence[Request]) -> list[bytes]:
        """The answer to each of the requests that shared a run; the same as ``encode`` gives.

        Args:
            outputs: of the run.
        """
        fast = self._fast(outputs, [each.rows for each in requests])
        if fast is not None:
            return fast
        return [encode(part, self._model) for part in views(outputs, requests)]

    def _fast(self, outputs: dict[str, Array], sizes: Sequence[int]) -> list[bytes] | None:
        predictions = outputs[self._first]
        rows = (sum(sizes),)
        if predictions.shape[:1] != rows:
            return None
        columns = [json_rows(predictions, sizes)]
        form = b'{"predictions":%b'
        if self._labels:
            if predictions.ndim != 1 or predictions.dtype.kind not in "iu":
                return None
            columns.append(self._labelled(predictions, sizes))
            form += b',"labels":%b'
        for position, (key, name) in enumerate(self._others):
            if outputs[name].shape[:1] != rows:
                return None
            columns.append(json_rows(outputs[name], sizes))
            form += b"," if position else b',"outputs":{'
            form += key.replace(b"%", b"%%") + b":%b"
        if self._others:
            form += b"}"
        form += self._end.replace(b"%", b"%%")
        present = [column for column in columns if column is not None]
        if len(present) < len(columns):
            return None
        return [form % values for values in zip(*present, strict=True)]

    def _labelled(self, predictions: Array, sizes: Sequence[int]) -> list[bytes]:
        labels, count = self._labels, len(self._labels)
        each = [labels[value] if 0 <= value < count else b"null" for value in predictions.tolist()]
        if len(each) == len(sizes):
            return [b"[%b]" % label for label in each]
        parts, start = [], 0
        for size in sizes:
            parts.append(b"[%b]" % b",".join(each[start : start + size]))
            start += size
        return parts


def example(model: Model) -> str:
    """A request body that works: a golden sample, as JSON text."""
    rows = dict(model.package.golden.inputs)
    if model.signature.batched:
        rows = {name: value[model.sample :][:1] for name, value in rows.items()}
    data: Any = {
        spec.name: _jsonable(rows[spec.name].reshape(-1) if is_column(spec) else rows[spec.name])
        for spec in model.signature.inputs
    }
    if len(data) == 1:
        (data,) = data.values()
    return orjson.dumps({"data": data}, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def short_example(model: Model) -> str:
    """``example``, or where to find it when it is longer than a message."""
    values = sum(math.prod(map(abs, spec.shape[1:])) for spec in model.signature.inputs)
    return example(model) if values <= FEW else f'{{"data": ...}} as /docs shows for {model.name!r}'


def _jsonable(array: Array) -> Any:
    """What orjson writes fastest: contiguous floats as they are, for it knows their shortest
    digits; text and a few whole numbers as a list, and so what has no dimension, which it does not
    know.
    """
    kind = array.dtype.kind
    if array.ndim == 0 or kind == "O" or (kind in "iu" and array.size <= FEW):
        return array.tolist()
    return orjson.Fragment(json_of(array))
