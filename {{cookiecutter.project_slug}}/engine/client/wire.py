"""Named arrays to requests, and answers back to named arrays, as any client would do it.

Three ways in: `/predict` in JSON, the Open Inference Protocol in JSON, and the protocol's binary
tensors. Only the last carries every value exactly; JSON has no infinity, and its null is NaN.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.serving.errors import RequestError
from engine.serving.package.manifest import Manifest, OutputTensor
from engine.serving.tensors.datatypes import NUMPY, Array, datatype_of
from engine.serving.transports import oip_binary

LENGTH = "Inference-Header-Content-Length"
JSON = {"Content-Type": "application/json"}


class Unreadable(Exception):
    """An answer that is not what the protocol says; the message says where."""


@dataclass(frozen=True, slots=True)
class Request:
    """One POST."""

    path: str
    headers: Mapping[str, str]
    content: bytes


def predict(model: str, inputs: Mapping[str, Array]) -> Request:
    """A request to `/predict/{model}`."""
    lists = {name: plain(array) for name, array in inputs.items()}
    data = next(iter(lists.values())) if len(lists) == 1 else lists
    return Request(f"/predict/{model}", JSON, _dump({"data": data}))


def infer_json(model: str, inputs: Mapping[str, Array]) -> Request:
    """A request in the Open Inference Protocol, all of it JSON."""
    entries = [_entry(name, a) | {"data": plain(a.reshape(-1))} for name, a in inputs.items()]
    return Request(f"/v2/models/{model}/infer", JSON, _dump({"inputs": entries}))


def infer_binary(model: str, inputs: Mapping[str, Array]) -> Request:
    """A request in the Open Inference Protocol with binary tensors, both ways."""
    tensors = [bytes(oip_binary.write(array)) for array in inputs.values()]
    entries = [
        _entry(name, array) | {"parameters": {"binary_data_size": len(tensor)}}
        for (name, array), tensor in zip(inputs.items(), tensors, strict=True)
    ]
    header = _dump({"inputs": entries, "parameters": {"binary_data_output": True}})
    headers = {"Content-Type": "application/octet-stream", LENGTH: str(len(header))}
    return Request(f"/v2/models/{model}/infer", headers, b"".join([header, *tensors]))


def read_predict(body: bytes, manifest: Manifest) -> dict[str, Array]:
    """The outputs in an answer of `/predict`.

    Raises:
        Unreadable: it is not that answer, or an output is missing.
    """
    answer = _object(body)
    first, *others = manifest.outputs
    named = answer.get("outputs")
    if others and not isinstance(named, dict):
        raise Unreadable("'outputs' of the answer is not an object")
    outputs = {first.name: _array(_part(answer, "predictions"), first)}
    return outputs | {each.name: _array(_part(named or {}, each.name), each) for each in others}


def read_infer(body: bytes, header_length: str | None, manifest: Manifest) -> dict[str, Array]:
    """The outputs in an answer of the Open Inference Protocol.

    Args:
        body: all of it.
        header_length: ``Inference-Header-Content-Length`` of the answer, if it has one.
        manifest: says which outputs there must be.

    Raises:
        Unreadable: it is not that answer, or an output is missing.
    """
    length = None if header_length is None else header_length.encode()
    try:
        header, tensors = oip_binary.split(body, length)
    except RequestError as error:
        raise Unreadable(error.message) from None
    entries: dict[str, Any] = {}
    data: dict[str, memoryview] = {}
    for entry in _entries(_object(header)):
        name = str(entry.get("name"))
        size = (entry.get("parameters") or {}).get("binary_data_size", 0)
        entries[name], data[name], tensors = entry, tensors[:size], tensors[size:]
    return {
        each.name: _tensor(_part(entries, each.name), data[each.name], each)
        for each in manifest.outputs
    }


def fits_json(inputs: Mapping[str, Array]) -> bool:
    """Whether JSON can carry the values: it has no infinity."""
    return not any(a.dtype.kind == "f" and np.isinf(a).any() for a in inputs.values())


def through_json(array: Array) -> Array:
    """What is left of an output on its way through JSON: infinity becomes NaN."""
    if array.dtype.kind != "f":
        return array
    return np.where(np.isinf(array), np.asarray(np.nan, dtype=array.dtype), array)


def plain(array: Array) -> Any:
    """Nested lists of plain Python values, null for NaN."""
    if array.dtype.kind == "f" and np.isnan(array).any():
        return np.where(np.isnan(array), None, array.astype(object)).tolist()  # type: ignore[call-overload]
    return array.tolist()


def _entry(name: str, array: Array) -> dict[str, Any]:
    return {"name": name, "shape": list(array.shape), "datatype": datatype_of(array)}


def _dump(content: dict[str, Any]) -> bytes:
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def _object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except ValueError as error:
        raise Unreadable(f"the answer is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise Unreadable("the answer is not a JSON object")
    return content


def _entries(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    outputs = _part(answer, "outputs")
    if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs):
        raise Unreadable("'outputs' of the answer is not a list of objects")
    return outputs


def _part(answer: Mapping[str, Any], name: str) -> Any:
    value = answer.get(name)
    if value is None:
        raise Unreadable(f"the answer has no {name!r}")
    return value


def _array(value: Any, spec: OutputTensor) -> Array:
    """JSON keeps no datatype: the manifest says it."""
    dtype = NUMPY[spec.datatype]
    try:
        # For floating-point numbers, None becomes NaN.
        return np.array(value, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise Unreadable(f"output {spec.name!r} is no {spec.datatype}: {error}") from None


def _tensor(entry: Mapping[str, Any], data: memoryview, spec: OutputTensor) -> Array:
    if entry.get("datatype") != spec.datatype:
        raise Unreadable(f"output {spec.name!r} is {entry.get('datatype')}, not {spec.datatype}")
    shape = tuple(_part(entry, "shape"))
    if "data" in entry:
        return _array(entry["data"], spec).reshape(shape)
    try:
        return oip_binary.read(data, spec.datatype, shape, f"output {spec.name!r}")
    except RequestError as error:
        raise Unreadable(error.message) from None
