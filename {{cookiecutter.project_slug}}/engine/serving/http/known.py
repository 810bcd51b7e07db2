"""Heads of requests that were read before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from engine.serving.answer import Header
from engine.serving.http.routes import Route
from engine.serving.request import REQUEST_ID
from engine.serving.telemetry.traceparent import TRACEPARENT

END: Final = b"\r\n\r\n"
# Heads that differ from request to request would only push out the others.
VARYING: Final = (REQUEST_ID, TRACEPARENT)
LARGEST_HEAD: Final = 2048
MOST_HEADS: Final = 256


class Known:
    """A head that the parser read before, and what it found.

    Args:
        body: where the body begins.
        size: bytes of the whole request.
    """

    __slots__ = ("body", "headers", "route", "size")

    def __init__(self, body: int, size: int, route: Route, headers: Mapping[bytes, bytes]) -> None:
        self.body = body
        self.size = size
        self.route = route
        self.headers = headers


class KnownHeads:
    """Clients that keep a connection send the same head again and again; the parser and its calls
    into Python take a fifth of the time of a small request. So a head is looked up first.

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
