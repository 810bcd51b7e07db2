"""Applications behind our connections: what the ASGI specification promises them, over a socket.

https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from http.client import HTTPConnection
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop
from engine.serving.http.asgi import HIGH_WATER
from engine.serving.http.connection import Connection, Shared
from engine.serving.lifecycle import Lifecycle
from engine.serving.service import Service
from engine.serving.settings import Settings
from starlette.routing import Route

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

WAIT_SECONDS = 10.0


class Front:
    """A listening socket in front of an application."""

    def __init__(self, port: int, shared: Shared, loop: asyncio.AbstractEventLoop) -> None:
        self.port = port
        self.shared = shared
        self.loop = loop

    def raw(self, sent: bytes) -> socket.socket:
        """A connection on which this was sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_SECONDS)
        connection.sendall(sent)
        return connection

    def ask(self, method: str = "GET", path: str = "/", **of: Any) -> tuple[int, Any, bytes]:
        """Status, headers and body as the standard library's client reads them."""
        client = HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)
        client.request(method, path, **of)
        answer = client.getresponse()
        return answer.status, answer.headers, answer.read()


@contextmanager
def served(app: App) -> Iterator[Front]:
    """An application that answers everything but inference, in a thread."""
    started: Future[Front] = Future()
    over = asyncio.Event()

    async def main() -> None:
        inference: Any = SimpleNamespace()
        made: Any = app
        shared = Shared(inference, made, Lifecycle(), lambda: None, 100, 30.0, 30.0, 1 << 20)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(shared), "127.0.0.1", 0)
        started.set_result(Front(server.sockets[0].getsockname()[1], shared, loop))
        await over.wait()
        server.close()
        for each in tuple(shared.tasks):
            each.cancel()

    thread = threading.Thread(target=lambda: uvloop.run(main()))
    thread.start()
    front = started.result(WAIT_SECONDS)
    try:
        yield front
    finally:
        front.loop.call_soon_threadsafe(over.set)
        thread.join()


def everything(connection: socket.socket) -> bytes:
    """All that comes until the end."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


async def whole_body(receive: Receive) -> bytes:
    pieces, more = [], True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        pieces.append(message["body"])
        more = message["more_body"]
    return b"".join(pieces)


async def answer(send: Send, *bodies: bytes, headers: Any = (), status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for number, body in enumerate(bodies):
        more = number + 1 < len(bodies)
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def echo(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await answer(send, await whole_body(receive))


def test_the_scope_says_what_was_asked() -> None:
    seen: list[dict[str, Any]] = []

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        seen.append(scope)
        await answer(send, b"")

    with served(app) as front:
        front.ask("PUT", "/a%20b/c%2Fd?x=1&y=%20", headers={"X-One": "1", "x-two": "2 "})
    scope = seen[0]
    assert (scope["type"], scope["method"], scope["http_version"]) == ("http", "PUT", "1.1")
    assert (scope["path"], scope["raw_path"]) == ("/a b/c/d", b"/a%20b/c%2Fd")
    assert scope["query_string"] == b"x=1&y=%20"
    assert (b"x-one", b"1") in scope["headers"] and (b"x-two", b"2") in scope["headers"]
    assert scope["server"][1] == front.port


@pytest.mark.parametrize("size", [0, 10, HIGH_WATER * 20])
@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_a_body_of_any_size_arrives_whole(size: int, chunked: bool) -> None:
    body = bytes(range(256)) * (size // 256) + b"a" * (size % 256)
    pieces = [body[at : at + 40_000] for at in range(0, size, 40_000)]
    with served(echo) as front:
        of = {"body": iter(pieces), "encode_chunked": True} if chunked else {"body": body}
        headers = {"Transfer-Encoding": "chunked"} if chunked else {}
        assert front.ask("POST", headers=headers, **of)[2] == body


def test_a_body_that_nobody_reads_is_not_kept() -> None:
    """Backpressure: the client can send what the socket's buffers hold, and no more."""
    go_on = threading.Event()

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        await echo(scope, receive, send)

    size = 32 * 1024 * 1024
    with served(app) as front:
        head = b"POST / HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        client = front.raw(head % size)
        client.settimeout(0.3)
        sent, piece = 0, b"x" * 65536
        with pytest.raises(TimeoutError):
            while sent < size:
                sent += client.send(piece)
        assert sent < size / 2
        (connection,) = front.shared.connections
        assert connection._current._waiting_bytes < 4 * HIGH_WATER
        go_on.set()
        client.settimeout(WAIT_SECONDS)
        received = bytearray()

        def read() -> None:
            received.extend(everything(client))

        reading = threading.Thread(target=read)
        reading.start()
        while sent < size:
            sent += client.send(piece[: size - sent])
        reading.join()
        assert received.count(b"x") >= size


def test_answers_in_pieces_are_chunked_and_in_http_1_0_end_with_the_connection() -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await answer(send, b"one", b"", b"two")

    with served(app) as front:
        status, headers, body = front.ask()
        assert (status, body, headers["transfer-encoding"]) == (200, b"onetwo", "chunked")
        old = everything(front.raw(b"GET / HTTP/1.0\r\n\r\n"))
        assert old.endswith(b"\r\n\r\nonetwo")
        assert b"connection: close\r\n" in old and b"chunked" not in old


def test_an_answer_waits_for_its_reader() -> None:
    sent = 0

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            message = {"type": "http.response.body", "body": b"x" * 65536, "more_body": True}
            await send(message)
            sent += 65536

    with served(app) as front, front.raw(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n") as client:
        client.recv(1)
        threading.Event().wait(0.5)
        assert sent < 1000 * 65536 / 2


def test_answers_that_nobody_reads_are_bounded_together() -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await answer(send, b"x" * (int(scope["path"][1:])))

    def ask(size: int) -> bytes:
        return b"GET /%d HTTP/1.1\r\nHost: t\r\n\r\n" % size

    with served(app) as front:
        front.shared.most_unread = 16 << 20
        with front.raw(ask(12 << 20)) as slow:
            slow.recv(1)
            refused = everything(front.raw(ask(12 << 20)))
            assert refused.startswith(b"HTTP/1.1 429 ") and b"MAX_ANSWERS_BYTES" in refused
            assert b"retry-after: 1" in refused
            assert b"x" * 100 in everything(front.raw(ask(100) + b"GARBAGE\r\n\r\n"))
        # The client is gone, and one that reads all of it leaves nothing behind.
        for _ in range(3):
            last = ask(12 << 20).replace(b"Host", b"Connection: close\r\nHost")
            assert len(everything(front.raw(last))) > 12 << 20
        assert front.shared.unread == 0


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_has_none(status: int) -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await answer(send, b"not sent", status=status)

    with served(app) as front:
        pair = front.raw(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n" * 2)
        pair.shutdown(socket.SHUT_WR)
        received = everything(pair)
    assert received.count(b"HTTP/1.1 %d " % status) == 2
    assert b"not sent" not in received and b"content-length" not in received


def test_head_gets_the_head_only() -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await answer(send, b"body")

    with served(app) as front:
        status, headers, body = front.ask("HEAD")
        assert (status, headers["content-length"], body) == (200, "4", b"")
        pair = front.raw(b"HEAD / HTTP/1.1\r\nHost: t\r\n\r\nGET / HTTP/1.0\r\n\r\n")
        assert everything(pair).count(b"body") == 1


def test_a_client_that_waits_to_be_asked_is_asked_when_its_body_is_read() -> None:
    asked = b"POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"

    async def refuse(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await answer(send, b"no", status=403)

    with served(echo) as front, front.raw(asked) as client:
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"body")
        assert client.recv(1000).endswith(b"body")
    with served(refuse) as front, front.raw(asked) as client:
        assert client.recv(100).startswith(b"HTTP/1.1 403 ")


def test_an_application_learns_that_its_client_left() -> None:
    left = threading.Event()

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await whole_body(receive)
        assert (await receive())["type"] == "http.disconnect"
        await answer(send, b"nobody reads this")
        left.set()

    with served(app) as front:
        client = front.raw(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        # With bytes unread, so that it is a reset.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        assert left.wait(WAIT_SECONDS)


def test_what_an_application_does_after_its_answer_delays_nobody() -> None:
    go_on, done = threading.Event(), threading.Event()

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await answer(send, scope["path"].encode())
        if scope["path"] == "/first":
            while not go_on.is_set():
                await asyncio.sleep(0.01)
            assert (await receive())["type"] == "http.disconnect"
            done.set()

    with served(app) as front:
        client = HTTPConnection("127.0.0.1", front.port, timeout=WAIT_SECONDS)
        for path in ("/first", "/second"):
            client.request("GET", path)
            assert client.getresponse().read() == path.encode()
        go_on.set()
        assert done.wait(WAIT_SECONDS)


async def _raises(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    raise KeyError("nobody foresaw this")


async def _returns(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    pass


async def _only_starts(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def _begins_with_a_body(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await send({"type": "http.response.body", "body": b"x"})


@pytest.mark.parametrize("app", [_raises, _returns, _only_starts, _begins_with_a_body])
def test_an_application_without_an_answer_is_a_500(app: App) -> None:
    with served(app) as front:
        status, headers, body = front.ask()
    assert (status, headers["connection"]) == (500, "close")
    assert b"unexpected error" in body and b"nobody" not in body


@pytest.mark.parametrize("length", [b"3", b"9"], ids=["too long", "too short"])
def test_a_body_unlike_its_length_ends_the_connection(length: bytes) -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await answer(send, b"four", headers=[(b"content-length", length)])

    with served(app) as front:
        received = everything(front.raw(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n" * 2))
    assert received.startswith(b"HTTP/1.1 500 ")
    assert received.count(b"HTTP/1.1 ") == 1


def test_a_stop_answers_what_it_does_not_wait_for() -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await asyncio.sleep(3600)

    with served(app) as front:
        client = front.raw(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        while not front.shared.tasks:
            threading.Event().wait(0.01)
        (connection,) = front.shared.connections
        front.loop.call_soon_threadsafe(connection.give_up)
        assert everything(client).startswith(b"HTTP/1.1 503 ")


async def broken(*_: Any) -> None:
    """A route that nobody foresaw to fail."""
    raise ZeroDivisionError


def test_a_route_of_ours_that_raises_answers_json() -> None:
    service = Service(Settings())
    app: Any = service.app
    paths = []
    for route in service.api.routes:
        if isinstance(route, Route):
            route.app = broken
            paths.append(route.path.replace("{", "").replace("}", ""))
    assert len(paths) > 15
    with served(app) as front:
        for path in paths:
            status, headers, body = front.ask(path=path)
            assert (status, headers["Content-Type"]) == (500, "application/json"), path
            assert json.loads(body)["code"] == "route_failed"
