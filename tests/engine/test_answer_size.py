"""Answers are bounded, one by one and all together, whatever a client asks and does not read."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from engine.serving.errors import BodyTooLarge
from engine.serving.package.manifest import OutputTensor
from engine.serving.transports.answer_size import check_names

from tests.engine.server import Server, running

ROWS = 100
# Three numbers of 4 bytes are the output of a row of the model.
ROW_BYTES = 12
MOST_UNREAD = 400_000
PATIENCE = 30.0


@pytest.fixture(scope="module")
def small(toy_dir: Path) -> Iterator[Server]:
    """A service whose answers may have the outputs of so many rows."""
    settings = {"DEFAULT_MODEL": "scale", "MAX_ANSWER_BYTES": str(ROWS * ROW_BYTES)}
    with running(toy_dir, **settings) as server:
        yield server


def asked(server: Server, way: str, rows: int) -> httpx.Response:
    """The answer to so many rows; the ways are paths, and one asks for binary tensors."""
    data: list[Any] = [[1.0, 2.0, 3.0]] * rows
    bodies: dict[str, Any] = {
        "/predict": {"data": data},
        "/invocations": {"inputs": data},
        "/v1/models/scale:predict": {"instances": data},
    }
    binary = {"parameters": {"binary_data_output": True}} if way == "binary" else {}
    tensor = {"name": "x", "shape": [rows, 3], "datatype": "FP32", "data": data}
    path = way if way in bodies else "/v2/models/scale/infer"
    return httpx.post(server.url + path, json=bodies.get(way, {"inputs": [tensor], **binary}))


@pytest.mark.slow
@pytest.mark.parametrize(
    "way", ["/predict", "/invocations", "/v1/models/scale:predict", "tensors", "binary"]
)
def test_an_answer_has_at_most_so_many_bytes_of_outputs(small: Server, way: str) -> None:
    assert asked(small, way, ROWS).status_code == 200
    refused = asked(small, way, ROWS + 1)
    assert refused.status_code == 413
    assert "would have 1212 bytes of outputs; send fewer rows" in refused.text
    assert "at most 1200 bytes of outputs in an answer (MAX_ANSWER_BYTES)" in refused.text
    assert asked(small, way, 1).status_code == 200


def test_names_of_classes_beside_each_value_count() -> None:
    """An object for each row has all names again, which no client sent."""
    output = OutputTensor.model_validate(
        {"name": "p", "datatype": "FP32", "shape": [-1, 2], "labels": ["a" * 500, "b" * 500]}
    )
    values = {"p": np.zeros((1000, 2), np.float32)}
    check_names([output], values, [500, 500], 600_000)
    with pytest.raises(BodyTooLarge, match="would have 1128000 bytes"):
        check_names([output], values, [1000], 600_000)
    named = output.model_copy(update={"labels": []})
    check_names([named], values, [1000], 600_000)


@pytest.mark.slow
def test_answers_that_nobody_reads_are_bounded_together(toy_dir: Path) -> None:
    """Small answers are given all the same, and large ones once the others are gone."""
    settings = {
        "DEFAULT_MODEL": "scale",
        "MAX_ANSWERS_BYTES": str(MOST_UNREAD),
        "MAX_QUEUE_ROWS": "20000",
    }
    # Each answer is larger than what the kernel keeps for a client by itself.
    large = json.dumps({"data": [[1e9, 1e9, 1e9]] * 20000}).encode()
    with running(toy_dir, **settings) as server:

        def ask(body: bytes) -> httpx.Response:
            return httpx.post(f"{server.url}/predict", content=body, timeout=20)

        assert ask(large).status_code == 200
        deaf = [_deaf(server, large) for _ in range(3)]
        until = time.monotonic() + PATIENCE
        # At first they are still in the queue.
        while "MAX_ANSWERS_BYTES" not in (refused := ask(large)).text:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert f"of {MOST_UNREAD} bytes; try again later" in refused.json()["error"]
        assert ask(b'{"data": [[1, 2, 3]]}').status_code == 200
        for each in deaf:
            each.close()
        while ask(large).status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.05)


def _deaf(server: Server, body: bytes) -> socket.socket:
    """A client that asks and never reads."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((server.host, server.port))
    head = b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(body)
    connection.sendall(head + body)
    return connection
