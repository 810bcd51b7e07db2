"""`POST /predict` and `/predict/{name}`: the contract that the tutorials of this field teach.

Request: ``{"data": [[5.9, 3.0, 5.1, 1.8]]}``, or one flat row, or ``{"data": {"name": [...]}}``
for a model with several inputs, or ``{"data": [{"column": value, ...}]}`` for a table. With
``"by_name": true`` beside it, columns that are classes are answered as objects with their names.
Answer: ``{"predictions": [2], ...}``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import simdjson

from engine.serving.answer import USUAL, Answer
from engine.serving.errors import InvalidInput
from engine.serving.inference.model import Model
from engine.serving.package.manifest import OutputTensor, tells_class
from engine.serving.request import Encode, Request
from engine.serving.tensors.datatypes import Array
from engine.serving.transports.answer_size import check_answer, check_names
from engine.serving.transports.bounds import UNLIMITED, check_keys, check_values, row_limit
from engine.serving.transports.classes import by_name, names_columns, numbers_of
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
BY_NAME = "by_name"
# An output of a run as JSON, for each of its requests.
Write = Callable[[OutputTensor, Array, Sequence[int]], list[bytes]]


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
    return _read(body, model, max_rows, max_values)[0]


def _read(
    body: bytes, model: Model, max_rows: int, max_values: int
) -> tuple[dict[str, Array], bool]:
    """See ``decode``; and whether the answer names classes."""
    most = row_limit(model, max_rows)
    check_values(body, model.signature, most, max_values)
    document = check_keys(parse_object(body), "")
    # simdjson takes 2 us to say that a key is not there.
    named = len(document) > 1 and BY_NAME in document and _wants_names(document[BY_NAME], model)
    return _arrays(document, body, model, most), named


def _wants_names(value: Any, model: Model) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f'"{BY_NAME}" must be true or false', field=BY_NAME)
    outputs = [each for each in model.manifest.outputs if names_columns(each)]
    if value and not outputs:
        raise InvalidInput(
            f'"{BY_NAME}": the model names no classes of columns; leave it out, or package the '
            "model with --labels",
            field=BY_NAME,
            rule="an output with a column for each class, and labels",
        )
    if value and any(len(set(each.labels)) < len(each.labels) for each in outputs):
        raise InvalidInput(
            f'"{BY_NAME}": two classes have the same name; leave it out',
            field=BY_NAME,
            rule="classes of different names",
        )
    return value


def _arrays(document: simdjson.Object, body: bytes, model: Model, most: int) -> dict[str, Array]:
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


def _as_it_is(_: OutputTensor, values: Array, rows: Sequence[int]) -> list[bytes]:
    return json_parts(values, rows)


def _by_name(output: OutputTensor, values: Array, rows: Sequence[int]) -> list[bytes]:
    objects = by_name(output, values)
    if objects is None:
        return json_parts(values, rows)
    return [orjson.dumps(part, option=orjson.OPT_SERIALIZE_NUMPY) for part in cut(objects, rows)]


class Codec:
    """Reads and writes requests of the contract for one model."""

    def __init__(
        self,
        model: Model,
        max_rows: int = UNLIMITED,
        max_values: int = UNLIMITED,
        max_answer: int = UNLIMITED,
    ) -> None:
        self._model = model
        self._most = max_rows, max_values
        self._max_answer = max_answer
        self._few = FewRows(model.signature)
        self._first, *self._others = model.manifest.outputs
        labels = self._first.labels if tells_class(self._first) else ()
        self._labels = [orjson.dumps(label) for label in labels]
        keys = [orjson.dumps(each.name).replace(b"%", b"%%") + b":%b" for each in self._others]
        named = orjson.dumps({"model": model.name, "version": model.manifest.version})
        others = b',"outputs":{%b}' % b",".join(keys) if keys else b""
        end = others + b"," + named[1:].replace(b"%", b"%%")
        self._form = b'{"predictions":%b' + end
        self._form_with_labels = b'{"predictions":%b,"labels":%b' + end
        # One object each, by which a batch sees that all of it is encoded alike.
        self.encode: Encode = self._answers
        self._encode_by_name: Encode = self._answers_by_name

    def decode(self, request: Request, body: bytes) -> None:
        """Set what the request asks; see ``decode``."""
        request.encode = self.encode
        few = self._few.read(body)
        if few is not None:
            request.inputs = few
            return
        request.inputs, named = _read(body, self._model, *self._most)
        if named:
            request.encode = self._encode_by_name

    def _answers_by_name(
        self, outputs: dict[str, Array], requests: Sequence[Request]
    ) -> list[Answer]:
        """See ``Encode``: as ``_answers``, with the name of its class beside each value."""
        rows = [each.rows for each in requests]
        check_names(self._model.manifest.outputs, outputs, rows, self._max_answer)
        return self._answers(outputs, requests, _by_name)

    def _answers(
        self, outputs: dict[str, Array], requests: Sequence[Request], write: Write = _as_it_is
    ) -> list[Answer]:
        """See ``Encode``: the first output as ``predictions``, the others under their names."""
        rows = [each.rows for each in requests]
        check_answer(list(outputs.values()), rows, self._max_answer)
        predictions = outputs[self._first.name]
        form, columns = self._form, [write(self._first, predictions, rows)]
        labels = self._labelled(predictions, rows) if self._labels else None
        if labels is not None:
            form = self._form_with_labels
            columns.append(labels)
        columns += [write(each, outputs[each.name], rows) for each in self._others]
        return [(200, USUAL, [form % values]) for values in zip(*columns, strict=True)]

    def _labelled(self, predictions: Array, rows: Sequence[int]) -> list[bytes] | None:
        """The name of each row's class, for each request; None where the values do not say it."""
        if self._first.datatype == "BYTES":
            each = [orjson.dumps(text) for text in predictions.reshape(-1).tolist()]
        else:
            numbers = numbers_of(self._first, predictions)
            if numbers is None:
                return None
            labels, count = self._labels, len(self._labels)
            each = [labels[number] if 0 <= number < count else b"null" for number in numbers]
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
