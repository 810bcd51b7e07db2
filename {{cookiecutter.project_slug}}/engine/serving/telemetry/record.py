"""The record of one request, and how requests are named."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping

from engine.serving.errors import RequestError
from engine.serving.inference.timeline import Timeline
from engine.serving.telemetry.sampling import Sampled

REQUEST_ID = b"x-request-id"
# What a client may call its request: it stands in headers, logs and errors.
ACCEPTED_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class Record(Timeline):
    """What is known of one inference request; filled in while it is answered.

    Times are seconds of ``time.perf_counter``; 0 until they are known.
    """

    __slots__ = (
        "began",
        "decoded",
        "ended",
        "error",
        "method",
        "model",
        "parent",
        "path",
        "returned",
        "route",
        "span",
        "status",
        "version",
    )

    def __init__(self, route: str, request_id: str, parent: bytes | None, path: str = "") -> None:
        super().__init__(request_id)
        self.began = time.perf_counter()
        self.route = route
        # The client's traceparent, as it was sent.
        self.parent = parent
        # Without a query, in which keys have been seen.
        self.path = path
        self.method = "POST"
        self.model = self.version = ""
        self.decoded = self.ended = 0.0
        self.status = 0
        self.error: RequestError | None = None
        # The place in its trace, where the request is traced.
        self.span: Sampled | None = None
        # The traceparent that is returned.
        self.returned: bytes | None = None

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
        """The id of a request with these headers, the so-manieth of this process."""
        given = headers.get(REQUEST_ID)
        if given is not None and ACCEPTED_ID.fullmatch(given):
            return given.decode("ascii")
        return self.make(number)

    def make(self, number: int) -> str:
        """The id of a request that its client did not name."""
        return f"{self._prefix}-{number}"
