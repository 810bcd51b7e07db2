"""Pass a request on to another HTTP/1.1 server, streaming both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import h11

from .hosts import Unreachable
from .wire import Request, Response

CHUNK = 256 * 1024
CONNECT_SECONDS = 5.0
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "expect"}


async def forward(request: Request, host: str, port: int, target: str = "") -> Response:
    """The other server's response; its body is read as it is sent on.

    Args:
        request: passed on with its method, headers and body.
        host, port: where the other server listens.
        target: path and query there; default: the request's.

    Raises:
        Unreachable: nothing listens there, or it closed the connection without an answer.
    """
    upstream = await _Upstream.connect(host, port)
    try:
        await upstream.send(request, target or request.target)
        return await upstream.receive()
    except (OSError, h11.RemoteProtocolError) as error:
        upstream.close()
        raise Unreachable(f"{host}:{port} closed the connection: {error}") from error
    except BaseException:
        upstream.close()
        raise


async def pipe(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int
) -> None:
    """Pass bytes both ways until one side ends."""
    try:
        there, here = await asyncio.open_connection(host, port)
    except OSError:
        return
    try:
        ways = [asyncio.create_task(_copy(*way)) for way in ((reader, here), (there, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
    finally:
        here.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()


class _Upstream:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._state = h11.Connection(h11.CLIENT)

    @classmethod
    async def connect(cls, host: str, port: int) -> _Upstream:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return cls(*await asyncio.open_connection(host, port))
        except (OSError, TimeoutError) as error:
            raise Unreachable(f"nothing answers on {host}:{port}: {error!r}") from error

    async def send(self, request: Request, target: str) -> None:
        headers = [each for each in request.headers if each[0].lower() not in HOP_BY_HOP]
        headers.append(("connection", "close"))
        head = h11.Request(method=request.method, target=target, headers=headers)
        await self._write(self._state.send(head))
        async for part in request.stream:
            await self._write(self._state.send(h11.Data(data=part)))
        await self._write(self._state.send(h11.EndOfMessage()))

    async def receive(self) -> Response:
        head = await self._next()
        while isinstance(head, h11.InformationalResponse):
            head = await self._next()
        if not isinstance(head, h11.Response):
            raise h11.RemoteProtocolError("no response")
        headers = [
            (name.decode(), value.decode("latin-1"))
            for name, value in head.headers
            if name.decode() not in HOP_BY_HOP
        ]
        if "content-length" in dict(headers):
            headers = [each for each in headers if each[0] != "transfer-encoding"]
        return Response(head.status_code, self._body(), headers)

    async def _body(self) -> AsyncIterator[bytes]:
        try:
            while isinstance(event := await self._next(), h11.Data):
                yield bytes(event.data)
        finally:
            self.close()

    def close(self) -> None:
        self._writer.close()

    async def _next(self) -> object:
        while (event := self._state.next_event()) is h11.NEED_DATA:
            self._state.receive_data(await self._reader.read(CHUNK))
        return event

    async def _write(self, data: bytes | None) -> None:
        if data:
            self._writer.write(data)
            await self._writer.drain()
