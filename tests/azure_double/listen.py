"""Listening ports on 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import h11

from .connection import Connection, Place
from .tls import LOCAL, Authority
from .wire import Handler

GONE = (OSError, EOFError, h11.ProtocolError, asyncio.CancelledError)
"""What a client that goes away in the middle leaves behind: nothing to report."""

Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A listening port on 127.0.0.1.

    Attributes:
        port: the number; the system's choice where 0 was asked for.
    """

    def __init__(self, connected: Connected) -> None:
        self.port = 0
        self._connected = connected
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0, tls: Authority | None = None) -> None:
        """Listen; with an authority, TLS with a certificate for the name that the client says."""
        context = tls.context() if tls else None
        self._server = await asyncio.start_server(self._accept, LOCAL, port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end all connections."""
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(*GONE):
            await self._connected(reader, writer)
        writer.close()


async def serve(handler: Handler, port: int = 0, tls: Authority | None = None) -> Server:
    """A server on 127.0.0.1 that answers with one handler; https with an authority."""
    scheme = "https" if tls else "http"

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = Place(scheme, LOCAL, server.port)
        await Connection(reader, writer, place).serve(handler)

    server = Server(connected)
    await server.start(port, tls)
    return server
