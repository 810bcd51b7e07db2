"""One request to the FastAPI application: everything that is not inference."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, Final, Protocol

import orjson
from starlette.types import ASGIApp, Message, Scope

from engine.serving.answer import JSON, Answer, Header
from engine.serving.errors import RequestError
from engine.serving.fault import fault_of
from engine.serving.http.answers import CONTINUE, SMALL, Heads, error_answer

log = logging.getLogger(__name__)

# Bytes of a body that wait for the application before no more are read.
HIGH_WATER: Final = 64 * 1024
LAST_CHUNK: Final = b"0\r\n\r\n"


class Output(Protocol):
    """The connection that an exchange answers on."""

    heads: Heads

    @property
    def draining(self) -> bool:
        """Whether the process was asked to stop, so that each answer is the last."""
        ...

    def write(self, *pieces: bytes | memoryview) -> None:
        """Send bytes."""
        ...

    def check_unread(self, size: int) -> None:
        """Check that there is room for so many bytes until the client reads them.

        Raises:
            Overloaded: there is none.
        """
        ...

    async def writable(self) -> None:
        """Wait until the client has read enough of what was written."""
        ...

    def hold_back(self, exchange: Exchange, *, full: bool) -> None:
        """Read no more of the request's body for now, or go on."""
        ...

    def answered(self, exchange: Exchange, *, close: bool) -> None:
        """The whole answer was written."""
        ...


class Exchange:
    """A request and its answer as ASGI: https://asgi.readthedocs.io/en/latest/specs/www.html.

    Args:
        app: the application.
        scope: of the request.
        output: where the answer is written.
        tasks: of the process; the one of this exchange is among them while it runs.
    """

    keep_alive = True
    expects = False
    complete = False

    def __init__(
        self, app: ASGIApp, scope: Scope, output: Output, tasks: set[asyncio.Task[None]]
    ) -> None:
        self._app = app
        self._scope = scope
        self._output = output
        self._tasks = tasks
        self._task: asyncio.Task[None] | None = None
        self._body: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._told = False
        self._changed = asyncio.Event()
        # The head of the answer waits for the first piece of the body.
        self._start: Message | None = None
        self.started = False
        self._chunked = False
        self._left: int | None = None
        self._sends_body = scope["method"] != "HEAD"
        # Answered whole, or its client is gone.
        self.over = False

    def begin(self) -> None:
        """It is its turn."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._tasks.add(self._task)
        self._task.add_done_callback(self._tasks.discard)

    def add(self, more: bytes) -> None:
        """A piece of the body arrived."""
        if self.over:
            return
        self._body.append(more)
        self._waiting_bytes += len(more)
        if self._waiting_bytes > HIGH_WATER:
            self._output.hold_back(self, full=True)
        self._changed.set()

    def end(self) -> None:
        """All of the body is there."""
        self.complete = True
        self._changed.set()

    def gone(self) -> None:
        """The client went away."""
        self.over = True
        self._body.clear()
        self._changed.set()

    def give_up(self) -> None:
        """A stop does not wait for the answer any longer."""
        if self._task is not None:
            self._task.cancel()
        if not self.over:
            self._fail(503, "the service is shutting down and did not finish the request")

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001 - answered and logged
            cause = fault_of(error).text(with_messages=log.isEnabledFor(logging.DEBUG))
            fields = {"path": self._scope["path"], "exception": cause}
            log.error("a route failed", extra={"fields": fields})
        if not self.over:
            self._fail(500, "unexpected error; see the log")

    def _fail(self, status: int, reason: str) -> None:
        body = orjson.dumps({"error": reason, "code": "route_failed"})
        self._refuse((status, (JSON,), [body]))

    def _refuse(self, answer: Answer) -> None:
        """An answer in place of the application's; where that has begun, the connection ends."""
        self.over = True
        if not self.started:
            status, headers, chunks = answer
            body = b"".join(chunks)
            head = self._output.heads.plain(status, headers, len(body), close=True)
            self._output.write(head + (body if self._sends_body else b""))
        self._output.answered(self, close=True)

    async def _receive(self) -> Message:
        if self.expects and not self.complete and not self._start:
            self.expects = False
            self._output.write(CONTINUE)
        while not (self._body or self.over or (self.complete and not self._told)):
            self._changed.clear()
            await self._changed.wait()
        if self._body:
            body = b"".join(self._body)
            self._body.clear()
            self._waiting_bytes = 0
            self._output.hold_back(self, full=False)
            self._told = self.complete
            return {"type": "http.request", "body": body, "more_body": not self.complete}
        if self.complete and not self._told and not self.over:
            self._told = True
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self.over:
            return
        if self._start is None:
            if message["type"] != "http.response.start":
                raise RuntimeError(f"{message['type']} before http.response.start")
            self._start = message
            return
        if message["type"] != "http.response.body":
            raise RuntimeError(f"{message['type']} after http.response.start")
        body = message.get("body", b"")
        more = message.get("more_body", False)
        pieces: list[Any] = [] if self.started else [self._head(len(body), more=more)]
        if self._sends_body:
            self._check_length(len(body), more=more)
            if self._chunked:
                framed = [b"%x\r\n" % len(body), body, b"\r\n"] if body else []
                pieces += framed if more else [*framed, LAST_CHUNK]
            else:
                pieces.append(body)
        size = sum(map(len, pieces))
        if size <= SMALL:
            pieces = [b"".join(pieces)]
        elif not self.started:
            try:
                self._output.check_unread(size)
            except RequestError as error:
                self._refuse(error_answer(error))
                self._changed.set()
                return
        self.started = True
        self._output.write(*pieces)
        if more:
            await self._output.writable()
            return
        self.over = True
        self._changed.set()
        self._output.answered(self, close=not self.keep_alive)

    def _head(self, size: int, *, more: bool) -> bytes:
        start = self._start or {}
        status: int = start["status"]
        headers: list[Header] = []
        length: int | None = None
        for name, value in start.get("headers", ()):
            name = name.lower()
            if name == b"content-length":
                length = int(value)
            elif name == b"connection":
                self.keep_alive = self.keep_alive and value.lower() != b"close"
            elif name != b"transfer-encoding":
                headers.append((name, value))
        self.keep_alive = self.keep_alive and not self._output.draining
        if status < 200 or status in (204, 304):
            self._sends_body = False
            return self._output.heads.unframed(status, headers, close=not self.keep_alive)
        if length is None and not more:
            length = size
        self._left = length
        if length is not None:
            return self._output.heads.plain(status, headers, length, close=not self.keep_alive)
        if self._scope["http_version"] == "1.1":
            self._chunked = True
            headers.append((b"transfer-encoding", b"chunked"))
        else:
            # The end of the connection is the end of the body.
            self.keep_alive = False
        return self._output.heads.unframed(status, headers, close=not self.keep_alive)

    def _check_length(self, size: int, *, more: bool) -> None:
        if self._left is None:
            return
        self._left -= size
        if self._left < 0 or (self._left and not more):
            raise RuntimeError("the body is not as long as its Content-Length says")
