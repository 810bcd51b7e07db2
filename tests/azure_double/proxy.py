"""The forward proxy: the only way from a client under test to "the internet"."""

from __future__ import annotations

import asyncio

from .arm.azure import Azure
from .connection import Connection, Place, split_host
from .hosts import Unreachable
from .listen import Server
from .wire import Request, Response, text_response

TLS_PORT = 443


class Proxy:
    """Ends TLS behind CONNECT, and hands every request to whoever has its host name."""

    def __init__(self, azure: Azure) -> None:
        self._azure = azure
        self.server = Server(self._connected)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readuntil(b" ")
        if first != b"CONNECT ":
            place = Place("http", "", 80)
            await Connection(reader, writer, place, first).serve(self._handle)
            return
        head = await reader.readuntil(b"\r\n\r\n")
        host, port = split_host(head.decode("latin-1").partition(" ")[0], TLS_PORT)
        if self._azure.hosts.find(host) is None:
            await self._refuse(writer, host, port)
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        scheme = "http"
        if port == TLS_PORT:
            scheme = "https"
            await writer.start_tls(self._azure.tls.context(host))
        await Connection(reader, writer, Place(scheme, host, port)).serve(self._handle)

    async def _handle(self, request: Request) -> Response:
        handler = self._azure.hosts.find(request.host)
        if handler is None:
            entry = self._azure.log.begin(request.host, request.method, request.path, request.query)
            entry.status, entry.error = 502, "UnknownHost"
            return _refusal(f"the Azure double knows no host {request.host}")
        try:
            return await handler(request)
        except Unreachable as error:
            return _refusal(f"{request.host}:{request.port} does not answer: {error}")

    async def _refuse(self, writer: asyncio.StreamWriter, host: str, port: int) -> None:
        entry = self._azure.log.begin(host, "CONNECT", f"{host}:{port}", {})
        entry.status, entry.error = 502, "UnknownHost"
        answer = f"HTTP/1.1 502 the Azure double knows no host {host}\r\ncontent-length: 0\r\n\r\n"
        writer.write(answer.encode())
        await writer.drain()


def _refusal(reason: str) -> Response:
    response = text_response(502, reason + "\n")
    response.headers.append(("x-double-refused", reason.encode("ascii", "replace").decode()))
    return response
