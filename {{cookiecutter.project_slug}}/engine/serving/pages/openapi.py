"""The OpenAPI document: FastAPI's own, plus the inference routes with the models' signatures."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from engine.serving.inference.host import ModelHost
from engine.serving.inference.model import Model
from engine.serving.package.manifest import MATRIX, InputTensor, OutputTensor, tells_class
from engine.serving.tensors.datatypes import NUMPY
from engine.serving.transports import classes, oip, scoring, tutorial
from engine.serving.transports.oip_known import MOST_ID_CHARACTERS
from engine.serving.transports.records import column_names, is_column

Schema = dict[str, Any]
_JSON_TYPES = {"B": "string", "F": "number", "I": "integer", "U": "integer"}
ERROR: Schema = {
    "type": "object",
    "required": ["error", "code"],
    "properties": {
        "error": {"type": "string", "description": "One sentence: value, rule, way out."},
        "code": {"type": "string"},
        "field": {"type": "string", "description": "Where in the request the fault is."},
        "rule": {"type": "string"},
        "id": {"type": "string", "description": "Under which the log tells more."},
    },
}
PROBES = ("/healthz", "/readyz", "/ping", "/health", "/v2/health/live", "/v1/models/{name}")
_STATUSES = {
    "400": "The body is not what its content type says.",
    "401": "No API key, or one that is not accepted.",
    "404": "No such model or version.",
    "408": "The body came too slowly.",
    "413": "Too many bytes or rows.",
    "415": "Another content type or encoding.",
    "422": "The inputs break the model's signature.",
    "429": "The queue is full; see Retry-After.",
    "431": "The head of the request is too large.",
    "503": "Not ready, or the deadline passed; see Retry-After.",
}


def document(app: FastAPI, host: ModelHost, with_keys: bool) -> Schema:
    """The OpenAPI document for the models that are loaded now."""
    content = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    components = content.setdefault("components", {})
    components.setdefault("schemas", {})["Error"] = ERROR
    security: list[Schema] = []
    if with_keys:
        components["securitySchemes"] = {
            "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "Bearer": {"type": "http", "scheme": "bearer"},
        }
        security = [{"ApiKey": []}, {"Bearer": []}]
    paths = content.setdefault("paths", {})
    for path, operations in paths.items():
        responses = operations.get("get", {}).get("responses", {})
        if path.startswith(("/v1/models/{name}", "/v2/models/{name}")):
            # Names and versions are texts, which FastAPI never refuses.
            responses.pop("422", None)
            guarded = path.endswith(("/answers", "/captured", "/drift"))
            responses |= _errors("401", "404") if guarded else _errors("404")
        if path in PROBES or path.endswith("/ready"):
            responses["503"] = {"description": "No; the answer has the reason."}
    for name, served in host.models.items():
        paths[f"/predict/{name}"] = {"post": _predict(served.model) | {"security": security}}
        paths[f"/v1/models/{name}:predict"] = {
            "post": _scoring(served.model) | {"security": security}
        }
        paths[f"/v2/models/{name}/infer"] = {"post": _infer(served.model) | {"security": security}}
    default = host.default()
    if default is not None:
        paths["/predict"] = {"post": _predict(default.model) | {"security": security}}
        paths["/invocations"] = {"post": _scoring(default.model) | {"security": security}}
    return content


def _predict(model: Model) -> Schema:
    features = model.manifest.inputs[0].features
    described = f" Columns: {', '.join(features)}." if features else ""
    properties = {"data": data_schema(model)}
    if any(map(classes.names_columns, model.manifest.outputs)):
        words = "Answer columns of classes as objects with their names."
        properties[tutorial.BY_NAME] = {"type": "boolean", "description": words}
    return _operation(
        f"Predict with {model.name}",
        f"{model.manifest.description}{described}",
        {"type": "object", "required": ["data"], "properties": properties},
        json.loads(tutorial.example(model)),
        _answer(model),
    )


def _scoring(model: Model) -> Schema:
    """The routes of MLflow and of KServe's V1 protocol, which take the same bodies."""
    forms = [{"required": [key], "properties": {key: {}}} for key in scoring.FORMS]
    operation = _operation(
        f"Predict with {model.name} (MLflow's scoring protocol, KServe's V1 protocol)",
        "One of the keys; for a table also CSV with a header.",
        {"type": "object", "oneOf": forms},
        {"inputs": json.loads(tutorial.example(model))["data"]},
        _answer(model),
    )
    if column_names(model):
        operation["requestBody"]["content"]["text/csv"] = {"schema": {"type": "string"}}
    return operation


def data_schema(model: Model) -> Schema:
    """The forms that `data` may have: arrays, and for a table records as well."""
    inputs, columns = model.manifest.inputs, column_names(model)
    forms = _forms(inputs[0])
    if len(inputs) > 1:
        properties = {each.name: _any(_forms(each)) for each in inputs}
        forms = [{"type": "object", "required": list(properties), "properties": properties}]
    if columns:
        each = [_value(tensor, at) for tensor in inputs for at in range(_width(tensor))]
        record = {
            "type": "object",
            "required": list(columns),
            "properties": dict(zip(columns, each, strict=True)),
            "additionalProperties": False,
        }
        forms.append({"type": "array", "items": record, "minItems": 1})
    return _any(forms)


def _answer(model: Model) -> Schema:
    """The answer to `/predict`, with the names of the classes."""
    first, *others = model.manifest.outputs
    parts: Schema = {"predictions": _output(first)}
    if tells_class(first):
        labels = {"type": ["string", "null"], "enum": [*first.labels, None]}
        parts["labels"] = {"type": "array", "items": labels}
    if others:
        outputs = {each.name: _output(each) for each in others}
        parts["outputs"] = {"type": "object", "properties": outputs}
    parts |= {"model": {"type": "string"}, "version": {"type": "string"}}
    return {"type": "object", "required": list(parts), "properties": parts}


def _output(output: OutputTensor) -> Schema:
    named = classes.names_columns(output)
    words = {"description": f"Columns: {', '.join(output.labels)}."} if named else {}
    return {"type": "array", "items": {}} | words if output.shape else words


def _infer(model: Model) -> Schema:
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"enum": [spec.name for spec in model.signature.inputs]},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "datatype": {"enum": sorted({spec.datatype for spec in model.signature.inputs})},
            "parameters": {"type": ["object", "null"]},
            "data": {"type": "array", "items": {}},
        },
    }
    wish = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"enum": [spec.name for spec in model.signature.outputs]},
            "parameters": {"type": ["object", "null"]},
        },
    }
    body = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"], "maxLength": MOST_ID_CHARACTERS},
            "inputs": _listed(tensor, len(model.signature.inputs)) | {"minItems": 1},
            "outputs": _listed(wish, len(model.signature.outputs)) | {"type": ["array", "null"]},
            "parameters": {"type": ["object", "null"]},
        },
    }
    inputs = ", ".join(f"{spec.name}: {spec}" for spec in model.signature.inputs)
    outputs = ", ".join(f"{spec.name}: {spec}" for spec in model.signature.outputs)
    return _operation(
        f"Infer with {model.name} (Open Inference Protocol)",
        f"Inputs: {inputs}. Outputs: {outputs}. -1 stands for any number of rows.",
        body,
        oip.example(model),
        {"type": "object", "required": ["model_name", "outputs"], "properties": {}},
    )


def _operation(
    summary: str, description: str, body: Schema, example: Schema, answer: Schema
) -> Schema:
    responses = _errors(*_STATUSES)
    responses["200"] = {
        "description": "The outputs.",
        "content": {"application/json": {"schema": answer}},
    }
    return {
        "summary": summary,
        "description": description,
        "tags": ["inference"],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": body, "example": example}},
        },
        "responses": responses,
    }


def _errors(*statuses: str) -> Schema:
    """Responses with an error."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {each: {"description": _STATUSES[each], "content": content} for each in statuses}


def _listed(item: Schema, most: int) -> Schema:
    return {"type": "array", "items": item, "maxItems": most}


def _width(tensor: InputTensor) -> int:
    """The number of columns of a table, or 1."""
    return tensor.shape[1] if len(tensor.shape) == MATRIX else 1


def _value(spec: InputTensor, position: int | None = None) -> Schema:
    """One value of a tensor, within its datatype's limits; null where it may be missing.

    Args:
        position: of the column that the value is in; None where that is not known.
    """
    kind = {"BYTES": "string", "BOOL": "boolean"}.get(spec.datatype)
    kind = kind or _JSON_TYPES.get(spec.datatype[0], "number")
    missing = spec.missing is not None or (spec.allow_nan and kind == "number")
    # Where NaN is allowed, so is infinity.
    bounds = {} if spec.allow_nan else _bounds(NUMPY[spec.datatype])
    values = list(spec.choices(position)) if position is not None else []
    if values and position in spec.only:
        return {"type": [kind, "null"] if missing else kind, "enum": [*values, *[None] * missing]}
    known = {"examples": values} if values else {}
    return {"type": [kind, "null"] if missing else kind} | bounds | known


def _bounds(dtype: np.dtype[Any]) -> Schema:
    """The numbers that a datatype can hold."""
    if dtype.kind in "iu":
        whole = np.iinfo(dtype)
        return {"minimum": whole.min, "maximum": whole.max}
    if dtype.kind != "f" or dtype.itemsize == 8:
        # Of 64 bits are JSON's own.
        return {}
    # From here on numbers are rounded to infinity.
    largest = np.finfo(dtype).max
    end = float(largest) + float(largest - np.nextafter(largest, dtype.type(0))) / 2
    return {"exclusiveMinimum": -end, "exclusiveMaximum": end}


def _forms(spec: InputTensor) -> list[Schema]:
    """Lists within lists, as the shape says; a column of a table is one list, and a single row may
    come without the list around it.
    """
    shapes = [spec.shape]
    if spec.shape[1:] == (1,):
        shapes.insert(0, spec.shape[:1])
    if spec.shape[:1] == (-1,):
        shapes.append(() if is_column(spec) else spec.shape[1:])
    value = _value(spec, 0 if is_column(spec) else None)
    return [_nested(value, shape) for shape in shapes]


def _any(forms: list[Schema]) -> Schema:
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _nested(schema: Schema, shape: tuple[int, ...]) -> Schema:
    for dimension in reversed(shape):
        schema = {"type": "array", "items": schema, "minItems": 1}
        if dimension != -1:
            schema |= {"minItems": dimension, "maxItems": dimension}
    return schema
