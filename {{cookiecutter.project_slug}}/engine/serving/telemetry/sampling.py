"""Which requests are traced, decided when they begin; needs no OpenTelemetry.

The decision comes first because the answer carries it. All else about a trace waits until the
answer is out, so a request that is not sampled costs a look at one header and one random number.

One that is sampled costs about a millisecond of CPU for its spans, many times what a small model
computes. So there are never more than some in a second, however many requests or callers there are.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from engine.serving.budget import Budget
from engine.serving.telemetry.traceparent import TRACEPARENT, TraceContext, parse

TRACESTATE = b"tracestate"
# The rule of OpenTelemetry's TraceIdRatioBased: the last 64 bits of the trace id decide, so that
# services which apply the same ratio to the same trace agree.
RANDOM_BITS = 64
RANDOM_MASK = (1 << RANDOM_BITS) - 1


@dataclass(frozen=True, slots=True)
class Sampled:
    """The place in its trace of a request that is traced.

    Attributes:
        here: of the request's own span.
        caller: of the span that it belongs to; None where the trace begins here.
        state: the caller's ``tracestate``, handed on as it is.
    """

    here: TraceContext
    caller: TraceContext | None
    state: str

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return self.here.trace_id

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits."""
        return self.here.span_id


class Sampler:
    """Decides as the caller did; for requests that begin a trace, by their trace id.

    Args:
        ratio: share of the traces begun here that are recorded, 0 to 1.
        most: requests in a second that are traced, those of callers among them.
    """

    def __init__(self, ratio: float, most: int) -> None:
        self._budget = Budget(most)
        self._bound = round(ratio * (1 << RANDOM_BITS))
        # Seeded by the system, after the fork: two workers never make the same ids.
        self._bits = random.Random().getrandbits  # noqa: S311 - ids, not secrets

    def decide(self, headers: Mapping[bytes, bytes], now: float) -> Sampled | None:
        """The place in its trace of a request with these headers; None if it is not traced.

        Args:
            now: seconds of a clock that never goes back.
        """
        header = headers.get(TRACEPARENT)
        caller = None if header is None else parse(header)
        if caller is None:
            number = self.new_trace_id()
            if number & RANDOM_MASK >= self._bound or not self._budget.take(now):
                return None
            return Sampled(TraceContext(f"{number:032x}", self.new_span_id(), True), None, "")
        if not caller.sampled or not self._budget.take(now):
            return None
        here = TraceContext(caller.trace_id, self.new_span_id(), True)
        return Sampled(here, caller, headers.get(TRACESTATE, b"").decode("latin-1"))

    def new_trace_id(self) -> int:
        """A number of 128 bits that is not 0, which would be no id at all."""
        return self._bits(128) or 1

    def new_span_id(self) -> str:
        """16 hexadecimal digits that are not all zero."""
        return f"{self._bits(RANDOM_BITS) or 1:016x}"
