"""`POST /predict` and `/predict/{name}`: the contract that the tutorials of this field teach.

Request: ``{"data": [[5.9, 3.0, 5.1, 1.8]]}``, or one flat row, or ``{"data": {"name": [...]}}``
for a model with several inputs, or ``{"data": [{"column": value, ...}]}`` for a table. With
``"by_name": true`` beside it, columns that are classes are answered as objects with their names.
Answer: ``{"predictions": [2], ...}``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import simdjson

from engine.serving.answer import USUAL, Answer
from engine.serving.errors import InvalidInput, quoted
from engine.serving.inference.arrays import views
from engine.serving.inference.model import Model
from engine.serving.package.manifest import OutputTensor
from engine.serving.request import Encode, Request
from engine.serving.tensors.datatypes import Array
from engine.serving.transports.bounds import UNLIMITED, check_keys, check_values, row_limit
from engine.serving.transports.classes import (
    by_name,
    labels_of,
    names_columns,
    names_rows,
    numbers_of,
)
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
BY_NAME = "by_name"


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
    named = BY_NAME in document and _wants_names(document[BY_NAME], model)
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
    twice = {name for each in outputs for name in each.labels if each.labels.count(name) > 1}
    if value and twice:
        raise InvalidInput(
            f'"{BY_NAME}": two classes are called {quoted(min(twice))}; leave it out',
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


def encode(outputs: Mapping[str, Array], model: Model, *, named: bool = False) -> bytes:
    """The JSON answer: the first output as ``predictions``, the others under their names.

    Args:
        outputs: of the model.
        model: the one that was asked.
        named: whether columns of classes are objects with the names of these.
    """
    first, *others = model.manifest.outputs

    def written(output: OutputTensor) -> Any:
        values = outputs[output.name]
        rows = by_name(output, values) if named else None
        return _jsonable(values) if rows is None else rows

    answer: dict[str, Any] = {"predictions": written(first)}
    labels = labels_of(first, outputs[first.name])
    if labels is not None:
        answer["labels"] = labels
    if others:
        answer["outputs"] = {each.name: written(each) for each in others}
    answer["model"] = model.name
    answer["version"] = model.manifest.version
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


class Codec:
    """Reads and writes requests of the contract for one model."""

    def __init__(
        self, model: Model, max_rows: int = UNLIMITED, max_values: int = UNLIMITED
    ) -> None:
        self._model = model
        self._most = max_rows, max_values
        self._few = FewRows(model.signature)
        first, *others = model.manifest.outputs
        self._first = first
        self._labels = [orjson.dumps(label) for label in first.labels * names_rows(first)]
        self._others = [(orjson.dumps(each.name), each.name) for each in others]
        model_of = orjson.dumps({"model": model.name, "version": model.manifest.version})
        self._end = b"," + model_of[1:]

        # One object, by which a batch sees that all of it is encoded alike.
        self.encode: Encode = self._answers
        self._named: Encode = self._answers_by_name

    def decode(self, request: Request, body: bytes) -> None:
        """Set what the request asks; see ``decode``."""
        request.encode = self.encode
        few = self._few.read(body)
        if few is not None:
            request.inputs = few
            return
        request.inputs, named = _read(body, self._model, *self._most)
        if named:
            request.encode = self._named

    def _answers(self, outputs: dict[str, Array], requests: Sequence[Request]) -> list[Answer]:
        """See ``Encode``."""
        return [(200, USUAL, [body]) for body in self.encode_each(outputs, requests)]

    def _answers_by_name(
        self, outputs: dict[str, Array], requests: Sequence[Request]
    ) -> list[Answer]:
        """The same for requests that want the names of classes."""
        parts = views(outputs, requests)
        return [(200, USUAL, [encode(part, self._model, named=True)]) for part in parts]

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
        predictions = outputs[self._first.name]
        rows = (sum(sizes),)
        if predictions.shape[:1] != rows:
            return None
        columns = [json_rows(predictions, sizes)]
        form = b'{"predictions":%b'
        if self._labels:
            numbers = numbers_of(self._first, predictions)
            if numbers is None or len(numbers) != len(predictions):
                return None
            columns.append(self._labelled(numbers, sizes))
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

    def _labelled(self, numbers: list[int], sizes: Sequence[int]) -> list[bytes]:
        labels, count = self._labels, len(self._labels)
        each = [labels[value] if 0 <= value < count else b"null" for value in numbers]
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
