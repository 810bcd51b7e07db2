"""One HTTP/1.1 connection to the double, behind the proxy or on a port of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus

import h11

from .wire import DropConnection, Handler, Request, Response, text_response

CHUNK = 256 * 1024
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where the client believes to be connected to; a Host header is more exact."""

    scheme: str
    host: str
    port: int


class Connection:
    """One HTTP/1.1 connection: requests come one after the other, each answered by a handler."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        place: Place,
        begun: bytes = b"",
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._place = place
        self._state = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)
        if begun:
            self._state.receive_data(begun)

    async def serve(self, handler: Handler) -> None:
        """Answer until the client or a handler closes the connection."""
        while True:
            head = await self._next()
            if not isinstance(head, h11.Request):
                return
            request = self._request(head)
            try:
                response = await self._answer(handler, request)
            except DropConnection:
                self._writer.transport.abort()
                return
            await self._send(head, response)
            async for _ in request.stream:
                pass
            if self._state.our_state is not h11.DONE or self._state.their_state is not h11.DONE:
                return
            self._state.start_next_cycle()

    async def _answer(self, handler: Handler, request: Request) -> Response:
        try:
            return await handler(request)
        except (DropConnection, ConnectionError, h11.RemoteProtocolError):
            raise
        except Exception as error:  # noqa: BLE001
            _log.exception("%s %s", request.method, request.target)
            return text_response(500, f"the double is broken: {error!r}\n")

    async def _next(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self._state.next_event()
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]
            self._state.receive_data(await self._reader.read(CHUNK))

    def _request(self, head: h11.Request) -> Request:
        headers = [(name.decode(), value.decode("latin-1")) for name, value in head.headers]
        target = head.target.decode()
        named = dict(headers).get("host", "")
        scheme = self._place.scheme
        if target.startswith("http://"):
            # The absolute form, which clients use towards a proxy.
            named, _, rest = target.removeprefix("http://").partition("/")
            scheme, target = "http", "/" + rest
        host, port = split_host(named, self._place.port if not named else _default(scheme))
        return Request(
            head.method.decode(),
            scheme,
            host or self._place.host,
            port,
            target,
            headers,
            self._body(),
            connection=self,
        )

    async def _body(self) -> AsyncIterator[bytes]:
        while self._state.their_state is h11.SEND_BODY:
            if self._state.they_are_waiting_for_100_continue:
                proceed = h11.InformationalResponse(status_code=100, headers=[])
                await self._write(self._state.send(proceed))
            event = await self._next()
            if not isinstance(event, h11.Data):
                return
            yield bytes(event.data)

    async def _send(self, head: h11.Request, response: Response) -> None:
        headers = list(response.headers)
        if isinstance(response.body, bytes) and not _has(headers, "content-length"):
            headers.append(("content-length", str(len(response.body))))
        # `az rest` prints the reason before the body of an error.
        reason = HTTPStatus(response.status).phrase.encode()
        started = h11.Response(status_code=response.status, headers=headers, reason=reason)
        await self._write(self._state.send(started))
        if head.method != b"HEAD" and response.status not in (204, 304):
            if isinstance(response.body, bytes):
                await self._write(self._state.send(h11.Data(data=response.body)))
            else:
                async for part in response.body:
                    await self._write(self._state.send(h11.Data(data=part)))
        await self._write(self._state.send(h11.EndOfMessage()))

    async def _write(self, data: bytes | None) -> None:
        if data:
            self._writer.write(data)
            await self._writer.drain()


def split_host(text: str, default: int) -> tuple[str, int]:
    """ "host:port" in lower case and as a number."""
    host, _, port = text.lower().partition(":")
    return host, int(port) if port.isdecimal() else default


def _default(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _has(headers: list[tuple[str, str]], name: str) -> bool:
    return any(key.lower() == name for key, _ in headers)
