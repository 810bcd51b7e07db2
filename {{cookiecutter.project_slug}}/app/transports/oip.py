"""`POST /v2/models/{name}/infer`: the Open Inference Protocol, version 2, over HTTP.

Source: Open Inference Protocol, "Inference Request JSON Object" and "Response JSON Object",
and the binary tensor extension.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import simdjson

from app.errors import InvalidInput, MalformedBody
from app.inference.model import Model
from app.tensors.datatypes import Array, datatype_of
from app.tensors.signature import TensorSpec
from app.transports import oip_binary
from app.transports.json_body import parse_object
from app.transports.json_tensor import shaped_tensor


@dataclass(frozen=True, slots=True)
class OutputWish:
    """One output that the client asked for."""

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class OipRequest:
    """A decoded request."""

    inputs: dict[str, Array]
    outputs: tuple[OutputWish, ...]
    id: str | None


def decode(body: bytes, header_length: bytes | None, model: Model) -> OipRequest:
    """Read a request.

    Args:
        body: the whole body.
        header_length: value of ``Inference-Header-Content-Length``; None without binary tensors.
        model: the model that is asked.

    Raises:
        MalformedBody: not the protocol's JSON object.
        InvalidInput: it does not fit the signature.
    """
    header, tensors = oip_binary.split(body, header_length)
    document = parse_object(header)
    entries = _objects(document, "inputs")
    if not entries:
        raise InvalidInput(
            '"inputs" is missing or empty', field="inputs", rule="at least one input"
        )
    inputs: dict[str, Array] = {}
    for position, entry in enumerate(entries):
        spec = model.signature.input(_text(entry, "name", f"inputs[{position}]"))
        if spec.name in inputs:
            raise InvalidInput(f"input {spec.name!r} is there twice", field=f"inputs[{position}]")
        inputs[spec.name], tensors = _input(entry, spec, f"inputs[{position}]", tensors)
    if tensors.nbytes:
        raise MalformedBody(f"{tensors.nbytes} bytes stand behind the last binary tensor")
    return OipRequest(inputs, _wishes(document, model), _id(document))


def encode(
    outputs: Mapping[str, Array], request: OipRequest, model: Model
) -> tuple[list[bytes | memoryview], int | None]:
    """The answer as a list of chunks, and the length of its JSON part when tensors follow it."""
    described: list[dict[str, Any]] = []
    tensors: list[bytes | memoryview] = []
    for wish in request.outputs:
        array = outputs[wish.name]
        entry: dict[str, Any] = {
            "name": wish.name,
            "shape": array.shape,
            "datatype": datatype_of(array),
        }
        if wish.binary:
            tensors.append(oip_binary.write(array))
            entry["parameters"] = {"binary_data_size": len(tensors[-1])}
        else:
            flat = array.reshape(-1)
            entry["data"] = flat.tolist() if array.dtype.kind == "O" else flat
        described.append(entry)
    answer: dict[str, Any] = {
        "model_name": model.name,
        "model_version": model.manifest.version,
        "outputs": described,
    }
    if request.id is not None:
        answer["id"] = request.id
    header = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return [header, *tensors], len(header) if tensors else None


def example(model: Model) -> dict[str, Any]:
    """A request that works, as a JSON object: the first golden sample."""
    inputs = []
    for spec in model.signature.inputs:
        array = model.package.golden.inputs[spec.name]
        row = array[:1] if model.signature.batched else array
        # Through JSON and back, so that NaN becomes null.
        flat = row.reshape(-1).tolist()
        data = orjson.loads(orjson.dumps(flat))
        inputs.append(
            {"name": spec.name, "shape": row.shape, "datatype": spec.datatype, "data": data}
        )
    return {"inputs": inputs}


def _input(
    entry: simdjson.Object, spec: TensorSpec, field: str, tensors: memoryview
) -> tuple[Array, memoryview]:
    shape = _shape(entry, field)
    datatype = _text(entry, "datatype", field)
    if datatype != spec.datatype:
        raise InvalidInput(
            f"{field}.datatype is {datatype!r}; input {spec.name!r} takes {spec.datatype}",
            field=f"{field}.datatype",
            rule=f"datatype {spec.datatype}",
        )
    size = _parameters(entry, field).get("binary_data_size")
    if size is None:
        if "data" not in entry:
            raise InvalidInput(f"{field}.data is missing", field=f"{field}.data")
        return shaped_tensor(entry["data"], spec, f"{field}.data", shape), tensors
    if not _is_count(size) or size > tensors.nbytes:
        raise InvalidInput(
            f"{field}.parameters.binary_data_size is {size!r} and {tensors.nbytes} bytes are left "
            "in the body",
            field=f"{field}.parameters.binary_data_size",
            rule="the number of the tensor's bytes; Inference-Header-Content-Length must be sent",
        )
    return oip_binary.read(tensors[:size], spec.datatype, shape, field), tensors[size:]


def _wishes(document: simdjson.Object, model: Model) -> tuple[OutputWish, ...]:
    parameters = _parameters(document, "request")
    all_binary = parameters.get("binary_data_output") is True
    known = [spec.name for spec in model.signature.outputs]
    wishes = []
    for position, entry in enumerate(_objects(document, "outputs")):
        name = _text(entry, "name", f"outputs[{position}]")
        if name not in known:
            raise InvalidInput(
                f"the model has no output {name!r}; it gives {', '.join(map(repr, known))}",
                field=f"outputs[{position}].name",
            )
        binary = _parameters(entry, f"outputs[{position}]").get("binary_data", all_binary)
        wishes.append(OutputWish(name, binary is True))
    return tuple(wishes) or tuple(OutputWish(name, all_binary) for name in known)


def _objects(document: simdjson.Object, key: str) -> list[simdjson.Object]:
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, simdjson.Array):
        raise InvalidInput(f'"{key}" must be a list', field=key, rule="a list of objects")
    items = []
    for position, item in enumerate(value):
        if not isinstance(item, simdjson.Object):
            raise InvalidInput(f"{key}[{position}] must be an object", field=f"{key}[{position}]")
        items.append(item)
    return items


def _text(entry: simdjson.Object, key: str, field: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise InvalidInput(
            f"{field}.{key} is missing, or not text", field=f"{field}.{key}", rule="text"
        )
    return value


def _shape(entry: simdjson.Object, field: str) -> tuple[int, ...]:
    value = entry.get("shape")
    listed: list[Any] = value.as_list() if isinstance(value, simdjson.Array) else [None]
    if not all(_is_count(dimension) for dimension in listed):
        raise InvalidInput(
            f"{field}.shape is missing, or not a list of sizes",
            field=f"{field}.shape",
            rule="a list of whole numbers, none negative",
        )
    return tuple(listed)


def _parameters(entry: simdjson.Object, field: str) -> dict[str, Any]:
    value = entry.get("parameters")
    if value is None:
        return {}
    if not isinstance(value, simdjson.Object):
        raise InvalidInput(f"{field}.parameters must be an object", field=f"{field}.parameters")
    return value.as_dict()


def _id(document: simdjson.Object) -> str | None:
    value = document.get("id")
    if value is not None and not isinstance(value, str):
        raise InvalidInput('"id" must be text', field="id", rule="text")
    return value


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
