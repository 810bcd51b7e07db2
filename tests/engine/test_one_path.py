"""One way in: seeded streams get the same answers whole, cut anywhere, and byte by byte, from the
parser and through a socket.

Heads that were read before and the parser are the only two ways through the connection; a stream
that comes in whole requests takes the first, one that comes in single bytes the second.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.wire import World, opened, post

SEED = 16
REQUESTS = 50_000 if "ACI_ML_ALL" in os.environ else 2_000
MOST_REQUESTS = 5
END = b"GET /v2 HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def world(toy_dir: Path) -> Iterator[World]:
    with opened(toy_dir) as world:
        yield world


def a_body(draw: random.Random) -> tuple[str, bytes]:
    """A path and a body for it, right or wrong."""
    rows = [[draw.choice([1, 2.5, -3, "a", None, True]) for _ in range(3)]]
    if draw.random() < 0.7:
        rows = [[draw.randint(-9, 9) for _ in range(3)] for _ in range(draw.randint(1, 3))]
    flat = [value for row in rows for value in row]
    entry = {"name": "x", "datatype": "FP32", "shape": [len(rows), 3], "data": flat}
    return draw.choice(
        [
            ("/predict", json.dumps({"data": rows}).encode()),
            ("/predict/scale", json.dumps({"data": rows}).encode()),
            ("/predict/sc%61le?x=1", json.dumps({"data": rows}).encode()),
            ("/v2/models/scale/infer", json.dumps({"inputs": [entry]}).encode()),
            ("/v2/models/scale/infer", json.dumps({"inputs": [entry], "id": "a"}).encode()),
            ("/v2/models/nobody/infer", b"{}"),
            ("/predict", draw.choice([b"", b"{", b"[1]", b"\xff"])),
        ]
    )


def a_request(draw: random.Random) -> bytes:
    kind = draw.random()
    if kind < 0.2:
        method = draw.choice(["GET", "HEAD", "DELETE", "OPTIONS"])
        path = draw.choice(
            ["/healthz", "/v2", "/v2/models/scale", "/nothing", "/predict", "/docs/"]
        )
        return f"{method} {path} HTTP/1.1\r\nHost: t\r\n\r\n".encode()
    path, body = a_body(draw)
    lines = draw.sample(["Accept: */*", "X-Other: a\t", "User-Agent: b", "Expect: none"], 2)
    if kind < 0.4:
        at = draw.randint(0, len(body))
        pieces = [piece for piece in (body[:at], body[at:]) if piece]
        chunks = b"".join(b"%x;e=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        trailer = draw.choice([b"", b"X-Trailer: 1\r\n"])
        head = post(b"", "Transfer-Encoding: chunked", *lines, path=path)
        return head.replace(b"Content-Length: 0\r\n", b"") + chunks + b"0\r\n" + trailer + b"\r\n"
    if kind < 0.45:
        lines += ["Connection: Upgrade", "Upgrade: h2c"]
    return post(body, *lines, path=path)


def a_stream(draw: random.Random) -> list[bytes]:
    """Requests in a row; the last one ends the connection."""
    requests = [a_request(draw) for _ in range(draw.randint(1, MOST_REQUESTS))]
    if draw.random() < 0.1:
        last = draw.choice(
            [b"GARBAGE\r\n\r\n", b"GET /v2 HTTP/1.1\r\n\r\n", b"GET / HTTP/9\r\n\r\n"]
        )
        return [*requests, last, END]
    # Behind a request that ends the connection a client must not send more (RFC 9112, 9.6).
    old = post(b'{"data":[[1,2,3]]}', version="1.0")
    return [*requests, old if draw.random() < 0.1 else END]


def cut(draw: random.Random, stream: bytes) -> list[bytes]:
    borders = sorted(draw.randint(0, len(stream)) for _ in range(draw.randint(0, 4)))
    pieces = [stream[a:b] for a, b in zip([0, *borders], [*borders, len(stream)], strict=True)]
    return [piece for piece in pieces if piece]


@pytest.mark.slow
def test_seeded_streams_are_answered_alike_on_every_way(world: World) -> None:
    draw = random.Random(SEED)
    number = 0
    while number < REQUESTS:
        requests = a_stream(draw)
        number += len(requests)
        stream = b"".join(requests)
        single = [stream[at : at + 1] for at in range(len(stream))]
        turns = draw.random() < 0.3
        expected, closed = world.answers([(piece, turns) for piece in single], known=False)
        assert closed
        ways = [requests, [stream], cut(draw, stream)]
        for pieces in ways:
            turns = draw.random() < 0.5
            got = world.answers([(piece, turns) for piece in pieces], known=True)
            assert got == (expected, True), f"request {number} of seed {SEED}: {pieces}"
        pieces = draw.choice([*ways, single])
        received = world.received([(piece, draw.random() < 0.5) for piece in pieces])
        assert received == expected, f"request {number} of seed {SEED}: {pieces}, through a socket"
