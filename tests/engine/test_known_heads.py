"""Heads that were read before: whatever comes, however cut, is answered as the parser's way."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from engine.serving.http.known import LARGEST_HEAD, MOST_HEADS, KnownHeads
from engine.serving.http.routes import Route
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.volume import examples
from tests.engine.wire import World, opened, post

BODY = b'{"data":[[1,2,3]]}'
OTHER = b'{"data":[[4,5,6]]}'
WRONG = b'{"data":[[4,"5"]]}'
OIP = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
).encode()
ROUTE = Route("predict")


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
    post(BODY, "Connection: Upgrade", "Upgrade: h2c"),
    b"GET /healthz HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
]
ODD = [
    b"\r\n",
    b"\r",
    b"\x00garbage\r\n\r\n",
    post(BODY, "Connection: close"),
    post(BODY, version="1.0"),
    post(BODY)[:-1],
]


@pytest.fixture(scope="module")
def world(toy_dir: Path) -> Iterator[World]:
    with opened(toy_dir) as world:
        yield world


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


@pytest.mark.slow
@settings(max_examples=examples(250), deadline=None)
@given(pieces=streams())
def test_any_stream_is_answered_as_by_the_parser(
    world: World, pieces: list[tuple[bytes, bool]]
) -> None:
    assert world.answers(pieces, known=True) == world.answers(pieces, known=False)


@pytest.mark.parametrize("close", [post(BODY, "Connection: close"), post(BODY, version="1.0")])
def test_the_last_answer_is_the_same_on_both_ways(world: World, close: bytes) -> None:
    """Behind a request that waits, and alone."""
    ways = [[(post(BODY) + close, True)], [(post(BODY), True), (close, True)]]
    (one, ended), (other, ended_too) = (world.answers(way, known=False) for way in ways)
    assert one == other
    assert ended and ended_too


def test_the_second_request_of_a_kind_is_known(world: World) -> None:
    before = world.found
    # One after the other: while one is computed the next one takes the parser's way.
    for body, predictions in ((BODY, b"[[2.0,4.0,6.0]]"), (OTHER, b"[[8.0,10.0,12.0]]")) * 2:
        answered, closed = world.answers([(post(body), True)], known=True)
        assert answered.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b'"predictions":' + predictions in answered
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


@pytest.mark.parametrize(
    "data", [post(BODY), b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n", b"\0", b"POST / HTTP/1.1\r\n"]
)
def test_a_closed_connection_leaves_no_circle_for_the_collector(world: World, data: bytes) -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            world.answers([(data, True)], known=False)
        assert gc.collect() < 100
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
