"""Which requests are traced, what becomes of their records, and what one destination may cost."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace

import pytest
from engine.serving.errors import DeadlineExceeded, InferenceFailed, RequestError, Unauthorized
from engine.serving.metrics.service import Metrics, columns_for
from engine.serving.metrics.shared_table import SharedTable
from engine.serving.release import Release
from engine.serving.request import Request, Run
from engine.serving.telemetry.otel import outlet as outlets
from engine.serving.telemetry.otel.destinations import Destination
from engine.serving.telemetry.otel.exports import make_resource
from engine.serving.telemetry.otel.families import Reader, name_and_unit
from engine.serving.telemetry.otel.outlet import LastWarning, Outlet
from engine.serving.telemetry.otel.spans import RequestSpans
from engine.serving.telemetry.requests import RequestTelemetry
from engine.serving.telemetry.traceparent import parse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, TraceFlags
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
RESOURCE = Resource({"service.name": "tests"})
MANY = 1_000_000


def parent(flags: str) -> dict[bytes, bytes]:
    return {b"traceparent": f"00-{TRACE}-{CALLER}-{flags}".encode()}


class Followed:
    """Requests whose spans are kept."""

    def __init__(self, ratio: float = 1.0, most: int = MANY, *, tell_ratio: bool = False) -> None:
        self._kept = InMemorySpanExporter()
        self.requests = RequestSpans(
            RESOURCE, [SimpleSpanProcessor(self._kept)], ratio, most, tell_ratio=tell_ratio
        )
        self.begin, self.end = self.requests.begin, self.requests.end
        self.telemetry = RequestTelemetry(Metrics(SharedTable(1, columns_for(0))))
        self.telemetry.tracer = self

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._kept.get_finished_spans()

    def stop(self, seconds: float) -> None:
        self.requests.close_runs()

    def begun(self, headers: Mapping[bytes, bytes], at: float = 0.0) -> Request:
        request = Request("predict", "one")
        request.began = at or request.began
        self.begin(request, headers)
        return request

    def answer(
        self,
        status: int = 200,
        runs: Sequence[Run] = (),
        error: RequestError | None = None,
        headers: dict[bytes, bytes] | None = None,
    ) -> Request:
        record = self.telemetry.begin("predict", "/predict", headers or {})
        if status not in (401, 429):
            record.decoded = time.perf_counter()
        if runs:
            record.model, record.version, record.rows = "scale", "1", 2
            record.taken, record.runs = runs[0].began, tuple(runs)
        record.error = error
        self.telemetry.end(record, status)
        return record

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]


def test_the_caller_decides_whatever_the_ratio() -> None:
    for ratio in (0.0, 1.0):
        followed = Followed(ratio)
        sampled = followed.answer(headers=parent("01") | {b"tracestate": b"a=b"})
        assert sampled.span is not None and followed.spans[0].parent is not None
        assert f"{sampled.span.get_span_context().trace_id:032x}" == TRACE
        for span in followed.spans:
            assert span.context is not None and span.context.trace_state.to_header() == "a=b"
        assert followed.begun(parent("00")).span is None


@pytest.mark.parametrize("headers", [{}, {b"traceparent": b"00-rubbish-01"}])
def test_the_ratio_decides_where_a_trace_begins(headers: dict[bytes, bytes]) -> None:
    never, often, always = (Followed(ratio) for ratio in (0.0, 0.25, 1.0))
    assert not any(never.begun(headers).span for _ in range(1000))
    made = {always.begun(headers).returned for _ in range(1000)}
    assert len(made) == 1000 and None not in made
    # Far outside what chance can do: 7 standard deviations are 0.03.
    count = sum(often.begun(headers).span is not None for _ in range(10_000))
    assert 0.22 < count / 10_000 < 0.28


def test_the_trace_id_alone_says_whether_a_new_trace_is_recorded() -> None:
    """As OpenTelemetry's own sampler decides, so that others agree."""
    followed = Followed(0.25)
    for _ in range(1000):
        span = followed.begun({}).span
        if span is not None:
            assert span.get_span_context().trace_id % 2**64 < 2**64 // 4


@pytest.mark.parametrize("headers", [{}, parent("01")], ids=["begun here", "of a caller"])
def test_no_more_than_some_in_a_second_are_traced(headers: dict[bytes, bytes]) -> None:
    followed = Followed(most=3)
    first = [followed.begun(headers, 7.0 + part / 10).span is not None for part in range(5)]
    assert first == [True, True, True, False, False]
    assert followed.begun(headers, 8.0).span is not None


def new_run(rows: int = 2) -> Run:
    now = time.perf_counter()
    return Run(now, now + 0.001, rows)


def test_a_request_that_is_not_sampled_leaves_nothing() -> None:
    followed = Followed(ratio=0.0)
    record = followed.answer()
    assert (record.span, record.returned, followed.spans) == (None, None, ())


def test_the_returned_header_is_the_servers_span() -> None:
    followed = Followed()
    record = followed.answer(headers=parent("01"))
    assert record.returned is not None
    returned = parse(record.returned)
    (server,) = followed.named("POST /predict")
    context = server.get_span_context()
    assert returned is not None and context is not None and record.span is not None
    assert record.span.get_span_context() == context
    assert (returned.trace_id, returned.span_id) == (TRACE, f"{context.span_id:016x}")
    assert server.parent is not None
    assert server.parent.is_remote
    assert f"{server.parent.span_id:016x}" == CALLER
    assert server.kind is SpanKind.SERVER


def test_phases_that_were_not_reached_have_no_span() -> None:
    async def answers() -> list[set[str]]:
        names = []
        for status, runs, error in (
            (200, [new_run()], None),
            (401, [], Unauthorized("who are you")),
            (503, [], DeadlineExceeded("too late")),
            (500, [new_run()], InferenceFailed("it broke", incident="one")),
            (499, [], None),
        ):
            followed = Followed()
            followed.answer(status, runs, error)
            names.append({span.name for span in followed.spans})
            last = followed.spans[-1]
            failed = status >= 500
            assert (last.status.status_code is StatusCode.ERROR) == failed, status
            assert (followed.spans[0].status.status_code is StatusCode.ERROR) == failed, status
        return names

    server = "POST /predict"
    assert asyncio.run(answers()) == [
        {server, "decode", "queue", "compute", "encode"},
        {server},
        {server, "decode", "queue"},
        {server, "decode", "queue", "compute"},
        {server, "decode", "queue"},
    ]


def test_a_run_has_one_span_with_all_its_sampled_requests() -> None:
    async def answers(followed: Followed) -> None:
        shared, other = new_run(), new_run()
        # Equal numbers do not make them one.
        twin = Run(shared.began, shared.ended, shared.rows)
        followed.answer(runs=[shared], headers=parent("01"))
        followed.answer(runs=[shared, other], headers=parent("01"))
        followed.answer(runs=[shared], headers=parent("00"))
        followed.answer(runs=[twin], headers=parent("01"))
        followed.requests.close_runs()
        # Its client was slow: the run is known, and is not sent again.
        followed.answer(runs=[shared], headers=parent("01"))
        followed.requests.close_runs()

    followed = Followed()
    asyncio.run(answers(followed))
    runs = followed.named("run scale")
    assert sorted(len(run.links) for run in runs) == [1, 1, 2]
    ids = {run.context.span_id: run for run in runs}
    computing = followed.named("compute")
    assert [len(span.links) for span in computing] == [1, 2, 1, 1]
    assert {link.context.span_id for span in computing for link in span.links} == set(ids)
    assert computing[0].links[0].context == computing[3].links[0].context
    assert all(run.parent is None for run in runs)


def test_runs_are_sent_without_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.serving.telemetry.otel.spans.RUN_SETTLES_SECONDS", 0.01)

    async def answers(followed: Followed) -> None:
        followed.answer(runs=[new_run()])
        await asyncio.sleep(0.5)
        followed.answer(runs=[new_run()])
        await asyncio.sleep(0.5)

    followed = Followed()
    asyncio.run(answers(followed))
    assert len(followed.named("run scale")) == 2


def test_the_sample_rate_is_told_for_traces_that_begin_here() -> None:
    followed = Followed(1.0, tell_ratio=True)
    followed.answer()
    followed.answer(headers=parent("01"))
    rates = [(span.attributes or {}).get("_MS.sampleRate") for span in followed.spans]
    assert rates.count(100.0) == 1 and rates.count(None) == len(rates) - 1
    assert rates[0] == 100.0


def test_the_resource_names_release_and_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    release = Release("flowers", "Flowers", "", "1.2.0", "abc123", "")
    attributes = make_resource(release, 3).attributes
    assert attributes["service.name"] == "flowers"
    assert attributes["service.version"] == "1.2.0+abc123"
    assert str(attributes["service.instance.id"]).endswith("/3")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "plants")
    assert make_resource(release, 3).attributes["service.name"] == "plants"


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("inference_requests", ("inference.requests", "1")),
        ("inference_request_duration_seconds", ("inference.request_duration", "s")),
        ("inference_batch_rows", ("inference.batch_rows", "{row}")),
        ("inference_memory_limit_bytes", ("inference.memory_limit", "By")),
        ("inference_device_utilization_ratio", ("inference.device_utilization", "1")),
        ("inference_rows_in_flight", ("inference.rows_in_flight", "1")),
    ],
)
def test_names_and_units(family: str, expected: tuple[str, str]) -> None:
    assert name_and_unit(family) == expected


def families(count: float, buckets: tuple[float, float], total: float) -> list[Family]:
    requests = CounterMetricFamily("inference_requests", "Text.", labels=["route"])
    requests.add_metric(["predict"], count)
    requests.add_metric(["infer"], 0)
    seconds = HistogramMetricFamily("inference_wait_seconds", "Text.", labels=["model"])
    below, all_of_them = buckets
    seconds.add_metric(["m"], [("0.1", below), ("+Inf", all_of_them)], total)
    return [requests, seconds, GaugeMetricFamily("inference_ready", "Text.", value=1)]


def read(reader: Reader) -> dict[str, list[object]]:
    (resource,) = reader.read().resource_metrics
    (scope,) = resource.scope_metrics
    return {metric.name: list(metric.data.data_points) for metric in scope.metrics}


@pytest.mark.parametrize("delta", [False, True])
def test_metrics_are_read_as_totals_or_as_what_came_since(delta: bool) -> None:
    now = [families(5, (3, 4), 2.5)]
    reader = Reader(lambda: now[0], RESOURCE, delta=delta)
    first = read(reader)
    now[0] = families(7, (3, 6), 9.5)
    second = read(reader)
    (ready,) = second["inference.ready"]
    assert ready.value == 1  # type: ignore[attr-defined]
    (wait,) = first["inference.wait"]
    assert (wait.count, wait.bucket_counts, wait.sum) == (4, [3, 1], 2.5)  # type: ignore[attr-defined]
    (wait,) = second["inference.wait"]
    counted = [point.value for point in second["inference.requests"]]  # type: ignore[attr-defined]
    shares = (wait.count, wait.bucket_counts, wait.explicit_bounds, wait.sum)  # type: ignore[attr-defined]
    if delta:
        assert counted == [2]
        assert shares == (2, [0, 2], [0.1], 7.0)
        now[0] = families(7, (3, 6), 9.5)
        assert read(reader).keys() == {"inference.ready"}
    else:
        assert counted == [7, 0]
        assert shares == (6, [3, 3], [0.1], 9.5)


def test_of_the_columns_of_a_model_only_the_ratio_is_sent() -> None:
    names = ("index", "ratio", "missing_ratio", "unseen_ratio", "rows")
    drift = [GaugeMetricFamily(f"inference_drift_{name}", "Text.", value=1) for name in names]
    assert read(Reader(lambda: drift, RESOURCE, delta=True)).keys() == {"inference.drift"}


class Taker(SpanExporter):
    """Takes spans while it is up, or keeps the sender waiting."""

    def __init__(self) -> None:
        self.up = True
        self.answers = threading.Event()
        self.answers.set()
        self.spans = 0
        self.batches = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.answers.wait(20)
        self.batches += 1
        if self.up:
            self.spans += len(spans)
        return SpanExportResult.SUCCESS if self.up else SpanExportResult.FAILURE

    def tried(self, times: int) -> bool:
        return self.batches >= times


@pytest.fixture
def taker() -> Taker:
    return Taker()


@pytest.fixture
def outlet(taker: Taker, monkeypatch: pytest.MonkeyPatch) -> Outlet:
    monkeypatch.setattr(outlets, "INTERVAL_SECONDS", 0.01)
    metrics = SimpleNamespace(shutdown=lambda: None)
    to = Destination("the test", taker, metrics, False, False)  # type: ignore[arg-type]
    return Outlet(to, LastWarning(), None, 60.0)


def until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.005)


SPAN = ReadableSpan("one", SpanContext(1, 1, False, TraceFlags(1)))


def put(outlet: Outlet, count: int) -> None:
    for _ in range(count):
        outlet.on_end(SPAN)


def test_what_finds_no_room_is_lost_and_counted(outlet: Outlet, taker: Taker) -> None:
    taker.answers.clear()
    begun = time.monotonic()
    put(outlet, 2 * outlets.CAPACITY)
    # Nobody waited for the destination.
    assert time.monotonic() - begun < 5
    assert outlet.lost == outlets.CAPACITY
    taker.answers.set()
    until(lambda: taker.spans + outlet.lost == 2 * outlets.CAPACITY)
    outlet.begin_stop()
    outlet.join(10)


def test_a_destination_that_is_down_is_named_once(
    outlet: Outlet, taker: Taker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    taker.up = False
    for number in range(1, 6):
        put(outlet, 2)
        until(partial(taker.tried, number))
    taker.up = True
    until(lambda: outlet.lost == 10)
    put(outlet, 1)
    until(lambda: len(caplog.messages) == 2)
    down, up = caplog.messages
    assert down.startswith("the test takes no telemetry; answers are not affected")
    assert up == "the test takes telemetry again; 10 spans were lost"
    outlet.begin_stop()
    outlet.join(10)


def test_a_stop_sends_what_is_left(outlet: Outlet, taker: Taker) -> None:
    put(outlet, 1400)
    outlet.begin_stop()
    outlet.join(10)
    assert taker.spans == 1400


def test_a_stop_does_not_wait_for_a_destination_that_hangs(
    outlet: Outlet, taker: Taker, caplog: pytest.LogCaptureFixture
) -> None:
    taker.answers.clear()
    put(outlet, 1400)
    begun = time.monotonic()
    outlet.begin_stop()
    outlet.join(0.2)
    assert time.monotonic() - begun < 5
    assert "stopped before 1400 spans could be sent" in caplog.messages[-1]
    taker.answers.set()
