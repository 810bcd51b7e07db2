"""`POST /predict` and `/predict/{name}`: the contract that the tutorials of this field teach.

Request: ``{"data": [[5.9, 3.0, 5.1, 1.8]]}``, or one flat row, or ``{"data": {"name": [...]}}``
for a model with several inputs, or ``{"data": [{"column": value, ...}]}`` for a table. Answer:
``{"predictions": [2], ...}``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import orjson
import simdjson

from engine.serving.answer import USUAL, Answer
from engine.serving.errors import InvalidInput
from engine.serving.inference.model import Model
from engine.serving.package.manifest import OutputTensor
from engine.serving.request import Encode, Request
from engine.serving.tensors.datatypes import Array
from engine.serving.transports.bounds import UNLIMITED, check_keys, check_values, row_limit
from engine.serving.transports.few import FewRows, cut, json_of, json_parts
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
        self._first, *self._others = (each.name for each in (first, *others))
        labels = first.labels if counts_classes(first) else ()
        self._labels = [orjson.dumps(label) for label in labels]
        keys = [orjson.dumps(name).replace(b"%", b"%%") + b":%b" for name in self._others]
        named = orjson.dumps({"model": model.name, "version": model.manifest.version})
        self._form = b'{"predictions":%b'
        self._form += b',"labels":%b' if labels else b""
        self._form += b',"outputs":{%b}' % b",".join(keys) if others else b""
        self._form += b"," + named[1:].replace(b"%", b"%%")
        # One object, by which a batch sees that all of it is encoded alike.
        self.encode: Encode = self._answers

    def decode(self, request: Request, body: bytes) -> None:
        """Set what the request asks; see ``decode``."""
        request.inputs = self._few.read(body) or decode(body, self._model, *self._most)
        request.encode = self.encode

    def _answers(self, outputs: dict[str, Array], requests: Sequence[Request]) -> list[Answer]:
        """See ``Encode``: the first output as ``predictions``, the others under their names."""
        rows = [each.rows for each in requests]
        predictions = outputs[self._first]
        columns = [json_parts(predictions, rows)]
        if self._labels:
            columns.append(self._labelled(predictions, rows))
        columns += [json_parts(outputs[name], rows) for name in self._others]
        texts = zip(*columns, strict=True)
        return [(200, USUAL, [self._form % values]) for values in texts]

    def _labelled(self, predictions: Array, rows: Sequence[int]) -> list[bytes]:
        labels, count = self._labels, len(self._labels)
        values = predictions.reshape(-1).tolist()
        each = [labels[value] if 0 <= value < count else b"null" for value in values]
        width = len(each) // max(1, sum(rows))
        parts = cut(each, [size * width for size in rows])
        return [b"[%b]" % b",".join(part) for part in parts]


def example(model: Model) -> str:
    """A request body that works: a golden sample, as JSON text."""
    rows = dict(model.package.golden.inputs)
    if model.signature.batched:
        rows = {name: value[model.sample :][:1] for name, value in rows.items()}
    data: Any = {
        spec.name: orjson.Fragment(
            json_of(rows[spec.name].reshape(-1) if is_column(spec) else rows[spec.name])
        )
        for spec in model.signature.inputs
    }
    if len(data) == 1:
        (data,) = data.values()
    return orjson.dumps({"data": data}).decode()


def short_example(model: Model) -> str:
    """``example``, or where to find it when it is longer than a message."""
    values = sum(math.prod(map(abs, spec.shape[1:])) for spec in model.signature.inputs)
    return example(model) if values <= FEW else f'{{"data": ...}} as /docs shows for {model.name!r}'
