"""`POST /v2/models/{name}/infer`: the Open Inference Protocol, version 2, over HTTP.

Source: Open Inference Protocol, "Inference Request JSON Object" and "Response JSON Object",
and the binary tensor extension.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import simdjson

from engine.serving.errors import InvalidInput, MalformedBody, quoted
from engine.serving.inference.model import Model
from engine.serving.request import Encode, Request
from engine.serving.tensors.datatypes import Array
from engine.serving.tensors.signature import TensorSpec
from engine.serving.transports import oip_binary
from engine.serving.transports.bounds import (
    UNLIMITED,
    check_keys,
    check_shape,
    check_values,
    row_limit,
)
from engine.serving.transports.json_body import parse_object
from engine.serving.transports.json_tensor import shaped_tensor
from engine.serving.transports.oip_answers import Writer
from engine.serving.transports.oip_binary import HEADER_LENGTH
from engine.serving.transports.oip_known import MOST_ID_CHARACTERS, KnownRequests, Wish

# As many dimensions as an array can have.
MOST_SIZES = 64


@dataclass(frozen=True, slots=True)
class OipRequest:
    """A decoded request."""

    inputs: dict[str, Array]
    outputs: tuple[Wish, ...]
    id: str | None


def decode(
    body: bytes,
    header_length: bytes | None,
    model: Model,
    max_rows: int = UNLIMITED,
    max_values: int = UNLIMITED,
) -> OipRequest:
    """Read a request.

    Args:
        body: the whole body.
        header_length: value of ``Inference-Header-Content-Length``; None without binary tensors.
        model: the model that is asked.
        max_rows: most rows allowed in one request.
        max_values: most values as JSON, and most texts.

    Raises:
        MalformedBody: not the protocol's JSON object.
        InvalidInput: it does not fit the signature.
        BodyTooLarge: more rows than allowed.
    """
    most = row_limit(model, max_rows)
    header, tensors = oip_binary.split(body, header_length)
    check_values(header, model.signature, most, max_values)
    document = check_keys(parse_object(header), "")
    # What costs nothing to check comes before the data.
    request_id, wishes = _id(document), _wishes(document, model)
    # Names first: no list is longer than that of the model's inputs, then.
    named: dict[str, tuple[simdjson.Object, TensorSpec]] = {}
    for field, entry in _objects(document, "inputs"):
        spec = model.signature.input(_text(entry, "name", field))
        if spec.name in named:
            raise InvalidInput(
                f"input {spec.name!r} is there twice", field=field, rule="each input once"
            )
        named[spec.name] = (entry, spec)
    if not named:
        raise InvalidInput(
            '"inputs" is missing or empty', field="inputs", rule="at least one input"
        )
    inputs: dict[str, Array] = {}
    for position, (name, (entry, spec)) in enumerate(named.items()):
        inputs[name], tensors = _input(
            entry, spec, f"inputs[{position}]", tensors, (most, max_values)
        )
    if tensors.nbytes:
        raise MalformedBody(f"{tensors.nbytes} bytes stand behind the last binary tensor")
    return OipRequest(inputs, wishes, request_id)


class Codec:
    """Reads and writes requests of the protocol for one model.

    Args:
        max_rows: most rows of a request.
        max_answer: most bytes of outputs in an answer.
    """

    def __init__(
        self,
        model: Model,
        max_rows: int = UNLIMITED,
        max_values: int = UNLIMITED,
        max_answer: int = UNLIMITED,
    ) -> None:
        self._model = model
        self._most = max_rows, max_values
        self._known = KnownRequests(model.signature)
        names = [spec.name for spec in model.signature.outputs]
        self._usual = tuple(Wish(name, False) for name in names)
        # One object, by which a batch sees that all of it is encoded alike.
        writer = Writer(model.name, model.manifest.version, names, max_answer)
        self.encode: Encode = writer.write

    def decode(self, request: Request, body: bytes) -> None:
        """Set what the request asks; see ``decode``."""
        if not self._known.read(request, body):
            length = request.headers.get(HEADER_LENGTH)
            read = decode(body, length, self._model, *self._most)
            request.inputs, request.id = read.inputs, read.id
            request.wishes = None if read.outputs == self._usual else read.outputs
            text, _ = oip_binary.split(body, length)
            self._known.learn(text, read.inputs, request.wishes)
        request.encode = self.encode


def example(model: Model) -> dict[str, Any]:
    """A request that works, as a JSON object: a golden sample."""
    inputs = []
    for spec in model.signature.inputs:
        array = model.package.golden.inputs[spec.name]
        row = array[model.sample :][:1] if model.signature.batched else array
        # Through JSON and back, so that NaN becomes null.
        flat = row.reshape(-1).tolist()
        data = orjson.loads(orjson.dumps(flat))
        inputs.append(
            {"name": spec.name, "shape": row.shape, "datatype": spec.datatype, "data": data}
        )
    return {"inputs": inputs}


def _input(
    entry: simdjson.Object,
    spec: TensorSpec,
    field: str,
    tensors: memoryview,
    most: tuple[int, int],
) -> tuple[Array, memoryview]:
    shape = _shape(entry, spec, field)
    datatype = _text(entry, "datatype", field)
    if datatype != spec.datatype:
        raise InvalidInput(
            f"{field}.datatype is {quoted(datatype)}; input {spec.name!r} takes {spec.datatype}",
            field=f"{field}.datatype",
            rule=f"datatype {spec.datatype}",
        )
    size = _parameter(entry, "binary_data_size", field)
    if size is None:
        if "data" not in entry:
            raise InvalidInput(f"{field}.data is missing", field=f"{field}.data")
        return shaped_tensor(entry["data"], spec, f"{field}.data", shape, most[0]), tensors
    if not _is_count(size) or size > tensors.nbytes:
        shown = size if isinstance(size, (int, float)) else "no number"
        raise InvalidInput(
            f"{field}.parameters.binary_data_size is {shown} and {tensors.nbytes} bytes are left "
            "in the body",
            field=f"{field}.parameters.binary_data_size",
            rule="the number of the tensor's bytes; Inference-Header-Content-Length must be sent",
        )
    array = oip_binary.read(tensors[:size], spec.datatype, shape, field, *most)
    return array, tensors[size:]


def _wishes(document: simdjson.Object, model: Model) -> tuple[Wish, ...]:
    all_binary = _parameter(document, "binary_data_output", "request") is True
    known = [spec.name for spec in model.signature.outputs]
    # An output asked for twice would be sent twice, and a small request get a huge answer.
    wishes: dict[str, Wish] = {}
    for field, entry in _objects(document, "outputs"):
        name = _text(entry, "name", field)
        if name not in known:
            raise InvalidInput(
                f"the model has no output {quoted(name)}; it gives {', '.join(map(repr, known))}",
                field=f"{field}.name",
                rule="an output of the model",
            )
        if name in wishes:
            raise InvalidInput(
                f"output {name!r} is asked for twice",
                field=f"{field}.name",
                rule="each output once",
            )
        binary = _parameter(entry, "binary_data", field)
        wishes[name] = Wish(name, all_binary if binary is None else binary is True)
    return tuple(wishes.values()) or tuple(Wish(name, all_binary) for name in known)


def _objects(document: simdjson.Object, key: str) -> Iterator[tuple[str, simdjson.Object]]:
    """The objects of a list, each with its place; one at a time: the first fault ends it."""
    value = document.get(key)
    if value is None:
        return
    if not isinstance(value, simdjson.Array):
        raise InvalidInput(f'"{key}" must be a list', field=key, rule="a list of objects")
    for position, item in enumerate(value):
        field = f"{key}[{position}]"
        if not isinstance(item, simdjson.Object):
            raise InvalidInput(f"{field} must be an object", field=field)
        yield field, check_keys(item, field)


def _text(entry: simdjson.Object, key: str, field: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise InvalidInput(
            f"{field}.{key} is missing, or not text", field=f"{field}.{key}", rule="text"
        )
    return value


def _shape(entry: simdjson.Object, spec: TensorSpec, field: str) -> tuple[int, ...]:
    value = entry.get("shape")
    listed: list[Any] = [None]
    if isinstance(value, simdjson.Array):
        if len(value) > MOST_SIZES:
            raise InvalidInput(
                f"{field}.shape has {len(value)} sizes; the model takes {list(spec.shape)}",
                field=f"{field}.shape",
                rule=f"shape {list(spec.shape)}",
            )
        listed = list(value)
    if not all(_is_count(size) for size in listed):
        raise InvalidInput(
            f"{field}.shape is missing, or not a list of sizes",
            field=f"{field}.shape",
            rule="a list of whole numbers, none negative",
        )
    shape = tuple(listed)
    check_shape(shape, spec, f"{field}.shape")
    return shape


def _parameter(entry: simdjson.Object, key: str, field: str) -> Any:
    value = entry.get("parameters")
    if value is None:
        return None
    if not isinstance(value, simdjson.Object):
        raise InvalidInput(f"{field}.parameters must be an object", field=f"{field}.parameters")
    return check_keys(value, f"{field}.parameters").get(key)


def _id(document: simdjson.Object) -> str | None:
    value = document.get("id")
    if value is not None and not isinstance(value, str):
        raise InvalidInput('"id" must be text', field="id", rule="text")
    if value is not None and len(value) > MOST_ID_CHARACTERS:
        raise InvalidInput(
            f'"id" has {len(value)} characters',
            field="id",
            rule=f"at most {MOST_ID_CHARACTERS} characters",
        )
    return value


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
