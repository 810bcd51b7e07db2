"""Request ids: a client's own is kept where that is harmless, others are made and unique."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from engine.serving.request import RequestIds

from tests.engine.server import Server, running


@pytest.fixture(scope="module")
def server(toy_dir: Path) -> Iterator[Server]:
    with running(toy_dir, DEFAULT_MODEL="scale") as server:
        yield server


@pytest.mark.parametrize("given", ["a", "2f1c-77.B_9", "x" * 128])
def test_a_harmless_id_is_kept(given: str) -> None:
    assert RequestIds().of({b"x-request-id": given.encode()}, 1) == given


@pytest.mark.parametrize("given", [b"", b"x" * 129, b"a b", b"a\xff", b'a"', b"a\n"])
def test_any_other_is_replaced(given: bytes) -> None:
    made = RequestIds().of({b"x-request-id": given}, 1)
    assert made.encode() != given
    assert RequestIds().of({b"x-request-id": made.encode()}, 2) == made


def test_made_ids_are_unique_over_processes_too() -> None:
    one, other = RequestIds(), RequestIds()
    assert len({each.of({}, number) for each in (one, other) for number in range(100)}) == 200


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/predict", "/v2/models/scale/infer", "/predict/nobody"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_every_inference_answer_carries_it(server: Server, path: str, method: str) -> None:
    url = server.url + path
    own = httpx.request(method, url, headers={"X-Request-Id": "mine"}, json={})
    assert own.headers["x-request-id"] == "mine"
    first, second = (httpx.request(method, url, json={}).headers for _ in range(2))
    assert first["x-request-id"] != second["x-request-id"]
