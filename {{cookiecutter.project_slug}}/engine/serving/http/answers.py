"""Answers as they are written: status, headers, body."""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import orjson

from engine.serving.answer import JSON, USUAL, Answer, Header
from engine.serving.errors import MethodNotAllowed, RequestError
from engine.serving.request import REQUEST_ID, Request
from engine.serving.telemetry.traceparent import TRACEPARENT

CLOSE: Final[Header] = (b"connection", b"close")
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
# Joining so few bytes is cheaper than describing two pieces to the kernel.
SMALL: Final = 16 * 1024
STATUS_LINES: Final = {
    each.value: b"HTTP/1.1 %d %b\r\n" % (each.value, each.phrase.encode()) for each in HTTPStatus
}


def status_line(status: int) -> bytes:
    """The first line of an answer; a status without a name has none."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def lines_of(headers: Iterable[Header]) -> bytes:
    """Headers as they are sent."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


# Of answers without an error, which have one of few forms.
_known_lines = lru_cache(maxsize=256)(lines_of)


def error_answer(error: RequestError) -> Answer:
    """The answer for an error."""
    headers = [JSON]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return error.status, tuple(headers), [orjson.dumps(error.body())]


class Heads:
    """Makes the heads of answers; the one that nearly all have is kept ready."""

    def __init__(self) -> None:
        self.tick()

    def tick(self) -> None:
        """Set the date to now; called once a second."""
        self.date = b"date: %b\r\n" % formatdate(usegmt=True).encode()
        self._good = STATUS_LINES[200] + self.date
        self._usual = self._good + lines_of(USUAL) + REQUEST_ID + b": "

    def make(
        self,
        answer: Answer,
        request: Request,
        size: int,
        *,
        close: bool,
        body: bytes = b"",
    ) -> bytes:
        """Status line and headers of an answer to an inference request.

        Args:
            size: bytes of its body.
            close: whether the connection ends with it.
            body: to be put behind the head; or nothing, where it is sent apart.
        """
        status, headers, _ = answer
        name = request.request_id.encode()
        if status == 200 and not close and request.returned is None:
            begin = self._usual
            if headers is not USUAL:
                begin = self._good + _known_lines(headers) + REQUEST_ID + b": "
            return b"%b%b\r\ncontent-length: %d\r\n\r\n%b" % (begin, name, size, body)
        more = [(REQUEST_ID, name)]
        if request.returned is not None:
            more.append((TRACEPARENT, request.returned))
        return self.plain(status, (*headers, *more), size, close=close) + body

    def plain(self, status: int, headers: Iterable[Header], size: int, *, close: bool) -> bytes:
        """Status line and headers of any answer with a body of so many bytes."""
        length = (b"content-length", b"%d" % size)
        return self.unframed(status, (*headers, length), close=close)

    def unframed(self, status: int, headers: Iterable[Header], *, close: bool) -> bytes:
        """``plain``, without a length."""
        lines = lines_of((*headers, CLOSE) if close else headers)
        return status_line(status) + self.date + lines + b"\r\n"
