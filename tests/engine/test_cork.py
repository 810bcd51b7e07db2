"""Head and body of an answer leave together, and a head alone is never kept."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from engine.serving.http.cork import CorkedTransport


class Sink:
    """A transport that records what leaves it, call by call."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | memoryview) -> None:
        self.sent.append(bytes(data))

    def writelines(self, data: list[bytes]) -> None:
        self.sent.append(b"".join(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 42


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def corked(sink: Sink) -> CorkedTransport:
    transport: Any = sink
    return CorkedTransport(transport)


def test_head_and_body_leave_in_one_call(sink: Sink, corked: CorkedTransport) -> None:
    corked.write(b"HTTP/1.1 200 OK\r\n\r\n")
    assert sink.sent == []
    corked.write(b"body")
    corked.write(b"more")
    assert sink.sent == [b"HTTP/1.1 200 OK\r\n\r\nbody", b"more"]


def test_a_head_without_a_body_leaves_with_the_flush_or_the_close(
    sink: Sink, corked: CorkedTransport
) -> None:
    corked.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    corked.flush()
    corked.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    corked.close()
    corked.flush()
    assert sink.sent == [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"]
    assert corked.is_closing()


def test_a_body_that_looks_like_a_head_keeps_its_place(sink: Sink, corked: CorkedTransport) -> None:
    pieces: list[bytes | memoryview] = [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.",
        memoryview(b"x"),
        b"HTTP/1.",
    ]
    for piece in pieces:
        corked.write(piece)
    corked.flush()
    assert b"".join(sink.sent) == b"".join(pieces)


def test_everything_else_is_the_transports(corked: CorkedTransport) -> None:
    assert corked.get_write_buffer_size() == 42


def test_answers_without_a_body_arrive(toys: httpx.Client) -> None:
    assert toys.head("/docs").status_code in (200, 405)
    assert toys.request("OPTIONS", "/v2").status_code == 405
