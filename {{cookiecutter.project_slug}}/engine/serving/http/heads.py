"""Heads of requests that were read before, and heads of answers."""

from __future__ import annotations

from collections.abc import Mapping

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from engine.serving.http.asgi import JSON, Header
from engine.serving.http.inference import Answer, Route
from engine.serving.telemetry.record import REQUEST_ID, Record
from engine.serving.telemetry.traceparent import TRACEPARENT

CLOSE: Header = (b"connection", b"close")
# What nearly all answers have.
USUAL = [JSON]
END = b"\r\n\r\n"
# Heads that differ from request to request would only push out the others.
VARYING = (REQUEST_ID, TRACEPARENT)
LARGEST_HEAD = 2048
MOST_HEADS = 256


class Known:
    """A head that the parser read before, and what it found.

    Args:
        body: where the body begins.
        size: bytes of the whole request.
        fields: its headers, which passed every check that needs no body.
    """

    __slots__ = ("body", "fields", "route", "size")

    def __init__(self, body: int, size: int, route: Route, fields: Mapping[bytes, bytes]) -> None:
        self.body = body
        self.size = size
        self.route = route
        self.fields = fields


class KnownHeads:
    """Clients that keep a connection send the same head again and again; the parser and its calls
    into Python take a third of the time of a small request. So a head is looked up first.

    Only whole requests are learned, of which the parser made exactly the bytes behind the head:
    the same bytes between two messages can only mean the same again.
    """

    def __init__(self) -> None:
        self._heads: dict[bytes, Known] = {}

    def find(self, data: bytes) -> Known | None:
        """What is known of a request; None when it is new, or not whole, or not alone."""
        end = data.find(END, 0, LARGEST_HEAD)
        if end < 0:
            return None
        known = self._heads.get(data[: end + len(END)])
        return known if known is not None and known.size == len(data) else None

    def learn(self, data: bytes, route: Route, headers: list[Header], body: bytes) -> None:
        """Remember the head of a request that was read from these bytes, where that is safe.

        Args:
            data: all that was received since the message before.
            headers: that the parser read.
            body: that the parser read.
        """
        fields = dict(headers)
        begins = data.find(END, 0, LARGEST_HEAD) + len(END)
        if (
            begins >= len(END)
            and len(fields) == len(headers)
            and fields.get(b"content-length") == b"%d" % len(body)
            and b"transfer-encoding" not in fields
            and b"upgrade" not in fields
            and not any(name in fields for name in VARYING)
            and data[begins:] == body
        ):
            if len(self._heads) >= MOST_HEADS:
                self._heads.clear()
            self._heads[data[:begins]] = Known(begins, len(data), route, fields)


class Heads:
    """Heads of answers; the one that nearly all have is kept ready."""

    def __init__(self) -> None:
        # uvicorn replaces its list of default headers when the second changes.
        self._defaults: list[Header] | None = None
        self._fields = b""
        self._usual = b""

    def make(
        self, defaults: list[Header], answer: Answer, record: Record, *, close: bool, body: bytes
    ) -> bytes:
        """Status line and headers of an answer.

        Args:
            defaults: uvicorn's headers for every answer.
            record: of the request; names it.
            close: whether the connection ends with it.
            body: the answer's, to be put behind its head; or nothing, where it is sent apart.
        """
        if defaults is not self._defaults:
            self._defaults = defaults
            self._fields = lines_of(defaults)
            self._usual = STATUS_LINE[200] + self._fields + lines_of([JSON]) + REQUEST_ID + b": "
        status, headers, chunks = answer
        size = len(chunks[0]) if len(chunks) == 1 else sum(map(len, chunks))
        name = record.request_id.encode()
        if status == 200 and not close and headers == USUAL and record.returned is None:
            return b"%b%b\r\ncontent-length: %d\r\n\r\n%b" % (self._usual, name, size, body)
        rest = [*(each for each in headers if each != CLOSE), (REQUEST_ID, name)]
        if record.returned is not None:
            rest.append((TRACEPARENT, record.returned))
        rest.append((b"content-length", b"%d" % size))
        if close:
            # Last, where uvicorn puts it.
            rest.append(CLOSE)
        return STATUS_LINE[status] + self._fields + lines_of(rest) + b"\r\n" + body


def lines_of(headers: list[Header]) -> bytes:
    """Headers as they are sent."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])
