"""A collector on 127.0.0.1: OTLP over HTTP, and what Application Insights' ingestion speaks."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

WAIT_SECONDS = 20.0
INSTRUMENTATION_KEY = "0b1c9a54-5d0f-4b39-8f0e-2d8c3a7e6f11"
Attributes = dict[str, Any]


@dataclass(frozen=True)
class SpanSeen:
    """A span as it came over the wire, ids in hexadecimal digits, times in seconds."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent: str
    state: str
    began: float
    ended: float
    attributes: Attributes
    links: list[tuple[str, str]]
    error: str | None
    resource: Attributes


@dataclass(frozen=True)
class MetricSeen:
    """One point of a metric as it came over the wire."""

    name: str
    unit: str
    kind: str
    attributes: Attributes
    value: Any
    resource: Attributes


@dataclass
class Collector:
    """What has arrived, in order."""

    url: str
    # Each request waits until this is set.
    answers: threading.Event
    spans: list[SpanSeen] = field(default_factory=list)
    metrics: list[MetricSeen] = field(default_factory=list)
    # Application Insights' telemetry items.
    items: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    asked: int = 0

    @property
    def connection_string(self) -> str:
        """That brings an exporter of Application Insights here."""
        return f"InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint={self.url}/"

    def wait_for(self, what: str, there: Callable[[], bool]) -> None:
        """Wait until something has arrived."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not there():
            names = [span.name for span in self.spans]
            assert time.monotonic() < deadline, f"never came: {what}; spans {names}"
            time.sleep(0.02)
        assert self.faults == []

    def span(self, name: str, trace_id: str | None = None) -> SpanSeen:
        """The only span of that name, of that trace."""
        found = [
            span for span in self.spans if span.name == name and trace_id in (None, span.trace_id)
        ]
        assert len(found) == 1, f"{len(found)} spans {name!r} among {len(self.spans)}"
        return found[0]

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[str, bytes]:
        """Read one request; the content type and the body of the answer."""
        self.headers.append(headers)
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        kind = headers.get("content-type", "")
        if path == "/v1/traces" and kind == "application/x-protobuf":
            self._take_traces(body)
        elif path == "/v1/metrics" and kind == "application/x-protobuf":
            self._take_metrics(body)
        elif path.endswith("/track") and kind == "application/json":
            items = json.loads(body)
            self.items.extend(items)
            taken = {"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []}
            return "application/json", json.dumps(taken).encode()
        else:
            self.faults.append(f"{path} with {kind}")
        return kind, b""

    def _take_traces(self, body: bytes) -> None:
        message = ExportTraceServiceRequest.FromString(body)
        for group in message.resource_spans:
            resource = _attributes(group.resource.attributes)
            for scope in group.scope_spans:
                for span in scope.spans:
                    self.spans.append(_span(span, resource))

    def _take_metrics(self, body: bytes) -> None:
        message = ExportMetricsServiceRequest.FromString(body)
        for group in message.resource_metrics:
            resource = _attributes(group.resource.attributes)
            for scope in group.scope_metrics:
                for metric in scope.metrics:
                    self.metrics.extend(_points(metric, resource))


@contextmanager
def collecting(*, answering: bool = True) -> Iterator[Collector]:
    """A collector that listens; one that does not answer takes requests and stays silent."""
    answers = threading.Event()
    if answering:
        answers.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.asked += 1
            if not answers.wait(60) or stopped.is_set():
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            kind, answer = collector.take(self.path, headers, body)
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Not on the tests' output."""

    stopped = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector = Collector(f"http://127.0.0.1:{server.server_port}", answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        stopped.set()
        answers.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _span(span: Any, resource: Attributes) -> SpanSeen:
    return SpanSeen(
        name=span.name,
        kind=span.kind,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        state=span.trace_state,
        began=span.start_time_unix_nano / 1e9,
        ended=span.end_time_unix_nano / 1e9,
        attributes=_attributes(span.attributes),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        error=span.status.message if span.status.code == span.status.STATUS_CODE_ERROR else None,
        resource=resource,
    )


def _points(metric: Any, resource: Attributes) -> Iterator[MetricSeen]:
    kind = metric.WhichOneof("data")
    for point in getattr(metric, kind).data_points:
        value: Any = point
        if kind != "histogram":
            value = getattr(point, point.WhichOneof("value"))
        attributes = _attributes(point.attributes)
        yield MetricSeen(metric.name, metric.unit, kind, attributes, value, resource)


def _attributes(pairs: Any) -> Attributes:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
