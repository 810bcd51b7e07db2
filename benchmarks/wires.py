"""Request bodies and answers in the three forms that the servers speak."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
# rows: {"data": nested lists}; v2: the Open Inference Protocol in JSON; binary: its binary tensors.
Wire = Literal["rows", "v2", "binary"]
INPUT = "features"
OUTPUT = "probabilities"
HEADER_LENGTH = "Inference-Header-Content-Length"
DECIMALS = 4
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Request:
    """The body of a POST, and its headers."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def encode(wire: Wire, inputs: FloatArray) -> Request:
    """The request that asks for these rows or images."""
    headers = {"Content-Type": "application/json"}
    if wire == "rows":
        return Request(_json({"data": _rounded(inputs).tolist()}), headers)
    tensor: dict[str, Any] = {"name": INPUT, "shape": list(inputs.shape), "datatype": "FP32"}
    document: dict[str, Any] = {"inputs": [tensor]}
    if wire == "v2":
        tensor["data"] = _rounded(inputs).reshape(-1).tolist()
        return Request(_json(document), headers)
    data = inputs.astype("<f4").tobytes()
    tensor["parameters"] = {"binary_data_size": len(data)}
    document["parameters"] = {"binary_data_output": True}
    header = _json(document)
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
    return Request(header + data, headers)


def decode(body: bytes, header_length: str | None) -> FloatArray:
    """The probabilities in an answer, in whichever form it came.

    Raises:
        ValueError: there are none.
    """
    header = body if header_length is None else body[: int(header_length)]
    document: Any = json.loads(header)
    if isinstance(document, list):
        return np.array(document, dtype=np.float32)
    if isinstance(document.get("outputs"), list):
        tensor = next((each for each in document["outputs"] if each["name"] == OUTPUT), None)
        if tensor is None:
            raise ValueError(f"the answer has no output {OUTPUT!r}: {document}")
        if "data" in tensor:
            return np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
        # The only output, or the last one behind the label.
        size = tensor["parameters"]["binary_data_size"]
        return np.frombuffer(body[-size:], dtype="<f4").reshape(tensor["shape"])
    probabilities = document.get("outputs", {}).get(OUTPUT, document.get("predictions"))
    if probabilities is None:
        raise ValueError(f"the answer has no probabilities: {document}")
    return np.array(probabilities, dtype=np.float32)


def same(answer: FloatArray, expected: FloatArray) -> bool:
    """Whether an answer is what bare onnxruntime gives."""
    return answer.shape == expected.shape and bool(
        np.allclose(answer, expected, rtol=TOLERANCE, atol=TOLERANCE)
    )


def _rounded(inputs: FloatArray) -> npt.NDArray[np.float64]:
    # Without the digits that float32 does not have.
    exact: npt.NDArray[np.float64] = inputs.astype(np.float64)
    return np.round(exact, DECIMALS)


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
