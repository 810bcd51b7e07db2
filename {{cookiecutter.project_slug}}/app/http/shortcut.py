"""Small inference requests, answered by the connection itself.

Between the bytes of a request and the model, ASGI puts a task, an event, a scope and five
messages. For a model that computes for microseconds these are more than half of the whole cost. A
request that is complete when its headers are read needs none of them: it is decoded, submitted and
answered right there. All others (bodies that still arrive, expectations, pipelines, draining) go
through ASGI, with the same decoding, the same model and the same errors.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.http.asgi import JSON, Header
from app.http.inference import (
    Answer,
    Inference,
    Outputs,
    Route,
    failure,
    route_of,
)
from app.lifecycle import Lifecycle
from app.telemetry.record import REQUEST_ID, Record
from app.telemetry.requests import RequestTelemetry
from app.telemetry.traceparent import TRACEPARENT

CLOSE: Header = (b"connection", b"close")
Reply = Callable[[Answer, Record], None]


class Turns:
    """How many requests come in one turn of the event loop; what comes next is likely to be as
    many.
    """

    def __init__(self) -> None:
        self._now = 0
        self._last = 0

    def count(self) -> None:
        """A request came."""
        if self._now == 0:
            asyncio.get_running_loop().call_soon(self._end)
        self._now += 1

    def company(self) -> int:
        """How many share the turn, as far as one can tell."""
        return max(self._now, self._last)

    def _end(self) -> None:
        self._last, self._now = self._now, 0


class Heads:
    """Heads of answers; the one that nearly all have is kept ready."""

    def __init__(self) -> None:
        # uvicorn replaces its list of default headers when the second changes.
        self._defaults: list[Header] | None = None
        self._fields = b""
        self._usual = b""

    def make(self, defaults: list[Header], answer: Answer, record: Record, *, close: bool) -> bytes:
        """Status line and headers of an answer.

        Args:
            defaults: uvicorn's headers for every answer.
            record: of the request; names it.
            close: whether the connection ends with it.
        """
        if defaults is not self._defaults:
            self._defaults = defaults
            self._fields = _lines(defaults)
            self._usual = STATUS_LINE[200] + self._fields + _lines([JSON]) + REQUEST_ID + b": "
        status, headers, chunks = answer
        size = len(chunks[0]) if len(chunks) == 1 else sum(map(len, chunks))
        name = record.request_id.encode()
        if status == 200 and not close and headers == [JSON] and record.returned is None:
            return b"%b%b\r\ncontent-length: %d\r\n\r\n" % (self._usual, name, size)
        rest = [*(each for each in headers if each != CLOSE), (REQUEST_ID, name)]
        if record.returned is not None:
            rest.append((TRACEPARENT, record.returned))
        if close:
            rest.append(CLOSE)
        lines = STATUS_LINE[status] + self._fields + _lines(rest)
        return b"%bcontent-length: %d\r\n\r\n" % (lines, size)


class Shortcut:
    """Answers complete requests to inference routes."""

    def __init__(
        self, inference: Inference, lifecycle: Lifecycle, telemetry: RequestTelemetry
    ) -> None:
        self._inference = inference
        self._lifecycle = lifecycle
        self._telemetry = telemetry
        self.turns = Turns()
        self.heads = Heads()

    def route(self, url: bytes) -> Route | None:
        """The inference route of a request's target; None if the long way has to look at it."""
        # The long way also tells clients to go away while the process drains.
        if not self._lifecycle.ready or b"%" in url or b"?" in url:
            return None
        return route_of(url.decode("latin-1"))

    def answer(
        self, route: Route, headers: list[Header], body: bytes, reply: Reply
    ) -> asyncio.Future[Outputs] | None:
        """Answer a request now, or when the model has computed it.

        Args:
            reply: is given the answer; not called when the future was cancelled.

        Returns:
            What is waited for; to be cancelled when the client goes away.
        """
        self.turns.count()
        fields = dict(headers)
        record = self._telemetry.begin(route.kind, fields)
        try:
            self._inference.authorise(fields)
            outputs, encode = self._inference.begin(route, fields, body, record)
            if isinstance(outputs, dict):
                record.encoding = time.perf_counter()
                answer = encode(outputs)
            else:
                outputs.add_done_callback(partial(self._settle, encode, reply, record))
                return outputs
        except Exception as error:  # noqa: BLE001 - answered, and logged unless foreseen
            answer = failure(error, record)
        self._finish(answer, reply, record)
        return None

    def _settle(
        self,
        encode: Callable[[Outputs], Answer],
        reply: Reply,
        record: Record,
        done: asyncio.Future[Outputs],
    ) -> None:
        if done.cancelled():
            self._telemetry.end(record, 499)
            return
        record.encoding = time.perf_counter()
        try:
            answer = encode(done.result())
        except Exception as error:  # noqa: BLE001 - answered, and logged unless foreseen
            answer = failure(error, record)
        self._finish(answer, reply, record)

    def _finish(self, answer: Answer, reply: Reply, record: Record) -> None:
        if not self._lifecycle.ready:
            # Draining: tell the client now, instead of closing a connection it may be using.
            answer[1].append(CLOSE)
        reply(answer, record)
        self._telemetry.end(record, answer[0])


def _lines(headers: list[Header]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])
