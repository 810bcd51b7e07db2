"""The OpenAPI document: FastAPI's own, plus the inference routes with the models' signatures."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from engine.serving.inference.host import ModelHost
from engine.serving.inference.model import Model
from engine.serving.package.manifest import OutputTensor
from engine.serving.tensors.signature import TensorSpec
from engine.serving.transports import oip, scoring, tutorial
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
_STATUSES = {
    "400": "The body is not what its content type says.",
    "401": "No API key, or one that is not accepted.",
    "404": "No such model or version.",
    "408": "The body came too slowly.",
    "413": "Too many bytes or rows.",
    "415": "Another content type or encoding.",
    "422": "The inputs break the model's signature.",
    "429": "The queue is full; see Retry-After.",
    "431": "The request line, headers and trailers are too large.",
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
    return _operation(
        f"Predict with {model.name}",
        f"{model.manifest.description}{described}",
        {"type": "object", "required": ["data"], "properties": {"data": _data(model)}},
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


def _data(model: Model) -> Schema:
    """The forms that `data` may have: arrays, and for a table records as well."""
    specs, columns = model.signature.inputs, column_names(model)
    arrays: Schema = _nested(specs[0])
    if len(specs) > 1:
        arrays = {
            "type": "object",
            "required": [spec.name for spec in specs],
            "properties": {spec.name: _nested(spec) for spec in specs},
        }
    if not columns:
        return arrays
    each = [_value(spec) for spec in specs] * (len(columns) if len(specs) == 1 else 1)
    record = {
        "type": "object",
        "required": list(columns),
        "properties": dict(zip(columns, each, strict=True)),
        "additionalProperties": False,
    }
    return {"anyOf": [arrays, {"type": "array", "items": record, "minItems": 1}]}


def _answer(model: Model) -> Schema:
    """The answer to `/predict`, with the names of the classes."""
    first, *others = model.manifest.outputs
    parts: Schema = {"predictions": _output(first)}
    if first.labels and tutorial.counts_classes(first):
        labels = {"type": ["string", "null"], "enum": [*first.labels, None]}
        parts["labels"] = {"type": "array", "items": labels}
    if others:
        outputs = {each.name: _output(each) for each in others}
        parts["outputs"] = {"type": "object", "properties": outputs}
    parts |= {"model": {"type": "string"}, "version": {"type": "string"}}
    return {"type": "object", "required": list(parts), "properties": parts}


def _output(output: OutputTensor) -> Schema:
    named = output.labels and not tutorial.counts_classes(output)
    words = {"description": f"Columns: {', '.join(output.labels)}."} if named else {}
    return {"type": "array", "items": {}} | words if output.shape else words


def _infer(model: Model) -> Schema:
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"enum": [spec.name for spec in model.signature.inputs]},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"type": "string"},
            "parameters": {"type": "object"},
            "data": {"type": "array", "items": {}},
        },
    }
    body = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "maxLength": oip.MOST_ID_CHARACTERS},
            "inputs": {"type": "array", "items": tensor, "minItems": 1},
            "outputs": {"type": "array", "items": {"type": "object"}},
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
    responses: Schema = {
        status: {
            "description": text,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
        for status, text in _STATUSES.items()
    }
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


def _value(spec: TensorSpec) -> Schema:
    """One value of a tensor; null where it may be missing."""
    kind = {"BYTES": "string", "BOOL": "boolean"}.get(spec.datatype)
    kind = kind or _JSON_TYPES.get(spec.datatype[0], "number")
    missing = spec.missing is not None or (spec.allow_nan and kind == "number")
    return {"type": [kind, "null"] if missing else kind}


def _nested(spec: TensorSpec) -> Schema:
    """Lists within lists, as the shape says; a column of a table is one list."""
    schema = _value(spec)
    for dimension in reversed(spec.shape[:1] if is_column(spec) else spec.shape):
        schema = {"type": "array", "items": schema, "minItems": 1}
        if dimension != -1:
            schema |= {"minItems": dimension, "maxItems": dimension}
    return schema
