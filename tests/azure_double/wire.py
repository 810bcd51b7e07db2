"""Requests and responses as all parts of the double exchange them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote


@dataclass
class Request:
    """One HTTP request.

    Attributes:
        method: upper case.
        scheme: ``http`` or ``https``, as the client meant it.
        host: lower case, without the port.
        port: the one that the client meant: 443 behind CONNECT, 8000 in ``http://label…:8000/``.
        target: path and query as sent, percent-encoding untouched: ``/a%20b?c=d``.
        headers: names in lower case, in the order sent.
        stream: the body, once; empty when there is none.
        connection: the client's connection, which several requests may share; None: unknown.
    """

    method: str
    scheme: str
    host: str
    port: int
    target: str
    headers: list[tuple[str, str]]
    stream: AsyncIterator[bytes]
    _read: bytes | None = None
    connection: object | None = None

    @property
    def path(self) -> str:
        """The decoded path without the query."""
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> dict[str, str]:
        """The query's values; names in lower case because Azure ignores their case."""
        pairs = parse_qsl(self.target.partition("?")[2], keep_blank_values=True)
        return {name.lower(): value for name, value in pairs}

    def header(self, name: str) -> str:
        """The first header of that name, or ""."""
        return next((value for key, value in self.headers if key == name.lower()), "")

    async def read(self) -> bytes:
        """The whole body; may be called again."""
        if self._read is None:
            self._read = b"".join([part async for part in self.stream])
        return self._read


@dataclass
class Response:
    """One HTTP response; a body that is an iterator is sent as it comes, in chunks."""

    status: int
    body: bytes | AsyncIterator[bytes] = b""
    headers: list[tuple[str, str]] = field(default_factory=list)


Handler = Callable[[Request], Awaitable[Response]]


class DropConnection(Exception):
    """Raised by a handler that wants the connection closed without an answer."""


def json_response(
    status: int, body: Any | None, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON document, or no body at all for None."""
    listed = list((headers or {}).items())
    if body is None:
        return Response(status, b"", listed)
    listed.insert(0, ("content-type", "application/json; charset=utf-8"))
    return Response(status, json.dumps(body).encode(), listed)


def text_response(status: int, text: str) -> Response:
    """A line of plain text."""
    return Response(status, text.encode(), [("content-type", "text/plain; charset=utf-8")])
