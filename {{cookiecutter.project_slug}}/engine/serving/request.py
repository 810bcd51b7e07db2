"""One request, from the parser to the log: every step reads it and writes down what it did."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from engine.serving.answer import Answer
from engine.serving.errors import RequestError
from engine.serving.tensors.datatypes import Array

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from engine.serving.http.routes import Route

REQUEST_ID = b"x-request-id"
# What a client may call its request: it is repeated in headers, logs and errors.
ACCEPTED_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")

Arrays = Mapping[str, Array]
Rows = list[list[float]]
"""Checked rows of the only input, while they are few: an array is made of a whole batch of them,
because making one of a few numbers costs more than a run's share of computing them."""
Inputs = Arrays | Rows
Encode = Callable[[dict[str, Array], "Sequence[Request]"], Sequence[Any]]
"""Makes the answers of requests that shared a run, in their order, from the outputs of the run:
arrays of shape ``[sum of the requests' rows, ...]``."""
Settle = Callable[["Request", Any], None]
"""Takes a request and its answer, or the ``RequestError`` that it gets instead. It raises only
while nothing has been answered."""


NONE: Mapping[bytes, bytes] = MappingProxyType({})


class Client(Protocol):
    """Who asked."""

    def reply(self, request: Request, answer: Answer) -> None:
        """Write an answer.

        Raises:
            Overloaded: nothing was written, as answers that nobody has read are too many.
        """
        ...

    def fail(self, error: Exception) -> None:
        """Close the connection: answering raised this."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a model; requests that shared it refer to the same object."""

    began: float
    ended: float
    rows: int


class Request:
    """What is known of one inference request; filled in while it is answered.

    Times are seconds of ``time.perf_counter``; 0 until they are known.

    Args:
        route: ``predict`` or ``infer``.
        request_id: names the request in headers, logs and errors.
        parent: the client's ``traceparent``, as it was sent.
        path: without a query, in which keys have been seen.
    """

    # What most requests never change is kept once, by the class.
    # For the connection: whether it goes on afterwards, whether the client waits for a "go on"
    # before it sends its body, whether all of that is there, and a fault found before its turn.
    keep_alive = True
    expects = False
    complete = False
    fault: RequestError | None = None
    body: bytes | bytearray = b""
    # Bytes of the body that count as received and not decoded yet.
    held = 0
    method = "POST"
    model = version = ""
    # When it was decoded, when it left the queue, when its answer was written.
    decoded = taken = ended = 0.0
    rows = 0
    # Runs of the model; several when the request was too large for one.
    runs: tuple[Run, ...] = ()
    status = 0
    error: RequestError | None = None
    # Its span, where the request is traced; and the traceparent that is returned.
    span: Span | None = None
    returned: bytes | None = None
    # For the codec: the client's own id, and the outputs that it wants.
    id: str | None = None
    wishes: Any = None
    # For the queue: checked inputs and their bytes; when it came and until when it may wait.
    inputs: Inputs = ()  # type: ignore[assignment]
    size = 0
    enqueued = deadline = 0.0
    # Takes it out of the queue, while it is in one.
    leave: Callable[[Request], None] | None = None
    # The request that this one is a part of, and the parts of this one: each has its own run.
    whole: Request | None = None
    parts: list[Request] | None = None
    # Answered or given up.
    over = False
    # Makes its answer of a run's outputs; None: it wants the arrays.
    encode: Encode | None = None
    settle: Settle
    # What was asked, and where the answer is written.
    target: Route
    headers: Mapping[bytes, bytes] = NONE
    client: Client

    def __init__(
        self, route: str, request_id: str, parent: bytes | None = None, path: str = ""
    ) -> None:
        self.began = time.perf_counter()
        self.route = route
        self.request_id = request_id
        self.parent = parent
        self.path = path

    def part(self, inputs: Inputs, rows: int, encode: Encode | None, settle: Settle) -> Request:
        """A part of this request that gets a place in the queue of its own."""
        part = Request(self.route, self.request_id)
        part.inputs, part.rows, part.encode, part.settle = inputs, rows, encode, settle
        part.whole = self
        return part

    def cancel(self) -> None:
        """Nobody wants the answer any more: it leaves the queue, and ``settle`` is not called."""
        self.over = True
        if self.leave is not None:
            self.leave(self)
        if self.parts:
            parts = tuple(self.parts)
            # They refer to each other: without this the collector would have to find them.
            self.parts.clear()
            for part in parts:
                part.cancel()

    @property
    def encoding(self) -> float:
        """When its answer began to be written."""
        return self.runs[-1].ended if self.runs else 0.0

    @property
    def seconds(self) -> float:
        """From the first byte read to the answer written."""
        return self.ended - self.began


class RequestIds:
    """Names requests: as the client does where that is harmless, else uniquely."""

    def __init__(self) -> None:
        # Random for each process, so that workers and replicas never give the same id.
        self._prefix = secrets.token_hex(8)

    def of(self, headers: Mapping[bytes, bytes], number: int) -> str:
        """The client's ``X-Request-Id`` if it is an accepted one, else one made here.

        Args:
            number: of the request in this process.
        """
        given = headers.get(REQUEST_ID)
        if given is not None and ACCEPTED_ID.fullmatch(given):
            return given.decode("ascii")
        return f"{self._prefix}-{number}"
