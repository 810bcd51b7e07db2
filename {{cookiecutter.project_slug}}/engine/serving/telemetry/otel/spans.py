"""A request and its phases as spans, and runs of models as spans of their own.

The tracer gets all times from the request when it was answered, so nothing is called while it is.
Names follow OpenTelemetry's conventions for HTTP servers:
https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace.status import Status, StatusCode
from opentelemetry.util.types import AttributeValue

from engine.serving.budget import Budget
from engine.serving.request import Request, Run
from engine.serving.telemetry.traceparent import TRACEPARENT, TraceContext, parse, write

TRACESTATE = b"tracestate"
ROUTES = {"predict": "/predict", "infer": "/v2/models/{model}/infer"}
CLIENT_GONE = 499
SERVER_ERROR = 500
# Application Insights counts a request for as many as one was sampled from.
SAMPLE_RATE = "_MS.sampleRate"
NANOSECONDS = 1_000_000_000
# Requests that share a run are answered one after the other, some some turns of the event loop
# later. Their run's span waits at least this long for them.
RUN_SETTLES_SECONDS = 0.5
# Runs that a request may still refer to whose client is slow to take the answer.
RUNS_KEPT = 1024


class Ids(RandomIdGenerator):
    """Random ids; the next trace may be given its own, by which it was decided to record it."""

    given = 0

    def generate_trace_id(self) -> int:
        """See ``IdGenerator``."""
        given, self.given = self.given, 0
        return given or super().generate_trace_id()


class RequestSpans:
    """Decides which requests are traced, and makes their spans; on the event loop's thread.

    The decision comes first because the answer carries it: as the caller decided, else by the trace
    id. A traced request costs about a millisecond of CPU, many times what a small model computes.
    So there are never more than some in a second, however many requests or callers there are.

    Args:
        resource: names the process.
        outlets: where finished spans go; must not block.
        ratio: share of the traces begun here that are recorded, 0 to 1.
        most: requests in a second that are traced, those of callers among them.
        tell_ratio: tell it to a collector that wants to know of how many requests a span is one.
    """

    def __init__(
        self,
        resource: Resource,
        outlets: Iterable[SpanProcessor],
        ratio: float,
        most: int,
        *,
        tell_ratio: bool = False,
    ) -> None:
        self._ids = Ids()
        provider = TracerProvider(
            ALWAYS_ON, resource, shutdown_on_exit=False, id_generator=self._ids
        )
        for each in outlets:
            provider.add_span_processor(each)
        self._tracer = provider.get_tracer("engine.serving.telemetry")
        self._bound = TraceIdRatioBased(ratio).bound
        # Seeded by the system, after the fork: two workers never make the same ids.
        self._bits = random.Random().getrandbits  # noqa: S311 - ids, not secrets
        self._sample_rate = ratio * 100 if tell_ratio else None
        self._budget = Budget(most)
        # By identity, since two runs could have equal numbers; so the run is kept as well.
        self._runs: OrderedDict[int, tuple[Run, Span]] = OrderedDict()
        # Whose spans are not ended yet: those of this and of the last period.
        self._young: list[tuple[Run, Span]] = []
        self._old: list[tuple[Run, Span]] = []
        self._closing: asyncio.TimerHandle | None = None

    def begin(self, request: Request, headers: Mapping[bytes, bytes]) -> None:
        """A request was just read."""
        header = headers.get(TRACEPARENT)
        caller = None if header is None else parse(header)
        above = Context()
        if caller is None:
            # Looked at for each request, so nothing of the SDK is called.
            number = self._bits(128)
            if number & TraceIdRatioBased.TRACE_ID_LIMIT >= self._bound:
                return
        elif not caller.sampled:
            return
        if not self._budget.take(request.began):
            return
        if caller is None:
            self._ids.given = number
        else:
            above = _below(caller, headers.get(TRACESTATE, b""))
        span = self._tracer.start_span(
            ROUTES[request.route],
            above,
            SpanKind.SERVER,
            start_time=_now_at(request.began),
        )
        if span.is_recording():
            here = span.get_span_context()
            place = TraceContext(f"{here.trace_id:032x}", f"{here.span_id:016x}", True)
            request.span, request.returned = span, write(place)
            if caller is None and self._sample_rate is not None:
                span.set_attribute(SAMPLE_RATE, self._sample_rate)

    def end(self, request: Request) -> None:
        """A request that is traced was answered."""
        span = request.span
        if span is None:
            return
        shift = _now_at(0.0)
        status = _status(request)
        span.update_name(f"{request.method} {ROUTES[request.route]}")
        span.set_attributes(_attributes(request))
        span.set_status(status)
        span.end(shift + _nanoseconds(request.ended))
        runs = [self._run(each, request.model, shift) for each in request.runs]
        above = set_span_in_context(span, Context())
        phases = _phases(request)
        for name, began, ended in phases:
            shared = runs if name == "compute" else []
            links = [Link(run.get_span_context()) for run in shared]
            phase = self._tracer.start_span(
                name, above, links=links, start_time=shift + _nanoseconds(began)
            )
            for run in shared:
                if run.is_recording():
                    run.add_link(phase.get_span_context())
            # A request ends in the phase that failed.
            if name == phases[-1][0]:
                phase.set_status(status)
            phase.end(shift + _nanoseconds(ended))

    def close_runs(self) -> None:
        """End the spans of all runs; no more requests will come that shared them."""
        if self._closing is not None:
            self._closing.cancel()
        self._age()
        self._age()

    def _run(self, run: Run, model: str, shift: int) -> Span:
        """The span of a run; it begins a trace: it belongs to all its requests alike."""
        kept = self._runs.get(id(run))
        if kept is not None:
            return kept[1]
        attributes: dict[str, AttributeValue] = {
            "inference.model": model,
            "inference.batch.rows": run.rows,
        }
        began = shift + _nanoseconds(run.began)
        span = self._tracer.start_span(
            f"run {model}", Context(), attributes=attributes, start_time=began
        )
        self._runs[id(run)] = run, span
        self._young.append((run, span))
        if len(self._runs) > RUNS_KEPT:
            self._runs.popitem(last=False)
        if self._closing is None:
            self._age_later()
        return span

    def _age_later(self) -> None:
        self._closing = asyncio.get_running_loop().call_later(RUN_SETTLES_SECONDS, self._on_time)

    def _on_time(self) -> None:
        self._closing = None
        self._age()
        if self._old:
            self._age_later()

    def _age(self) -> None:
        for run, span in self._old:
            span.end(_now_at(run.ended))
        self._old, self._young = self._young, []


def _below(caller: TraceContext, state: bytes) -> Context:
    """A context whose spans belong to the caller's."""
    given = TraceState.from_header([state.decode("latin-1")]) if state else None
    place = SpanContext(
        int(caller.trace_id, 16), int(caller.span_id, 16), True, TraceFlags(1), given
    )
    return set_span_in_context(NonRecordingSpan(place), Context())


def _attributes(request: Request) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "http.request.method": request.method,
        "http.route": ROUTES[request.route],
        "http.response.status_code": request.status,
        "inference.request_id": request.request_id,
    }
    if request.model:
        attributes["inference.model"] = request.model
        attributes["inference.model.version"] = request.version
    if request.rows:
        attributes["inference.rows"] = request.rows
    if request.runs:
        attributes["inference.batch.rows"] = max(run.rows for run in request.runs)
    code = request.error.code if request.error is not None else None
    if request.status == CLIENT_GONE:
        code = "client_gone"
    if code is not None:
        # Twice: Microsoft's exporter leaves the conventional one out.
        attributes["error.type"] = attributes["inference.error"] = code
    return attributes


def _phases(request: Request) -> list[tuple[str, float, float]]:
    """Name, begin and end of each phase that the request reached."""
    phases = []
    if request.decoded:
        phases.append(("decode", request.began, request.decoded))
    runs = request.runs
    if request.taken:
        phases.append(("queue", request.decoded, request.taken))
    elif request.decoded and request.status in (CLIENT_GONE, 503):
        # It left the queue without a turn: its time was up, or its client gone.
        phases.append(("queue", request.decoded, request.ended))
    if runs:
        phases.append(("compute", runs[0].began, runs[-1].ended))
    elif request.taken:
        # Its client went away while the model ran.
        phases.append(("compute", request.taken, request.ended))
    if request.encoding and request.error is None:
        phases.append(("encode", request.encoding, request.ended))
    return phases


def _status(request: Request) -> Status:
    """A client's mistake is no error of the server, so the conventions leave it unset."""
    if request.status >= SERVER_ERROR:
        text = request.error.message if request.error is not None else None
        return Status(StatusCode.ERROR, text)
    return Status()


def _nanoseconds(seconds: float) -> int:
    return int(seconds * NANOSECONDS)


def _now_at(seconds: float) -> int:
    """Nanoseconds since 1970 at a time of ``time.perf_counter``."""
    return time.time_ns() - time.perf_counter_ns() + _nanoseconds(seconds)
