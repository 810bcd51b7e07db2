"""Heads that were read before: whatever comes, however cut, is answered as the parser's way does.

The connections here have a transport that only remembers, so that every piece arrives exactly as
drawn.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from app.http.connection import Connection
from app.http.heads import LARGEST_HEAD, MOST_HEADS, KnownHeads
from app.http.inference import Route
from app.server import Server
from app.settings import Settings

BODY = b'{"data":[[1,2,3]]}'
OTHER = b'{"data":[[4,5,6]]}'
WRONG = b'{"data":[[4,"5"]]}'
OIP = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
).encode()
ROUTE = Route("predict")


def post(body: bytes, *extra: str, path: str = "/predict", version: str = "1.1") -> bytes:
    lines = [f"POST {path} HTTP/{version}", "Host: t", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", *extra, "", ""]).encode() + body


CHUNKED = post(b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
REQUESTS = [
    post(BODY),
    post(OTHER),
    post(WRONG),
    post(b"{"),
    post(BODY, "X-Request-Id: a"),
    post(BODY, "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    post(OIP, path="/v2/models/scale/infer"),
    post(BODY, path="/predict/nobody"),
    post(BODY, "Expect: 100-continue"),
    post(BODY, "Content-Encoding: gzip"),
    CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n",
]
ODD = [
    b"\r\n",
    b"\r",
    b"\x00garbage\r\n\r\n",
    post(BODY, "Connection: close"),
    post(BODY, version="1.0"),
    post(BODY)[:-1],
]


class Memory(asyncio.Transport):
    """Remembers what was written."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        if not self.closed:
            self.written += data

    def writelines(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("sockname", "peername") else default

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Parsed(KnownHeads):
    """Knows nothing: everything takes the parser's way."""

    def find(self, data: bytes) -> None:
        return None


class World:
    """One loaded service, and connections of both kinds to it."""

    def __init__(self, server: Server, runner: asyncio.Runner) -> None:
        self._server = server
        self._runner = runner
        self.known = server._service.shortcut._known
        # Else the examples before would decide what is computed at once.
        server._service.shortcut.turns.company = lambda: 2  # type: ignore[method-assign]
        self.found = 0
        find = self.known.find

        def counting(data: bytes) -> Any:
            known = find(data)
            self.found += known is not None
            return known

        self.known.find = counting  # type: ignore[method-assign]

    def answers(self, pieces: list[tuple[bytes, bool]], *, known: bool) -> tuple[bytes, bool]:
        """All that is written, without names made for requests; and whether it was closed."""
        self._server._service.shortcut._known = self.known if known else Parsed()
        return self._runner.run(self._feed(pieces))

    async def _feed(self, pieces: list[tuple[bytes, bool]]) -> tuple[bytes, bool]:
        connection, memory = self._server._protocol(), Memory()
        assert isinstance(connection, Connection)
        connection.connection_made(memory)
        for piece, turn in pieces:
            if memory.closed:
                break
            connection.data_received(piece)
            if turn:
                await asyncio.sleep(0)
        # As many turns as nothing new needs.
        before, quiet = b"", 0
        while quiet < 20:
            await asyncio.sleep(0)
            quiet = quiet + 1 if memory.written == before and not self._busy(connection) else 0
            before = memory.written
        answered = re.sub(rb"x-request-id: \w+-\w+", b"", memory.written), memory.closed
        connection.connection_lost(None)
        await asyncio.sleep(0)
        return answered

    def _busy(self, connection: Connection) -> bool:
        return connection._awaited is not None


@pytest.fixture(scope="module")
def world(toy_dir: Path) -> Iterator[World]:
    server = Server(Settings(models_dir=str(toy_dir), default_model="scale"))

    async def start() -> None:
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.lifespan.startup()
        while not server._service.lifecycle.ready:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(start())
        yield World(server, runner)
        runner.run(server.lifespan.shutdown())


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[bytes, bool]]:
    """Requests, cut anywhere; and whether the event loop turns after each piece."""
    whole = draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=5))
    for odd in draw(st.lists(st.sampled_from(ODD), max_size=1)):
        whole.insert(draw(st.integers(0, len(whole))), odd)
    stream = b"".join(whole)
    cuts: set[int] = set()
    at = 0
    for each in whole:
        at += len(each)
        # Mostly between requests, as clients send them.
        cuts |= {at} if draw(st.integers(0, 3)) else set()
    cuts |= set(draw(st.lists(st.integers(1, len(stream)), max_size=3)))
    borders = [0, *sorted(cuts), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(borders) if a < b]
    return [(piece, draw(st.booleans())) for piece in pieces]


@settings(max_examples=250, deadline=None)
@given(pieces=streams())
def test_any_stream_is_answered_as_by_the_parser(
    world: World, pieces: list[tuple[bytes, bool]]
) -> None:
    assert world.answers(pieces, known=True) == world.answers(pieces, known=False)


def test_the_second_request_of_a_kind_is_known(world: World) -> None:
    before = world.found
    answered, closed = world.answers([(post(BODY), True), (post(OTHER), True)] * 2, known=True)
    assert answered.count(b"HTTP/1.1 200 OK\r\n") == 4
    assert answered.count(b'"predictions":[[8.0,10.0,12.0]]') == 2
    assert not closed
    assert world.found - before >= 3


def test_a_request_leaves_no_circle_for_the_collector(world: World) -> None:
    pieces = [(each, True) for each in (post(BODY), post(WRONG), post(BODY, path="/predict/no"))]
    gc.collect()
    gc.disable()
    try:
        world.answers(pieces * 50, known=True)
        assert gc.collect() < 50
    finally:
        gc.enable()


def learned(data: bytes, headers: list[tuple[bytes, bytes]], body: bytes = BODY) -> bool:
    known = KnownHeads()
    known.learn(data, ROUTE, headers, body)
    return known.find(data) is not None


def fields(*more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    return [(b"content-length", b"%d" % len(BODY)), *more]


def test_only_harmless_heads_are_learned() -> None:
    assert learned(post(BODY), fields())
    assert not learned(post(BODY), [])
    assert not learned(post(BODY), [(b"content-length", b"+%d" % len(BODY))])
    assert not learned(post(BODY), fields((b"content-length", b"%d" % len(BODY))))
    for name in (b"transfer-encoding", b"upgrade", b"x-request-id", b"traceparent"):
        assert not learned(post(BODY), fields((name, b"x")))
    # Not alone, not whole, or in a form that only the parser understands.
    assert not learned(post(BODY) + post(BODY), fields())
    assert not learned(post(BODY)[5:-3], fields())
    assert not learned(post(BODY).replace(b"\r\n", b"\n"), fields())
    assert not learned(post(BODY, "A: " + "a" * LARGEST_HEAD), fields())


def test_the_memory_of_heads_is_bounded() -> None:
    known = KnownHeads()
    for number in range(3 * MOST_HEADS):
        known.learn(post(BODY, f"A: {number}"), ROUTE, fields(), BODY)
        assert len(known._heads) <= MOST_HEADS
    last = known.find(post(OTHER, f"A: {3 * MOST_HEADS - 1}"))
    assert last is not None
    assert known.find(post(OTHER + b" ", f"A: {3 * MOST_HEADS - 1}")) is None
