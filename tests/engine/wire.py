"""Bytes for the connections of one loaded service, in pieces exactly as a test cuts them.

The connections have a transport that only remembers.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from engine.serving.http.connection import Connection
from engine.serving.http.known import KnownHeads
from engine.serving.server import Server
from engine.serving.settings import Settings

T = TypeVar("T")
# Names that the service makes for requests.
NAMES = re.compile(rb"x-request-id: \w+-\w+\r\n")
PATIENCE_SECONDS = 20.0


def post(body: bytes, *extra: str, path: str = "/predict", version: str = "1.1") -> bytes:
    lines = [f"POST {path} HTTP/{version}", "Host: t", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", *extra, "", ""]).encode() + body


class Memory(asyncio.Transport):
    """Remembers what was written."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False
        self.ended = False

    def write(self, data: Any) -> None:
        if self.ended:
            raise RuntimeError("write after write_eof, as uvloop says")
        if not self.closed:
            self.written += data

    def writelines(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """The client sees the end; what it still sends is thrown away."""
        self.closed = self.ended = True

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
        self.service = server._service
        self.known = server.shared.known
        # Else the examples before would decide what is computed at once.
        self.service.inference.arrivals.estimate = lambda: 2  # type: ignore[method-assign]
        self.found = 0
        self._listener: asyncio.Server | None = None
        find = self.known.find

        def counting(data: bytes) -> Any:
            known = find(data)
            self.found += known is not None
            return known

        self.known.find = counting  # type: ignore[method-assign]

    def answers(self, pieces: list[tuple[bytes, bool]], *, known: bool) -> tuple[bytes, bool]:
        """All that is written, without names made for requests; and whether it was closed."""
        self._server.shared.known = self.known if known else Parsed()
        return self._runner.run(self._feed(pieces))

    def run(self, asked: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns on the event loop of the service."""
        return self._runner.run(asked)

    def connect(self, memory: Memory) -> Connection:
        """A new connection that writes to a transport."""
        connection = self._server.connection()
        connection.connection_made(memory)
        return connection

    def received(self, pieces: list[tuple[bytes, bool]]) -> bytes:
        """What a client of a real socket receives until the end, without names of requests."""
        self._server.shared.known = self.known
        return self._runner.run(self._exchanged(pieces))

    async def _exchanged(self, pieces: list[tuple[bytes, bool]]) -> bytes:
        if self._listener is None:
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(self._server.connection, "127.0.0.1", 0)
        address = self._listener.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address)
        for piece, turn in pieces:
            writer.write(piece)
            if turn:
                await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_SECONDS):
            received = await reader.read()
        writer.close()
        return NAMES.sub(b"", received)

    async def _feed(self, pieces: list[tuple[bytes, bool]]) -> tuple[bytes, bool]:
        memory = Memory()
        connection = self.connect(memory)
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
            busy = not memory.closed and self._busy(connection)
            quiet = quiet + 1 if memory.written == before and not busy else 0
            before = memory.written
        answered = NAMES.sub(b"", memory.written), memory.closed
        connection.connection_lost(None)
        await asyncio.sleep(0)
        return answered

    def _busy(self, connection: Connection) -> bool:
        """Whether a request that was read waits: for its model, for the application, or to be
        parsed.
        """
        current = connection._current
        # Without the rest of its body a request does not get on.
        return bool(connection._unread) or (current is not None and current.complete)


@contextmanager
def opened(models: Path, **settings: Any) -> Iterator[World]:
    """A service in this process, ready."""
    server = Server(Settings(models_dir=str(models), default_model="scale", **settings))

    async def start() -> None:
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.lifespan.startup()
        while not server._service.lifecycle.ready:
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(start())
        yield World(server, runner)
        runner.run(server.lifespan.shutdown())
