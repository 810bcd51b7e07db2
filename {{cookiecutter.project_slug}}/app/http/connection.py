"""One client connection: uvicorn's, with the limits that keep a slow or greedy client harmless,
and a shortcut for requests that are complete when their headers are read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.errors import Overloaded
from app.http.asgi import TASK
from app.http.cork import SMALL, CorkedTransport
from app.http.heads import CLOSE
from app.http.inference import LARGE_BODY, Answer, Route
from app.http.shortcut import Pending, Shortcut
from app.telemetry.record import Record

SWEEP_SECONDS = 1.0
# Longer than load balancers keep theirs, so that they close first and never use a closed one.
KEEP_ALIVE_SECONDS = 65.0
RETRY_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """What connections may cost: how many at once, and bytes of one request body."""

    connections: int
    body_bytes: int


class Shortened:
    """A request on the shortcut, in the place where uvicorn keeps the request that it answers: it
    has what uvicorn reads and sets there. One for each connection, used again and again.
    """

    __slots__ = ("disconnected", "keep_alive", "message_event", "response_complete", "scope")

    def __init__(self) -> None:
        self.response_complete = True
        self.disconnected = False
        self.keep_alive = True
        self.scope: dict[str, Any] = {}
        # uvicorn sets it when the client goes; nobody waits for it here.
        self.message_event = asyncio.Event()


class Connection(HttpToolsProtocol):
    """An HTTP connection that is closed when its client is too slow.

    It keeps the time at which the client was last known to do its part: it connected, began a
    request, or was answered. ``sweep`` compares that with what a client may take.

    Args:
        refused: is told when the client is turned away.
        uvicorns: what uvicorn's class takes.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        shortcut: Shortcut,
        refused: Callable[[], None] = lambda: None,
        **uvicorns: Any,
    ) -> None:
        super().__init__(**uvicorns)
        self._limits = limits
        self._short_bytes = min(limits.body_bytes, LARGE_BODY)
        self._refused = refused
        self._shortcut = shortcut
        self._shortened = Shortened()
        # The route of a request on the shortcut, from its headers to its end.
        self._route: Route | None = None
        self._body = bytearray()
        self._awaited: Pending | None = None
        # Whether the parser stands between two messages, and what came since then.
        self._between = True
        self._data = b""
        self._quiet_since = self.loop.time()
        self._blocked_since = 0.0
        # Between an answer and the next request.
        self._idle = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept, or refuse with 503 when there are too many already."""
        super().connection_made(transport)
        self._plain = transport
        self._corked = CorkedTransport(transport)
        self.transport = self._corked  # type: ignore[assignment]
        if len(self.connections) > self._limits.connections:
            self._refused()
            transport.write(_refusal(self._limits.connections))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: nobody waits for what it asked."""
        super().connection_lost(exc)
        task = self.cycle.scope.get(TASK) if self.cycle is not None else None
        if isinstance(task, asyncio.Task):
            task.cancel()
        if self._awaited is not None:
            self._awaited.cancel()
            self._awaited = None

    def data_received(self, data: bytes) -> None:
        """Read requests; one whose body is not complete leaves the shortcut."""
        if self._between:
            known = self._shortcut.known(data)
            if known is not None and self._may_be_answered():
                self._idle = False
                self._begin_short(keep_alive=True)
                self._awaited = self._shortcut.answer_known(known, data, self._reply)
                return
            self._data = data
        super().data_received(data)
        self._data = b""
        if self._route is not None:
            body = bytes(self._body)
            self._leave_shortcut()
            if body:
                self.on_body(body)

    def on_response_complete(self) -> None:
        """The answer was written: send what is held, and go on to the next request.

        As uvicorn does it, but without a timer for each request: ``sweep`` watches idle
        connections as well.
        """
        self._corked.flush()
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._idle = True
            self._quiet_since = self.loop.time()

    def on_message_begin(self) -> None:
        """A request began; its headers must be complete before long."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._between = False
        self._idle = False
        self._quiet_since = self.loop.time()

    def on_headers_complete(self) -> None:
        """Keep a request that may take the shortcut; hand others to ASGI."""
        self._route = self._shortcut.route(self.url) if self._may_be_shortened() else None
        if self._route is None:
            self._leave_shortcut()

    def _may_be_shortened(self) -> bool:
        return (
            self._may_be_answered()
            and not self.expect_100_continue
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
        )

    def _may_be_answered(self) -> bool:
        """Whether the answers before were sent, so that the next one may be made."""
        return (self.cycle is None or self.cycle.response_complete) and not self.flow.write_paused

    def _begin_short(self, *, keep_alive: bool) -> None:
        shortened = self._shortened
        shortened.response_complete = False
        shortened.keep_alive = keep_alive
        self.cycle = shortened  # type: ignore[assignment]

    def _leave_shortcut(self) -> None:
        """Go on as uvicorn would have from the beginning of the request."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        self._route = None
        self._body.clear()
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        # The scope refers to this list.
        self.headers.extend(headers)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is complete: answer it here when it is on the shortcut."""
        keep_alive = self._between = self.parser.should_keep_alive()
        if self._route is None:
            super().on_message_complete()
            return
        route, body = self._route, bytes(self._body)
        self._route = None
        self._body.clear()
        self._begin_short(keep_alive=keep_alive)
        data = self._data if keep_alive else b""
        self._awaited = self._shortcut.answer(route, self.headers, body, data, self._reply)

    def _reply(self, answer: Answer, record: Record) -> None:
        """Write a whole answer."""
        self._awaited = None
        shortened = self._shortened
        if shortened.disconnected:
            return
        _, headers, chunks = answer
        close = not shortened.keep_alive or (len(headers) > 1 and CLOSE in headers)
        small = len(chunks) == 1 and len(chunks[0]) <= SMALL
        defaults = self.server_state.default_headers
        body = bytes(chunks[0]) if small else b""
        sent = self._shortcut.heads.make(defaults, answer, record, close=close, body=body)
        if small:
            # The cork holds nothing: whatever came before is complete.
            self._plain.write(sent)
        else:
            self._corked.write_through(sent, *chunks)
        shortened.response_complete = True
        if close:
            self.transport.close()
        if self.pipeline or self.flow.read_paused:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self._idle = True
            self._quiet_since = self.loop.time()

    def on_body(self, body: bytes) -> None:
        """Collect the body and wake the application once, when all of it is there.

        uvicorn stops reading at 64 KiB and wakes the application for each piece; a megabyte of
        JSON would be copied sixteen times over. The limit on a body's bytes bounds the memory.
        """
        if self._route is not None:
            self._body += body
            if len(self._body) <= self._short_bytes:
                return
            # The long way decodes what is large on a thread, and refuses what is too large.
            body = bytes(self._body)
            self._leave_shortcut()
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > self._limits.body_bytes:
            self.flow.pause_reading()
            cycle.message_event.set()

    def pause_writing(self) -> None:
        """The client does not read its answer as fast as it is written."""
        super().pause_writing()
        self._blocked_since = self.loop.time()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._blocked_since = 0.0

    def too_slow(self, now: float, seconds: float) -> bool:
        """Whether the client has let the connection wait for longer than it may."""
        if self._blocked_since:
            return now - self._blocked_since > seconds
        if self._idle:
            return now - self._quiet_since > KEEP_ALIVE_SECONDS
        waits_for_client = self.cycle is None or self.cycle.response_complete
        return waits_for_client and now - self._quiet_since > seconds


async def sweep(connections: Iterable[Any], seconds: float) -> None:
    """Close connections of clients that are too slow, once a second, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        now = loop.time()
        for connection in list(connections):
            if isinstance(connection, Connection) and connection.too_slow(now, seconds):
                connection.transport.abort()


def _refusal(limit: int) -> bytes:
    error = Overloaded(
        f"{limit} connections are open already; try again later",
        rule=f"at most {limit} connections (MAX_CONNECTIONS)",
    )
    body = orjson.dumps(error.body())
    head = (
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
        f"retry-after: {RETRY_SECONDS}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
