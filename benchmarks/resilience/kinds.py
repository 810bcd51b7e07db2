"""The requests of the experiments, as they go over the wire."""

from __future__ import annotations

import numpy as np

from benchmarks.resilience.client import Kind
from benchmarks.wires import FloatArray, Request, encode

HEAVY_ROWS = 16
HEAVY_WIDTH = 64
REFUSED = (429, 503)
IRIS = np.array([[5.9, 3.0, 5.1, 1.8]], dtype=np.float32)


def heavy() -> Kind:
    """16 rows for the heavy model; refusing it is an answer too."""
    values = np.random.default_rng(41).normal(size=(HEAVY_ROWS, HEAVY_WIDTH))
    request = post("/predict", encode("rows", values.astype(np.float32)))
    return Kind("heavy", request, (200, *REFUSED))


def iris() -> Kind:
    """One flower."""
    return Kind("iris", post("/predict", encode("rows", IRIS)), (200,))


def post(path: str, request: Request) -> bytes:
    """A POST request."""
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    lines.append(f"Content-Length: {len(request.body)}")
    return head("POST", path, *lines) + request.body


def head(method: str, path: str, *lines: str) -> bytes:
    """A request's first line and headers."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode()


def mixed() -> list[Kind]:
    """What a service meets in a long run: both protocols, large and small, right and wrong."""
    flowers = np.repeat(IRIS, 256, axis=0)
    return [
        Kind("predict", post("/predict", encode("rows", IRIS)), (200,), 10),
        Kind("predict 256 rows", post("/predict", encode("rows", flowers)), (200,), 1),
        Kind("infer", _infer("v2", IRIS), (200,), 4),
        Kind("infer binary", _infer("binary", flowers), (200,), 3),
        Kind("metrics", head("GET", "/metrics"), (200,), 1),
        Kind("readiness", head("GET", "/readyz"), (200,), 1),
        Kind("metadata", head("GET", "/v2/models/iris"), (200,), 1),
        Kind("too few numbers", _json('{"data": [[5.9, 3.0]]}'), (422,), 1),
        Kind("cut JSON", _json('{"data": [[5.9, 3.0'), (400,), 1),
        Kind("no such model", _json("{}", "/predict/rose"), (404,), 1),
        Kind("wrong method", head("GET", "/predict"), (405,), 1),
        Kind("too large", head("POST", "/predict", "Content-Length: 99999999"), (413,), 1),
        Kind("wrong type", post("/predict", Request(b"x", {"Content-Type": "text/x"})), (415,), 1),
        Kind("client gone", _infer("binary", flowers), (), 1, abandoned=True),
        Kind("client gone early", _infer("v2", IRIS)[:-30], (), 1, abandoned=True),
    ]


def _infer(wire: str, inputs: FloatArray) -> bytes:
    encoded = encode("binary" if wire == "binary" else "v2", inputs)
    return post("/v2/models/iris/infer", encoded)


def _json(text: str, path: str = "/predict") -> bytes:
    json_headers = {"Content-Type": "application/json"}
    return post(path, Request(text.encode(), json_headers))
