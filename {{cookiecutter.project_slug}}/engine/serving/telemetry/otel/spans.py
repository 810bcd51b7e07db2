"""A request's request as spans, and runs of models as spans of their own.

The spans are built when all their times are known, not with a tracer's start and end: that costs
a twelfth, and nothing while the request is answered. Names follow OpenTelemetry's conventions for
HTTP servers: https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode
from opentelemetry.util.types import AttributeValue

from engine.serving.request import Request, Run
from engine.serving.telemetry.sampling import Sampled, Sampler
from engine.serving.telemetry.traceparent import TraceContext

ROUTES = {"predict": "/predict", "infer": "/v2/models/{model}/infer"}
CLIENT_GONE = 499
SERVER_ERROR = 500
# Application Insights counts a request for as many as one was sampled from.
SAMPLE_RATE = "_MS.sampleRate"
NANOSECONDS = 1_000_000_000


@dataclass(slots=True)
class Batch:
    """A run of a model of which at least one request is traced."""

    run: Run
    model: str
    context: SpanContext
    # Seconds from the monotonic clock's zero to the epoch.
    epoch: float
    requests: list[Link] = field(default_factory=list)


class SpanMaker:
    """Makes spans of one process.

    Args:
        resource: names the process.
        ids: where new span ids come from.
        sample_rate: per cent of the traces begun here that are recorded, to be told to a collector
            that wants it; None for those that do not.
    """

    def __init__(self, resource: Resource, ids: Sampler, sample_rate: float | None = None) -> None:
        self._resource = resource
        self._ids = ids
        self._sample_rate = sample_rate
        self._scope = InstrumentationScope("engine.serving.telemetry")

    def batch(self, run: Run, model: str) -> Batch:
        """A run whose span will be made when the requests that share it are known.

        Its span begins a trace: it belongs to all of them alike.
        """
        here = SpanContext(
            self._ids.new_trace_id(), int(self._ids.new_span_id(), 16), False, TraceFlags(1)
        )
        return Batch(run, model, here, time.time() - time.perf_counter())

    def batch_span(self, batch: Batch) -> ReadableSpan:
        """The span of a run, with a link to each request that shared it."""
        run = batch.run
        attributes: dict[str, AttributeValue] = {
            "inference.model": batch.model,
            "inference.batch.rows": run.rows,
        }
        return self._span(
            f"run {batch.model}",
            batch.context,
            None,
            (_nanoseconds(run.began, batch.epoch), _nanoseconds(run.ended, batch.epoch)),
            attributes=attributes,
            # A copy: the span is read by another thread, and a late request may still be added.
            links=tuple(batch.requests),
        )

    def request_spans(
        self, request: Request, sampled: Sampled, batches: Sequence[Batch]
    ) -> list[ReadableSpan]:
        """The spans of one answered request: the server's, and one for each phase it reached.

        Args:
            batches: the runs that it shared; are linked, both ways.
        """
        epoch = time.time() - time.perf_counter()
        state = TraceState.from_header([sampled.state]) if sampled.state else None
        here = _context(sampled.here, state)
        caller = None if sampled.caller is None else _context(sampled.caller, state, remote=True)
        status = _status(request)
        spans = [
            self._span(
                f"{request.method} {ROUTES[request.route]}",
                here,
                caller,
                (_nanoseconds(request.began, epoch), _nanoseconds(request.ended, epoch)),
                attributes=self._attributes(request, root=caller is None),
                kind=SpanKind.SERVER,
                status=status,
            )
        ]
        phases = _phases(request)
        for name, began, ended in phases:
            context = SpanContext(
                here.trace_id, int(self._ids.new_span_id(), 16), False, here.trace_flags, state
            )
            links: list[Link] = []
            if name == "compute":
                links = [Link(batch.context) for batch in batches]
                for batch in batches:
                    batch.requests.append(Link(context))
            times = (_nanoseconds(began, epoch), _nanoseconds(ended, epoch))
            # A request ends in the phase that failed.
            failed = status if name == phases[-1][0] else Status()
            spans.append(self._span(name, context, here, times, links=links, status=failed))
        return spans

    def _attributes(self, request: Request, *, root: bool) -> dict[str, AttributeValue]:
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
        if root and self._sample_rate is not None:
            attributes[SAMPLE_RATE] = self._sample_rate
        return attributes

    def _span(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        times: tuple[int, int],
        *,
        attributes: dict[str, AttributeValue] | None = None,
        links: Sequence[Link] = (),
        kind: SpanKind = SpanKind.INTERNAL,
        status: Status | None = None,
    ) -> ReadableSpan:
        return ReadableSpan(
            name,
            context,
            parent,
            self._resource,
            attributes or {},
            links=links,
            kind=kind,
            status=status or Status(),
            start_time=times[0],
            end_time=times[1],
            instrumentation_scope=self._scope,
        )


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


def _context(place: TraceContext, state: TraceState | None, *, remote: bool = False) -> SpanContext:
    flags = TraceFlags(1 if place.sampled else 0)
    return SpanContext(int(place.trace_id, 16), int(place.span_id, 16), remote, flags, state)


def _nanoseconds(seconds: float, epoch: float) -> int:
    return int((seconds + epoch) * NANOSECONDS)
