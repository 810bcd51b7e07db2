"""The Open Inference Protocol: metadata, every datatype, JSON and binary tensors."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest
from engine.serving.tensors.datatypes import DATATYPES, NUMPY, Array, Datatype
from engine.serving.transports import oip_binary

from tests.engine.toy_models import sample

INFER = "/v2/models/echo/infer"
LENGTH = "Inference-Header-Content-Length"


def described(**changes: Any) -> dict[str, Any]:
    """One input of `scale`, with changes."""
    entry = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
    return {key: value for key, value in (entry | changes).items() if value is not ...}


def binary_body(header: dict[str, Any], *tensors: bytes) -> tuple[bytes, dict[str, str]]:
    """A body with binary tensors, and the headers that belong to it."""
    text = json.dumps(header).encode()
    headers = {"Content-Type": "application/octet-stream", LENGTH: str(len(text))}
    return text + b"".join(tensors), headers


def echo_request(*, binary: bool) -> tuple[bytes, dict[str, str]]:
    """All datatypes at once."""
    entries, tensors = [], []
    for name in DATATYPES:
        value = sample(name)
        entry: dict[str, Any] = {"name": name.lower(), "datatype": name, "shape": value.shape}
        if binary:
            tensors.append(bytes(oip_binary.write(value)))
            entry["parameters"] = {"binary_data_size": len(tensors[-1])}
        else:
            entry["data"] = value.reshape(-1).tolist()
        entries.append(entry)
    if not binary:
        return json.dumps({"inputs": entries}).encode(), {"Content-Type": "application/json"}
    return binary_body({"inputs": entries}, *tensors)


def decode(answer: httpx.Response) -> dict[str, Array]:
    """The outputs of an answer, JSON or binary, as arrays."""
    length = int(answer.headers.get(LENGTH, len(answer.content)))
    tensors = memoryview(answer.content)[length:]
    outputs = {}
    for entry in json.loads(answer.content[:length])["outputs"]:
        datatype: Datatype = entry["datatype"]
        shape = tuple(entry["shape"])
        if "data" in entry:
            outputs[entry["name"]] = np.array(entry["data"], NUMPY[datatype]).reshape(shape)
        else:
            size = entry["parameters"]["binary_data_size"]
            outputs[entry["name"]] = oip_binary.read(tensors[:size], datatype, shape, "")
            tensors = tensors[size:]
    assert tensors.nbytes == 0
    return outputs


def test_server_and_model_metadata(toys: httpx.Client) -> None:
    server = toys.get("/v2").json()
    assert server["extensions"] == ["binary_tensor_data"]
    assert {"name", "version", "revision", "model_digest"} <= set(server)
    model = toys.get("/v2/models/add").json()
    assert model["name"] == "add"
    assert model["versions"] == ["1"]
    assert model["platform"] == "onnxruntime_onnx"
    assert model["inputs"] == [
        {"name": "a", "datatype": "INT64", "shape": [-1]},
        {"name": "b", "datatype": "INT64", "shape": [-1]},
    ]
    assert model["outputs"] == [{"name": "sum", "datatype": "INT64", "shape": [-1]}]
    assert model["parameters"]["execution_provider"] == "cpu"
    assert toys.get("/v2/models/add/versions/1").json() == model


@pytest.mark.parametrize(
    "path",
    ["/v2/health/live", "/v2/health/ready", "/healthz", "/readyz", "/v2/models/add/ready",
     "/v2/models/add/versions/1/ready"],
)  # fmt: skip
def test_health(toys: httpx.Client, path: str) -> None:
    assert toys.get(path).status_code == 200


@pytest.mark.parametrize("binary_in", [False, True], ids=["json-in", "binary-in"])
@pytest.mark.parametrize("binary_out", [False, True], ids=["json-out", "binary-out"])
def test_every_datatype_survives_the_way_there_and_back(
    toys: httpx.Client, binary_in: bool, binary_out: bool
) -> None:
    body, headers = echo_request(binary=binary_in)
    if binary_out:
        length = int(headers.get(LENGTH, len(body)))
        header = json.loads(body[:length]) | {"parameters": {"binary_data_output": True}}
        text = json.dumps(header).encode()
        body = text + body[length:]
        if LENGTH in headers:
            headers[LENGTH] = str(len(text))
    answer = toys.post(INFER, content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    outputs = decode(answer)
    for name in DATATYPES:
        got = outputs[f"{name.lower()}_out"]
        assert got.dtype == NUMPY[name]
        np.testing.assert_array_equal(got, sample(name))


@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("rows", [1, 3])
def test_rows_of_any_width_can_be_asked_in_every_way(
    toys: httpx.Client, rows: int, width: int
) -> None:
    x = np.arange(rows * width, dtype=np.float32).reshape(rows, width)
    assert toys.post("/predict/wide", json={"data": x.tolist()}).json()["predictions"] == (
        (-x).tolist()
    )
    entry = {"name": "x", "shape": [rows, width], "datatype": "FP32"}
    tensor = {**entry, "parameters": {"binary_data_size": x.nbytes}}
    text = json.dumps({"inputs": [tensor]}).encode()
    headers = {LENGTH: str(len(text)), "Content-Type": "application/octet-stream"}
    for answer in (
        toys.post(
            "/v2/models/wide/infer", json={"inputs": [{**entry, "data": x.ravel().tolist()}]}
        ),
        toys.post("/v2/models/wide/infer", content=text + x.tobytes(), headers=headers),
    ):
        assert answer.status_code == 200, answer.text
        (output,) = answer.json()["outputs"]
        assert (output["shape"], output["data"]) == ([rows, width], (-x).ravel().tolist())


def test_the_id_comes_back_and_outputs_can_be_chosen(toys: httpx.Client) -> None:
    body = {"id": "42", "inputs": [described()], "outputs": [{"name": "y"}]}
    answer = toys.post("/v2/models/scale/infer", json=body).json()
    assert answer == {
        "model_name": "scale",
        "model_version": "1",
        "id": "42",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [2, 4, 6]}],
    }


def test_data_may_be_nested_as_its_shape(toys: httpx.Client) -> None:
    body = {"inputs": [described(shape=[2, 3], data=[[1, 2, 3], [4, 5, 6]])]}
    answer = toys.post("/v2/models/scale/infer", json=body).json()
    assert answer["outputs"][0]["data"] == [2, 4, 6, 8, 10, 12]


def test_a_model_without_a_row_dimension(toys: httpx.Client) -> None:
    body = {"inputs": [described(shape=[2, 2], data=[1, 2, 3, 4])]}
    answer = toys.post("/v2/models/fixed/infer", json=body).json()
    assert answer["outputs"][0]["data"] == [1, 3, 2, 4]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, '"inputs" is missing'),
        ({"inputs": []}, '"inputs" is missing or empty'),
        ({"inputs": {}}, "must be a list"),
        ({"inputs": [1]}, "inputs[0] must be an object"),
        ({"inputs": [described(name=...)]}, "inputs[0].name is missing"),
        ({"inputs": [described(name="z")]}, "no input 'z'"),
        ({"inputs": [described(), described()]}, "there twice"),
        ({"inputs": [described(shape=...)]}, "inputs[0].shape is missing"),
        ({"inputs": [described(shape=[-1, 3])]}, "inputs[0].shape"),
        ({"inputs": [described(shape=[1, 2], data=[1, 2])]}, "the model takes [-1, 3]"),
        ({"inputs": [described(shape=[3])]}, "the model takes [-1, 3]"),
        ({"inputs": [described(shape=[0, 3], data=[])]}, "empty"),
        ({"inputs": [described(shape=[2, 3])]}, "has 3 values and its shape [2, 3] needs 6"),
        ({"inputs": [described(shape=[2, 3], data=[[1, 2, 3], [4]])]}, "has 1 values"),
        ({"inputs": [described(shape=[10**15, 3])]}, "needs 3000000000000000"),
        ({"inputs": [described(datatype="INT64")]}, "takes FP32"),
        ({"inputs": [described(datatype=...)]}, "inputs[0].datatype is missing"),
        ({"inputs": [described(data=...)]}, "inputs[0].data is missing"),
        ({"inputs": [described(data=[1, 2, "3"])]}, "inputs[0].data[2] is '3'"),
        ({"inputs": [described(parameters=3)]}, "parameters must be an object"),
        ({"inputs": [described()], "outputs": [{"name": "z"}]}, "no output 'z'"),
        ({"inputs": [described()], "id": 3}, '"id" must be text'),
        ({"inputs": [described(parameters={"binary_data_size": 12})]}, "0 bytes are left"),
    ],
)
def test_bad_requests_get_one_clear_error(
    toys: httpx.Client, body: dict[str, Any], words: str
) -> None:
    answer = toys.post("/v2/models/scale/infer", json=body)
    assert answer.status_code == 422
    assert words in answer.json()["error"]


def scale_input(size: int, shape: list[int] | None = None) -> dict[str, Any]:
    entry = described(data=..., shape=shape or [1, 3])
    return {"inputs": [entry | {"parameters": {"binary_data_size": size}}]}


@pytest.mark.parametrize(
    ("model", "header", "tensor", "words"),
    [
        ("scale", scale_input(8), b"\0" * 8, "has 8 bytes and FP32[1, 3] needs 12"),
        ("scale", scale_input(12), b"\0" * 8, "8 bytes are left"),
        ("scale", scale_input(-1), b"\0" * 8, "binary_data_size is -1"),
        ("scale", scale_input(12), b"\0" * 13, "1 bytes stand behind"),
        (
            "scale",
            scale_input(12),
            np.array([1, np.nan, 1], "<f4").tobytes(),
            "'x' holds nan at [0, 1]",
        ),
        ("scale", scale_input(12), np.array([1, 1, -np.inf], "<f4").tobytes(), "'x' holds -inf"),
    ],
)
def test_bad_binary_tensors_get_one_clear_error(
    toys: httpx.Client, model: str, header: dict[str, Any], tensor: bytes, words: str
) -> None:
    body, headers = binary_body(header, tensor)
    answer = toys.post(f"/v2/models/{model}/infer", content=body, headers=headers)
    assert answer.status_code in (400, 422)
    assert words in answer.json()["error"]


@pytest.mark.parametrize("length", ["x", "-1", "99999", "²"])
def test_a_wrong_header_length_is_refused(toys: httpx.Client, length: str) -> None:
    headers = {LENGTH.encode(): length.encode(), b"Content-Type": b"application/octet-stream"}
    answer = toys.post("/v2/models/scale/infer", content=b"{}", headers=headers)
    assert answer.status_code == 400
    assert "Inference-Header-Content-Length" in answer.json()["error"]


@pytest.mark.parametrize(
    "tensor",
    [b"", b"\1\0\0\0", b"\1\0\0\0a" * 3 + b"\5\0\0\0a", b"\1\0\0\0a" * 5, b"\1\0\0\0\xff" * 4],
    ids=["nothing", "cut-length", "cut-text", "too-much", "not-utf8"],
)
def test_broken_text_tensors_are_refused(toys: httpx.Client, tensor: bytes) -> None:
    entry: dict[str, Any] = {"name": "bytes", "datatype": "BYTES", "shape": [2, 2]}
    entry["parameters"] = {"binary_data_size": len(tensor)}
    body, headers = binary_body({"inputs": [entry]}, tensor)
    answer = toys.post(INFER, content=body, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["field"] == "inputs[0]"


def test_a_huge_shape_of_text_allocates_nothing(toys: httpx.Client) -> None:
    entry: dict[str, Any] = {"name": "bytes", "datatype": "BYTES", "shape": [10**12, 2]}
    entry["parameters"] = {"binary_data_size": 4}
    body, headers = binary_body({"inputs": [entry]}, b"\0\0\0\0")
    assert toys.post(INFER, content=body, headers=headers).status_code == 422
