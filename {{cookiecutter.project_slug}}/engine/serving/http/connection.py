"""One client connection: uvicorn's, with the limits that keep a slow or greedy client harmless,
and a shortcut for requests that are complete when their headers are read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from engine.serving.errors import (
    HeadTooLarge,
    InferenceFailed,
    MethodNotAllowed,
    Overloaded,
    RequestError,
)
from engine.serving.http.asgi import TASK, Header, error_answer
from engine.serving.http.cork import SMALL, CorkedTransport
from engine.serving.http.heads import CLOSE, lines_of
from engine.serving.http.inference import LARGE_BODY, Answer, Route
from engine.serving.http.shortcut import Pending, Shortcut
from engine.serving.logs.fault import fault_of
from engine.serving.telemetry.record import Record

log = logging.getLogger(__name__)

# What a request may send beside its body: request line, headers, sizes of chunks and trailers.
# Counted before any of it is kept, and before a key is looked at.
MAX_HEAD_BYTES: Final = 64 * 1024
# As Python objects short headers take 25 times their bytes.
MAX_HEADERS: Final = 1000
# Bytes that come with each piece of a chunked body: its size in hexadecimal and two line ends.
CHUNK_BYTES: Final = 16
# Pieces that are parsed before they are counted; those of a body are at least so long.
PIECE_BYTES: Final = 16 * 1024
# Pieces of chunked bodies after which other connections have their turn.
BUSY_PARTS: Final = 1000
LEAST_PIECE_BYTES: Final = 4096
# Headers that say something about the message itself.
FRAMING: Final = frozenset((b"expect", b"host", b"transfer-encoding", b"upgrade"))
SWEEP_SECONDS = 1.0
# Longer than load balancers keep theirs, so that they close first and never use a closed one.
KEEP_ALIVE_SECONDS = 65.0
RETRY_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """What connections may cost: how many at once, and bytes of one request body."""

    connections: int
    body_bytes: int


class Stage(Enum):
    """Where the parser is in the bytes of a connection."""

    BETWEEN = 0
    HEAD = 1
    BODY = 2
    # Nothing more is read: the connection is closed after the last answer.
    ENDED = 3


class Ended(Exception):
    """Bytes behind the last request of a connection."""


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
        self._stage = Stage.BETWEEN
        # What was received when the parser was between two messages.
        self._data = b""
        # Of the message that is read: bytes that are no body, and how many of them the head has.
        self._overhead = 0
        self._head_bytes = 0
        # Of the piece that is parsed: its size, what it has of a body, in how many parts; and
        # whether the next message begins with it.
        self._piece = 0
        self._body_bytes = 0
        self._body_parts = 0
        self._begins = True
        # Whether the message began inside of a piece, so that its overhead is counted too low.
        self._began_inside = False
        self._hosts = 0
        self._fault: RequestError | None = None
        # The error that ends the connection after the answers that are still to be written.
        self._refusal = b""
        # Received and not parsed while requests wait: as requests, bytes take a hundred times the
        # memory.
        self._unread = b""
        # The request that a task answers; ``cycle`` is the last one that was read.
        self._serving: Any = None
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
            limit = self._limits.connections
            error = Overloaded(
                f"{limit} connections are open already; try again later",
                rule=f"at most {limit} connections (MAX_CONNECTIONS)",
                retry_after=RETRY_SECONDS,
            )
            transport.write(self._ending(error, status=503))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: nobody waits for what it asked."""
        super().connection_lost(exc)
        self.pipeline.clear()
        self._unread = b""
        for cycle in (self._serving, self.cycle):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
            task = cycle.scope.get(TASK) if cycle is not None else None
            if isinstance(task, asyncio.Task):
                task.cancel()
        if self._awaited is not None:
            self._awaited.cancel()
            self._awaited = None

    def data_received(self, data: bytes) -> None:
        """Read requests; one whose body is not complete leaves the shortcut."""
        if self._stage is Stage.ENDED:
            return
        if self._unread:
            self._unread += data
            self.flow.pause_reading()
            return
        if self._stage is Stage.BETWEEN:
            known = self._shortcut.known(data)
            if known is not None and self._may_be_answered():
                self._idle = False
                self._begin_short(keep_alive=True)
                try:
                    self._awaited = self._shortcut.answer_known(known, data, self)
                except Exception as error:  # noqa: BLE001 - the connection ends with it
                    self.fail(error)
                return
            self._data = data
        try:
            self._parse(memoryview(data))
        except RequestError as error:
            self._refuse(error)
        except httptools.HttpParserError as error:
            self._stop(error)
        self._data = b""
        if self._route is not None:
            body = bytes(self._body)
            self._leave_shortcut()
            if body:
                self.on_body(body)

    def _parse(self, data: memoryview) -> None:
        """Parse in pieces, none of which goes far beyond what a request may send.

        Raises:
            RequestError: it sends more, or asks for a tunnel.
            HttpParserError: it is not HTTP, or a callback raised.
        """
        parts = 0
        while data:
            if self.pipeline:
                self._unread = bytes(data)
                break
            room = MAX_HEAD_BYTES - self._overhead
            if self._stage is Stage.BODY:
                room = max(room, LEAST_PIECE_BYTES)
            piece = data[: min(room, PIECE_BYTES)]
            self._piece = len(piece)
            self._body_bytes = self._body_parts = 0
            self._begins = self._stage is Stage.BETWEEN
            upgrades = False
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as stopped:
                # The offset behind the head.
                self._piece, upgrades = stopped.args[0], True
            if upgrades:
                self._ignore_upgrade()
            data = data[self._piece :]
            self._count()
            parts += self._body_parts
        if parts > BUSY_PARTS:
            # The event loop may read one connection many times before it looks at others.
            self._plain.pause_reading()
            self.loop.call_soon(self._read_again)

    def _read_again(self) -> None:
        """Read again after other connections had their turn."""
        if not self.flow.read_paused and not self._plain.is_closing():
            self._plain.resume_reading()

    def _read_on(self) -> None:
        """Parse what was kept while requests waited."""
        data, self._unread = self._unread, b""
        if not self._plain.is_closing():
            self.data_received(data)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._serving = cycle
        super()._start_asgi_task(cycle, app)

    def _count(self) -> None:
        """Count what the piece has beside a body, when its message is not complete."""
        if self._stage is Stage.HEAD or self._stage is Stage.BODY:
            more = self._piece - self._body_bytes - CHUNK_BYTES * self._body_parts
            self._overhead = max(self._head_bytes, self._overhead + more)
            if self._overhead >= MAX_HEAD_BYTES + (self._stage is Stage.BODY):
                raise _too_large()
            if len(self.headers) > MAX_HEADERS:
                raise _too_large()

    def _ignore_upgrade(self) -> None:
        """Go on with HTTP/1.1 (RFC 9110, 7.8).

        The parser has skipped the body of the request, and cannot be talked out of it. A new one
        gets the same head without the header.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise MethodNotAllowed("CONNECT is not answered: this service is no proxy; use POST")
        line = b"%b %b HTTP/%b\r\n" % (method, self.url, self.parser.get_http_version().encode())
        overhead = self._overhead
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(line + lines_of(self.headers) + b"\r\n")
        if self._stage is Stage.BODY:
            self._overhead, self._head_bytes = overhead, max(0, overhead)

    def _stop(self, error: httptools.HttpParserError) -> None:
        """The parser found a fault, or a callback raised."""
        cause = error.__context__
        if isinstance(cause, RequestError):
            self._refuse(cause)
        elif isinstance(cause, Ended) or (cause is None and self._stage is Stage.ENDED):
            # Bytes behind the last request are not read.
            return
        elif isinstance(cause, httptools.HttpParserInvalidURLError) or (
            self._stage is Stage.HEAD and cause is not None and not self.url.startswith(b"/")
        ):
            self._refuse(RequestError("the request target is not a path that begins with /"))
        elif isinstance(cause, Exception) and self._stage is not Stage.HEAD:
            self.fail(cause)
        elif cause is not None:
            self._refuse(_failed(cause))
        else:
            self._refuse(RequestError(f"the request is not valid HTTP/1.1: {error}"))

    def _refuse(self, error: RequestError) -> None:
        """Answer what is no request with an error, when its turn comes, and close."""
        answered = self._stage is Stage.BODY and self._route is None
        self._stage = Stage.ENDED
        self._route = None
        self._body.clear()
        refusal = self._ending(error)
        cycle = self.cycle
        if answered and not (self.pipeline and self.pipeline[0][0] is cycle):
            # Its head was good: it may have an answer already, and must not get a second one.
            if not cycle.response_started:
                cycle.disconnected = True
                cycle.message_event.set()
                self.transport.write(refusal)
            self.transport.close()
            return
        if answered:
            self.pipeline.popleft()
        elif cycle is None or cycle.response_complete:
            self.transport.write(refusal)
            self.transport.close()
            return
        self._refusal = refusal
        self.flow.pause_reading()

    def fail(self, error: Exception) -> None:
        """Close the connection: answering raised this, at any time before or after the answer."""
        failed = _failed(error)
        self._stage = Stage.ENDED
        if not self._shortened.response_complete:
            self._shortened.response_complete = True
            self.transport.write(self._ending(failed))
        self.transport.close()

    def _ending(self, error: RequestError, status: int | None = None) -> bytes:
        """An error as the last answer of a connection."""
        usual, headers, body = error_answer(error)
        length: Header = (b"content-length", b"%d" % len(body))
        lines = lines_of([*self.server_state.default_headers, *headers, CLOSE, length])
        return STATUS_LINE[status or usual] + lines + b"\r\n" + body

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
            if self._unread and not self.pipeline:
                self.loop.call_soon(self._read_on)
        elif self._refusal:
            self.transport.write(self._refusal)
            self.transport.close()
        else:
            self._idle = self._stage is Stage.BETWEEN
            self._quiet_since = self.loop.time()

    def on_message_begin(self) -> None:
        """A request began; its headers must be complete before long."""
        if self._stage is Stage.ENDED:
            raise Ended
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._stage = Stage.HEAD
        self._idle = False
        self._quiet_since = self.loop.time()
        self._hosts = self._head_bytes = 0
        self._fault = None
        self._began_inside = not self._begins
        # What the piece has of the messages before is taken off.
        self._overhead = 0 if self._begins else -self._piece
        self._begins = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; a trailer is none (RFC 9110, 6.5.1)."""
        if self._stage is not Stage.HEAD:
            if name.lower() == b"connection":
                # The parser would obey it.
                self._fault = RequestError(
                    "Connection is no trailer; send it as a header",
                    field="Connection",
                    rule="not in trailers (RFC 9110, 6.5.1)",
                )
            return
        name, value = name.lower(), value.rstrip(b" \t")
        if name in FRAMING:
            if name == b"upgrade":
                return
            self._note(name, value.lower())
        self.headers.append((name, value))

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
        elif name == b"expect":
            self.expect_100_continue = value == b"100-continue"
        elif value != b"chunked" or self.parser.get_http_version() != "1.1":
            self._fault = RequestError(
                f"Transfer-Encoding {value.decode('latin-1')!r} is not read; send a Content-Length",
                field="Transfer-Encoding",
                rule="chunked, in HTTP/1.1 (RFC 9112, 6.1)",
            )

    def on_headers_complete(self) -> None:
        """Keep a request that may take the shortcut; hand others to ASGI."""
        if self.parser.should_upgrade():
            # The parser stops behind the head.
            return
        if self._began_inside and self._head_size() > MAX_HEAD_BYTES:
            raise _too_large()
        if len(self.headers) > MAX_HEADERS:
            raise _too_large()
        if self._hosts != 1 and (self._hosts or self.parser.get_http_version() == "1.1"):
            raise RequestError(
                f"the request has {self._hosts} Host headers; send one",
                field="Host",
                rule="one (RFC 9112, 3.2)",
            )
        if self._fault is not None:
            raise self._fault
        self._head_bytes = max(0, self._overhead)
        self._route = self._shortcut.route(self.url) if self._may_be_shortened() else None
        if self._route is None:
            self._leave_shortcut()
        else:
            self._shortened.keep_alive = self.parser.should_keep_alive()
        self._stage = Stage.BODY

    def _head_size(self) -> int:
        """At least so many bytes has the head."""
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

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
        if self._stage is Stage.HEAD:
            # An upgrade, which is ignored: its body follows.
            return
        if self._fault is not None:
            raise self._fault
        route = self._route
        # A trailer changes nothing, so the parser is not asked again.
        keep_alive = self.cycle.keep_alive if route is None else self._shortened.keep_alive
        self._stage = Stage.BETWEEN if keep_alive else Stage.ENDED
        self._overhead = 0
        if route is None:
            super().on_message_complete()
            return
        body = bytes(self._body)
        self._route = None
        self._body.clear()
        self._begin_short(keep_alive=keep_alive)
        data = self._data if keep_alive else b""
        self._awaited = self._shortcut.answer(route, self.headers, body, data, self)

    def reply(self, answer: Answer, record: Record) -> None:
        """Write a whole answer."""
        self._awaited = None
        shortened = self._shortened
        if shortened.disconnected or shortened.response_complete:
            return
        _, headers, chunks = answer
        close = not shortened.keep_alive or (len(headers) > 1 and CLOSE in headers)
        small = len(chunks) == 1 and len(chunks[0]) <= SMALL
        defaults = self.server_state.default_headers
        body = bytes(chunks[0]) if small else b""
        sent = self._shortcut.heads.make(defaults, answer, record, close=close, body=body)
        shortened.response_complete = True
        if small:
            # The cork holds nothing: whatever came before is complete.
            self._plain.write(sent)
        else:
            self._corked.write_through(sent, *chunks)
        if close:
            self._stage = Stage.ENDED
            self.transport.close()
        if self.pipeline or self.flow.read_paused:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self._idle = self._stage is Stage.BETWEEN
            self._quiet_since = self.loop.time()

    def on_body(self, body: bytes) -> None:
        """Collect the body and wake the application once, when all of it is there.

        uvicorn stops reading at 64 KiB and wakes the application for each piece; a megabyte of
        JSON would be copied sixteen times over. The limit on a body's bytes bounds the memory.
        """
        self._body_bytes += len(body)
        self._body_parts += 1
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


def _failed(error: BaseException) -> InferenceFailed:
    """The error for what nobody foresaw, which is logged."""
    fault = fault_of(error)
    cause = fault.text(with_messages=log.isEnabledFor(logging.DEBUG))
    log.error("a request failed with %s", fault.name, extra={"fields": {"exception": cause}})
    return InferenceFailed("unexpected error; the log has the cause")


def _too_large() -> HeadTooLarge:
    return HeadTooLarge(
        f"request line, headers and trailers have more than {MAX_HEAD_BYTES} bytes, or there are "
        f"more than {MAX_HEADERS} headers; send fewer",
        rule=f"at most {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers",
    )
