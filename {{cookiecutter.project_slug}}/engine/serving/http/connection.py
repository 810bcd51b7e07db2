"""One client connection: bytes to requests, in their order, and answers to bytes.

Nothing of a client's is unbounded here, neither before its key is looked at nor after.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from socket import SO_ERROR, SOL_SOCKET
from typing import Any, Final
from urllib.parse import unquote

from starlette.types import ASGIApp

from engine.serving.answer import Answer
from engine.serving.errors import (
    InferenceFailed,
    Overloaded,
    RequestError,
    RequestTimeout,
)
from engine.serving.fault import fault_of
from engine.serving.http.answers import CONTINUE, SMALL, Heads, error_answer
from engine.serving.http.asgi import Exchange
from engine.serving.http.cors import PREFLIGHT, Origins
from engine.serving.http.front_door import FrontDoor
from engine.serving.http.inference import Inference
from engine.serving.http.known import Known, KnownHeads
from engine.serving.http.parser import Head, Parser, Stage
from engine.serving.http.routes import route_of, without_slash
from engine.serving.lifecycle import Lifecycle, State
from engine.serving.request import Request

log = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 1
# After an answer that ends the connection a client may still be sending, and would not read the
# answer if the connection were reset. So long, and so many bytes, are received and thrown away.
LINGER_SECONDS: Final = 5.0
LINGER_BYTES: Final = 64 * 1024 * 1024
# A client that sent all it wants to say may wait for its answer, or be gone: after this time it is
# asked by an interim answer, and after the same time again what its system said to that is known.
PROBE_SECONDS: Final = 0.05
# The rest of the body may not have been read after these, so the connection is not used again.
CLOSING: Final = frozenset((401, 408, 413))


@dataclass(slots=True)
class Shared:
    """What all connections of a process share.

    Attributes:
        app: answers what is not inference.
        refused: is called when a client is turned away.
        max_connections: most that are open at a time.
        read_seconds: how long a client may take for a request, or for reading its answer.
        idle_seconds: how long a connection may be idle between two requests.
        most_unread: bytes of answers that are kept until clients read them.
        origins: of pages that may ask.
        front_door: through which requests have to come, and the answer to others.
        state: of the application's lifespan.
        unread: bytes of answers that are kept at present.
    """

    inference: Inference
    app: ASGIApp
    lifecycle: Lifecycle
    refused: Callable[[], None]
    max_connections: int
    read_seconds: float
    idle_seconds: float
    most_unread: int
    origins: Origins = field(default_factory=lambda: Origins(()))
    front_door: FrontDoor = field(default_factory=lambda: FrontDoor(None))
    state: dict[str, Any] = field(default_factory=dict)
    connections: set[Any] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    heads: Heads = field(default_factory=Heads)
    known: KnownHeads = field(default_factory=KnownHeads)
    unread: int = 0


class Connection(asyncio.Protocol):
    """Parses requests and writes their answers. One request at a time is answered; those behind it
    wait, parsed as far as one piece of bytes brought them, else as bytes.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._inference = shared.inference
        self.heads = shared.heads
        self._loop = asyncio.get_running_loop()
        self._parser = Parser(self)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        # The message that is read, and its head.
        self._head: Head | None = None
        self._reading: Request | Exchange | None = None
        # What was received when the parser was between two messages.
        self._data = b""
        # The request that is being answered, those behind it, and what was received meanwhile: as
        # requests, bytes take a hundred times the memory.
        self._current: Request | Exchange | None = None
        self._waiting: deque[Request | Exchange] = deque()
        self._unread = b""
        # The error that ends the connection after the answers that are still to be written.
        self._refusal = b""
        self._advancing = False
        self._reading_paused = False
        self._writable: asyncio.Event | None = None
        self._half_closed = False
        # Bytes of answers that the client has not read, as far as they are counted.
        self._unread_answers = 0
        # Whether it sent what is no request; and bytes behind the last one, which are not kept.
        self._broken = False
        self._discarded = 0
        # Since when the client has let the connection wait, in one way or another; 0: it does not.
        self._quiet_since = self._loop.time()
        self._blocked_since = 0.0
        self._lingers_since = 0.0
        # Between an answer and the next request.
        self._idle = False

    # Of the transport.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept, or refuse with 503 when there are too many already."""
        self._transport = transport
        connections, limit = self._shared.connections, self._shared.max_connections
        connections.add(self)
        if len(connections) > limit:
            self._shared.refused()
            error = Overloaded(
                f"{limit} connections are open already; try again later",
                rule=f"at most {limit} connections (MAX_CONNECTIONS)",
                retry_after=RETRY_SECONDS,
            )
            self._parser.stage = Stage.ENDED
            transport.write(self._ending(error, status=503))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: nobody waits for what it asked."""
        self._shared.connections.discard(self)
        self._count_unread(0)
        self._parser.close()
        self._unread = b""
        if self._writable is not None:
            self._writable.set()
        self._give_up_all()

    def _give_up_all(self) -> None:
        for each in (self._current, *self._waiting, self._reading):
            if isinstance(each, Request):
                self._inference.gone(each)
            elif each is not None:
                each.gone()
        self._current = self._reading = None
        self._waiting.clear()

    def eof_received(self) -> bool:
        """The client sends nothing more; it may still want its answers.

        Returns:
            Whether the connection stays open.
        """
        if self._reading is not None or self._lingers_since:
            return False
        if not (self._current or self._waiting or self._unread):
            return False
        self._half_closed = True
        self._loop.call_later(PROBE_SECONDS, self._ask_whether_gone)
        return True

    def _ask_whether_gone(self) -> None:
        """Write what every client of HTTP/1.1 skips: the system of one that is gone resets it."""
        # A client of HTTP/1.0 would take it for the answer.
        old = self._head is not None and self._head.version != "1.1"
        if isinstance(self._current, Request) and not self._current.over and not old:
            self._transport.write(CONTINUE)
            self._loop.call_later(PROBE_SECONDS, self._look_whether_gone)

    def _look_whether_gone(self) -> None:
        client = self._transport.get_extra_info("socket")
        if client is None or client.fileno() < 0 or client.getsockopt(SOL_SOCKET, SO_ERROR):
            self._transport.abort()

    def pause_writing(self) -> None:
        """The client does not read its answer as fast as it is written."""
        self._blocked_since = self._loop.time()
        self._writable = asyncio.Event()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._blocked_since = 0.0
        self._count_unread(0)
        if self._writable is not None:
            self._writable.set()
            self._writable = None
        self._advance()

    def _count_written(self) -> None:
        """Count what the client has not read; of less than a pause takes nobody tells the end."""
        paused = self._writable is not None
        self._count_unread(self._transport.get_write_buffer_size() if paused else 0)

    def _count_unread(self, size: int) -> None:
        self._shared.unread += size - self._unread_answers
        self._unread_answers = size

    def shutdown(self) -> None:
        """The process stops: end an idle connection; others end with their answer."""
        if self._current is None and not self._waiting:
            self._transport.close()

    def give_up(self) -> None:
        """A stop does not wait any longer: answer what was asked."""
        for each in (self._current, *self._waiting):
            if isinstance(each, Request):
                self._inference.give_up(each)
            elif each is not None:
                each.give_up()

    # Bytes to messages.

    def data_received(self, data: bytes) -> None:
        """Read requests."""
        if self._parser.stage is Stage.ENDED:
            self._discard(len(data))
            return
        if self._waiting or self._unread:
            self._unread += data
            self._pause_reading()
            return
        if self._parser.stage is Stage.BETWEEN:
            if self._current is None and self._writable is None and not self._parser.blank:
                known = self._shared.known.find(data)
                if known is not None:
                    self._take_known(known, data)
                    return
            self._data = data
        try:
            rest, busy = self._parser.feed(memoryview(data))
        except RequestError as error:
            self._refuse(error)
        except Exception as error:  # noqa: BLE001 - the connection ends with it
            begun = self._current is None and self._parser.stage is not Stage.HEAD
            self.fail(error, answered=begun)
        else:
            if rest or busy:
                self._unread = bytes(rest)
                self._pause_reading()
            if busy:
                # The event loop may read one connection many times before it looks at others.
                self._loop.call_soon(self._read_on)
        self._data = b""

    def _take_known(self, known: Known, data: bytes) -> None:
        """A whole request with a head that was read before."""
        self._idle = False
        try:
            request = self._inference.begin(known.route, known.headers, self)
            request.complete = True
            request.body = data[known.body :]
            self._current = request
            # It was admitted before it was learned.
            self._inference.answer(request)
        except Exception as error:  # noqa: BLE001 - the connection ends with it
            self.fail(error, answered=False)

    def _pause_reading(self) -> None:
        if not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def _read_again(self) -> None:
        """Read again, unless requests wait."""
        if self._reading_paused and not (self._waiting or self._unread):
            self._reading_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def _read_on(self) -> None:
        """Parse what was kept while requests waited."""
        data, self._unread = self._unread, b""
        if data and not self._transport.is_closing():
            self.data_received(data)
        self._read_again()

    # Of the parser's receiver.

    @property
    def full(self) -> bool:
        """Requests wait already."""
        return bool(self._waiting)

    def begin(self) -> None:
        """A request began; its headers must be complete before long."""
        self._idle = False
        self._quiet_since = self._loop.time()

    def head(self, head: Head) -> None:
        """The head is there: the request gets its turn, or a place behind others."""
        path = without_slash(_decoded(head.path))
        route = route_of(path)
        refused = self._shared.front_door.refuses(path, head.headers)
        if refused or (head.method == "OPTIONS" and self._shared.origins and _is_preflight(head)):
            route = None
        message: Request | Exchange
        if route is None:
            app = self._shared.front_door if refused else self._shared.app
            message = self._exchange(head, path, app)
        else:
            message = self._inference.begin(route, dict(head.headers), self)
            message.method = head.method
        message.keep_alive = head.keep_alive
        message.expects = head.expects
        self._head = head
        self._reading = message
        if self._current is None and not self._waiting and self._writable is None:
            self._take(message)
        else:
            self._waiting.append(message)

    def _exchange(self, head: Head, path: str, app: ASGIApp) -> Exchange:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": head.version,
            "method": head.method,
            "scheme": "http",
            "path": path,
            "raw_path": head.path,
            "query_string": head.query,
            "root_path": "",
            "headers": head.headers,
            "client": self._transport.get_extra_info("peername"),
            "server": self._transport.get_extra_info("sockname"),
            "state": dict(self._shared.state),
        }
        return Exchange(app, scope, self, self._shared.tasks)

    def body(self, piece: bytes) -> None:
        """A piece of the body."""
        message = self._reading
        if isinstance(message, Exchange):
            message.add(piece)
        elif message is not None and not message.over and message.fault is None:
            try:
                self._inference.bodies.add(message, piece)
            except RequestError as error:
                if message is self._current:
                    self._inference.refuse(message, error)
                else:
                    # Its turn comes later.
                    self._inference.bodies.release(message)
                    message.fault = error

    def end(self) -> None:
        """The request is complete."""
        message, self._reading = self._reading, None
        if isinstance(message, Exchange):
            message.end()
        elif message is not None:
            message.complete = True
            if message is self._current and not message.over:
                self._learn(message)
                self._inference.answer(message)
        if self._current is None:
            self._rest()

    def _learn(self, request: Request) -> None:
        head = self._head
        if (
            self._data
            and head is not None
            and request.keep_alive
            and not request.expects
            and (head.method, head.version) == ("POST", "1.1")
        ):
            body = bytes(request.body)
            self._shared.known.learn(self._data, request.target, head.headers, body)

    # Messages to answers.

    def _take(self, message: Request | Exchange) -> None:
        """It is the message's turn: all before it was answered."""
        self._current = message
        if isinstance(message, Exchange):
            message.begin()
            return
        self._inference.admit(message)
        if message.over:
            return
        if message.complete:
            self._inference.answer(message)
        elif message.expects:
            self._transport.write(CONTINUE)

    def _advance(self) -> None:
        """Answer what waits, one after the other."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._waiting and self._current is None and self._writable is None:
                self._take(self._waiting.popleft())
        finally:
            self._advancing = False
        if self._waiting:
            return
        if self._current is None:
            self._rest()
        elif self._unread:
            # The rest of the current request may be among it.
            self._loop.call_soon(self._read_on)
        else:
            self._read_again()

    def _rest(self) -> None:
        """All that was read is answered."""
        if self._refusal:
            refusal, self._refusal = self._refusal, b""
            self._transport.write(refusal)
            self._end()
        elif self._unread:
            self._loop.call_soon(self._read_on)
        elif self._half_closed:
            self._transport.close()
        else:
            self._read_again()
            self._idle = self._parser.stage is Stage.BETWEEN
            self._quiet_since = self._loop.time()

    @property
    def draining(self) -> bool:
        """See ``Output``."""
        return self._shared.lifecycle.state is State.DRAINING

    def reply(self, request: Request, answer: Answer) -> None:
        """Write a whole answer to an inference request; see ``Client``."""
        if request is not self._current:
            return
        if self._shared.origins:
            answer = self._shared.origins.answer(answer, request.headers)
        status, _, chunks = answer
        close = self.draining or not request.keep_alive or status in CLOSING
        size = len(chunks[0]) if len(chunks) == 1 else sum(map(len, chunks))
        if request.method == "HEAD":
            chunks = []
        if size <= SMALL or not chunks:
            body = bytes(chunks[0]) if len(chunks) == 1 else b"".join(chunks)
            self._transport.write(self.heads.make(answer, request, size, close=close, body=body))
        else:
            self.check_unread(size)
            head = self.heads.make(answer, request, size, close=close)
            self._transport.writelines([head, *chunks])
            self._count_written()
        self._written(close=close)

    def check_unread(self, size: int) -> None:
        """Raise ``Overloaded`` where an answer of so many bytes finds no room beside others."""
        unread, most = self._shared.unread, self._shared.most_unread
        if unread and unread + size > most:
            raise Overloaded(
                f"answers that clients have not read fill {unread} of {most} bytes; try again "
                "later",
                rule=f"at most {most} bytes of answers at a time (MAX_ANSWERS_BYTES)",
                retry_after=RETRY_SECONDS,
                limit="bytes",
            )

    def write(self, *pieces: bytes | memoryview) -> None:
        """Send bytes of an answer; see ``Output``."""
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            self._transport.writelines(pieces)
            self._count_written()

    async def writable(self) -> None:
        """See ``Output``."""
        if self._writable is not None:
            await self._writable.wait()

    def hold_back(self, exchange: Exchange, *, full: bool) -> None:
        """See ``Output``."""
        if full:
            self._pause_reading()
        elif exchange is self._reading:
            self._read_again()

    def answered(self, exchange: Exchange, *, close: bool) -> None:
        """See ``Output``."""
        if exchange is self._current:
            self._written(close=close)

    def _written(self, *, close: bool) -> None:
        self._current = None
        if close:
            self._end()
        elif self._advancing or self._waiting:
            self._advance()
        elif self._parser.stage is Stage.BETWEEN and not (
            self._unread or self._half_closed or self._refusal or self._reading_paused
        ):
            # The usual case.
            self._idle = True
            self._quiet_since = self._loop.time()
        elif self._reading is None:
            self._rest()

    def _end(self) -> None:
        """End the connection, in such a way that what was written can be read."""
        sends = self._broken or self._reading is not None or self._unread
        self._parser.stage = Stage.ENDED
        self._unread = self._refusal = b""
        self._give_up_all()
        if self._lingers_since:
            return
        if not sends or self._half_closed or self._transport.is_closing():
            self._transport.close()
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._lingers_since = self._loop.time()
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()

    def _discard(self, count: int) -> None:
        self._discarded += count
        if self._discarded > LINGER_BYTES:
            self._transport.abort()

    # Faults.

    def _refuse(self, error: RequestError) -> None:
        """Answer what is no request with an error, when its turn comes, and close."""
        message, self._reading = self._reading, None
        # What follows is discarded, but the end waits for the answers before it.
        self._parser.stage = Stage.ENDED
        self._broken = True
        if message is not None:
            # Its head was good: it must not get a second answer.
            if isinstance(message, Request):
                if message.over:
                    self._end()
                else:
                    message.fault = error
                    message.keep_alive = False
                    if message is self._current:
                        self._inference.refuse(message, error)
                return
            if message in self._waiting:
                self._waiting.remove(message)
            else:
                begun = message.over or message.started
                message.gone()
                self._current = None
                if begun:
                    self._end()
                    return
        self._refusal = self._ending(error)
        if self._current is None and not self._waiting:
            self._rest()

    def fail(self, error: Exception, *, answered: bool = True) -> None:
        """Close the connection: answering raised this.

        Args:
            answered: whether the answer was written before.
        """
        fault = fault_of(error)
        cause = fault.text(with_messages=log.isEnabledFor(logging.DEBUG))
        log.error("a request failed with %s", fault.name, extra={"fields": {"exception": cause}})
        if not answered:
            failed = InferenceFailed("unexpected error; the log has the cause")
            self._transport.write(self._ending(failed))
        self._end()

    def _ending(self, error: RequestError, status: int | None = None) -> bytes:
        """An error as the last answer of a connection."""
        usual, headers, chunks = error_answer(error)
        body = b"".join(chunks)
        return self.heads.plain(status or usual, headers, len(body), close=True) + body

    # Time.

    def look(self, now: float) -> None:
        """End the connection if its client has let it wait for longer than it may."""
        shared = self._shared
        if self._lingers_since:
            if now - self._lingers_since > LINGER_SECONDS:
                self._transport.abort()
        elif self._blocked_since:
            if now - self._blocked_since > shared.read_seconds:
                self._transport.abort()
        elif self._idle:
            if now - self._quiet_since > shared.idle_seconds:
                self._transport.close()
        elif (
            self._current is None or self._reading is self._current
        ) and now - self._quiet_since > shared.read_seconds:
            self._give_up_reading()

    def _give_up_reading(self) -> None:
        """The rest of a request has not come."""
        request = self._current
        if isinstance(request, Request):
            timeout = self._shared.read_seconds
            error = RequestTimeout(
                f"the body did not arrive within {timeout:g} s", rule="REQUEST_TIMEOUT_SECONDS"
            )
            self._inference.refuse(request, error)
        elif request is None:
            self._transport.abort()


async def sweep(shared: Shared) -> None:
    """Look at all connections once a second, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        shared.heads.tick()
        now = loop.time()
        for connection in tuple(shared.connections):
            connection.look(now)


def _decoded(path: bytes) -> str:
    text = path.decode("latin-1")
    return unquote(text) if "%" in text else text


def _is_preflight(head: Head) -> bool:
    return any(name == PREFLIGHT for name, _ in head.headers)
