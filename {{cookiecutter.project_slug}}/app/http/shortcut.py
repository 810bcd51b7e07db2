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
from app.metrics.service import Metrics

CLOSE: Header = (b"connection", b"close")
Reply = Callable[[Answer], None]


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

    def make(self, defaults: list[Header], answer: Answer, *, close: bool) -> bytes:
        """Status line and headers of an answer.

        Args:
            defaults: uvicorn's headers for every answer.
            close: whether the connection ends with it.
        """
        if defaults is not self._defaults:
            self._defaults = defaults
            self._fields = _lines(defaults)
            self._usual = STATUS_LINE[200] + self._fields + _lines([JSON]) + b"content-length: "
        status, headers, chunks = answer
        size = len(chunks[0]) if len(chunks) == 1 else sum(map(len, chunks))
        if status == 200 and not close and headers == [JSON]:
            return b"%b%d\r\n\r\n" % (self._usual, size)
        rest = [each for each in headers if each != CLOSE]
        if close:
            rest.append(CLOSE)
        lines = STATUS_LINE[status] + self._fields + _lines(rest)
        return b"%bcontent-length: %d\r\n\r\n" % (lines, size)


class Shortcut:
    """Answers complete requests to inference routes."""

    def __init__(self, inference: Inference, lifecycle: Lifecycle, metrics: Metrics) -> None:
        self._inference = inference
        self._lifecycle = lifecycle
        self._metrics = metrics
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
        begun = time.perf_counter()
        self.turns.count()
        try:
            fields = dict(headers)
            self._inference.authorise(fields)
            outputs, encode = self._inference.begin(route, fields, body)
            if isinstance(outputs, dict):
                answer = encode(outputs)
            else:
                finish = partial(self._settle, route, encode, reply, begun)
                outputs.add_done_callback(finish)
                return outputs
        except Exception as error:  # noqa: BLE001 - answered, and logged unless foreseen
            answer = failure(error, route.transport)
        self._finish(route, answer, reply, begun)
        return None

    def _settle(
        self,
        route: Route,
        encode: Callable[[Outputs], Answer],
        reply: Reply,
        begun: float,
        done: asyncio.Future[Outputs],
    ) -> None:
        if done.cancelled():
            self._metrics.request(route.transport, 499, time.perf_counter() - begun)
            return
        try:
            answer = encode(done.result())
        except Exception as error:  # noqa: BLE001 - answered, and logged unless foreseen
            answer = failure(error, route.transport)
        self._finish(route, answer, reply, begun)

    def _finish(self, route: Route, answer: Answer, reply: Reply, begun: float) -> None:
        if not self._lifecycle.ready:
            # Draining: tell the client now, instead of closing a connection it may be using.
            answer[1].append(CLOSE)
        reply(answer)
        self._metrics.request(route.transport, answer[0], time.perf_counter() - begun)


def _lines(headers: list[Header]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])
