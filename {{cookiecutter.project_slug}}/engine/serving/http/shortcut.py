"""Small inference requests, answered by the connection itself.

Between the bytes of a request and the model, ASGI puts a task, an event, a scope and five
messages. For a model that computes for microseconds these are more than half of the whole cost. A
request that is complete when its headers are read needs none of them: it is decoded, submitted and
answered right there. All others (bodies that still arrive, expectations, pipelines, draining) go
through ASGI, with the same decoding, the same model and the same errors.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from engine.serving.errors import RequestError
from engine.serving.http.asgi import Header
from engine.serving.http.heads import CLOSE, Heads, Known, KnownHeads
from engine.serving.http.inference import Answer, Asked, Inference, Route, failure, route_of
from engine.serving.inference.batcher import Waiting
from engine.serving.lifecycle import Lifecycle
from engine.serving.telemetry.record import Record
from engine.serving.telemetry.requests import RequestTelemetry


class Client(Protocol):
    """Who asked."""

    def reply(self, answer: Answer, record: Record) -> None:
        """Write an answer."""
        ...

    def fail(self, error: Exception) -> None:
        """Close the connection: answering raised this."""
        ...


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


class Pending:
    """A request that waits for its model."""

    __slots__ = ("_client", "_shortcut", "record", "waiting")

    def __init__(self, shortcut: Shortcut, client: Client, record: Record) -> None:
        self._shortcut = shortcut
        self._client = client
        self.record = record
        self.waiting: Waiting | None = None

    def settle(self, outcome: Answer | RequestError) -> None:
        """Its answer is there, or the error that it gets instead."""
        # What waited refers to this: a circle would stay until the collector comes.
        self.waiting = None
        if isinstance(outcome, RequestError):
            outcome = failure(outcome, self.record)
        self._shortcut.finish(outcome, self._client, self.record)

    def cancel(self) -> None:
        """Its client went away."""
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None
            self._shortcut.gone(self.record)


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
        self._known = KnownHeads()

    def route(self, url: bytes) -> Route | None:
        """The inference route of a request's target; None if the long way has to look at it."""
        # The long way also tells clients to go away while the process drains.
        if not self._lifecycle.ready or b"%" in url or b"?" in url or b"#" in url:
            return None
        return route_of(url.decode("latin-1"))

    def known(self, data: bytes) -> Known | None:
        """What is known of a whole request from one like it; None if the parser has to look."""
        return self._known.find(data) if self._lifecycle.ready else None

    def answer(
        self, route: Route, headers: list[Header], body: bytes, data: bytes, client: Client
    ) -> Pending | None:
        """Decode a request and submit it.

        Args:
            route: of the request.
            headers: of the request.
            body: all of it.
            data: the bytes that it was read from, if its head may be remembered; else nothing.
            client: gets the answer, perhaps before this returns.

        Returns:
            What waits for the model; to be cancelled when the client goes away.
        """
        fields = dict(headers)
        record = self._telemetry.begin(route.kind, route.path, fields)
        try:
            self._inference.authorise(fields)
            asked = self._inference.begin(route, fields, body, record)
        except Exception as error:  # noqa: BLE001 - answered, and logged unless foreseen
            self.turns.count()
            self.finish(failure(error, record), client, record)
            return None
        if data:
            self._known.learn(data, route, headers, body)
        return self._submit(asked, client, record)

    def answer_known(self, known: Known, data: bytes, client: Client) -> Pending | None:
        """``answer``, for a request with a known head."""
        # Heads that name their request are never known.
        record = self._telemetry.begin_unnamed(known.route.kind, known.route.path, known.fields)
        try:
            asked = self._inference.begin_checked(
                known.route, known.fields, data[known.body :], record
            )
        except Exception as error:  # noqa: BLE001 - answered, and logged unless foreseen
            self.turns.count()
            self.finish(failure(error, record), client, record)
            return None
        return self._submit(asked, client, record)

    def _submit(self, asked: Asked, client: Client, record: Record) -> Pending | None:
        self.turns.count()
        pending = Pending(self, client, record)
        try:
            pending.waiting = asked.served.post(asked.inputs, record, asked.cut, pending.settle)
        except Exception as error:  # noqa: BLE001 - answered, and logged unless foreseen
            self.finish(failure(error, record), client, record)
            return None
        return pending if pending.waiting is not None else None

    def finish(self, answer: Answer, client: Client, record: Record) -> None:
        """Send an answer; its request is over."""
        if not self._lifecycle.ready:
            # Draining: tell the client now, instead of closing a connection it may be using.
            answer[1].append(CLOSE)
        try:
            status = answer[0]
            try:
                client.reply(answer, record)
            except Exception as error:  # noqa: BLE001 - never a second answer
                status = 500
                client.fail(error)
            finally:
                self._telemetry.end(record, status)
        except Exception as error:  # noqa: BLE001 - the answer was written
            client.fail(error)

    def gone(self, record: Record) -> None:
        """The client of a request went away; its request is over."""
        self._telemetry.end(record, 499)


class LongWay(Shortcut):
    """A shortcut that nothing takes: every request goes through ASGI."""

    def route(self, url: bytes) -> Route | None:
        """See ``Shortcut``."""
        return None
