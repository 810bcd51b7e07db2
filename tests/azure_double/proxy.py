"""The forward proxy: the only way from a client under test to "the internet"."""

from __future__ import annotations

import asyncio
import re

from .arm.azure import Azure
from .connection import Connection, Place, split_host
from .faults import Fault
from .forward import pipe
from .hosts import Unreachable
from .listen import Server
from .wire import Request, Response, text_response

TLS_PORT = 443
HOST = "host"
"""The point that every request to a host passes; its subject is "METHOD host/path". A fault there
delays (``delay_seconds``), or alters the answer: ``detail`` has ``pattern``, a regular expression,
and ``replacement``.
"""


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
        tunnel = self._azure.hosts.tunnel(host) if port == TLS_PORT else None
        where = await tunnel(port) if tunnel else None
        if tunnel and where is None:
            await self._refuse(writer, host, port)
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        if where:
            await pipe(reader, writer, *where)
            return
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
        subject = f"{request.method} {request.host}{request.path}"
        fault = self._azure.faults.take(HOST, subject)
        if fault is not None and fault.delay_seconds:
            await asyncio.sleep(fault.delay_seconds)
        try:
            response = await handler(request)
            return response if fault is None else await _altered(response, fault)
        except Unreachable as error:
            return _refusal(f"{request.host}:{request.port} does not answer: {error}")

    async def _refuse(self, writer: asyncio.StreamWriter, host: str, port: int) -> None:
        entry = self._azure.log.begin(host, "CONNECT", f"{host}:{port}", {})
        entry.status, entry.error = 502, "UnknownHost"
        answer = f"HTTP/1.1 502 the Azure double knows no host {host}\r\ncontent-length: 0\r\n\r\n"
        writer.write(answer.encode())
        await writer.drain()


async def _altered(response: Response, fault: Fault) -> Response:
    """The answer with something else in its body; its length must stay the same."""
    if "pattern" not in fault.detail:
        return response
    body = response.body
    whole = body if isinstance(body, bytes) else b"".join([part async for part in body])
    pattern, replacement = (str(fault.detail[name]).encode() for name in ("pattern", "replacement"))
    response.body = re.sub(pattern, replacement, whole)
    return response


def _refusal(reason: str) -> Response:
    response = text_response(502, reason + "\n")
    response.headers.append(("x-double-refused", reason.encode("ascii", "replace").decode()))
    return response
