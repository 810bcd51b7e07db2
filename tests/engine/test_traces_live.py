"""The running service sends the spans of real requests to a collector, and its metrics."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from engine.packaging.options import Options
from engine.packaging.package import package
from engine.serving.release import read_release
from engine.serving.telemetry.traceparent import parse

from tests.engine import toy_models
from tests.engine.collectors import Collector, MetricSeen, SpanSeen, collecting
from tests.engine.server import Server, running

pytestmark = pytest.mark.slow

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
SERVER_KIND = 2
KEY = "a-planted-key-0123456789"
PREDICT, INFER = "POST /predict", "POST /v2/models/{model}/infer"
ROWS = {"data": [[1, 2, 3]]}
TENSOR = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}
SLEEPS = """
import time


def preprocess(inputs):
    time.sleep(0.2)
    if inputs["x"].max() > 1000:
        raise RuntimeError("broken")
    return inputs
"""
# A chunked body never takes the shortcut.
WAYS = {"shortcut": False, "ASGI": True}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module", params=[1, 2], ids=["1 worker", "2 workers"])
def workers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def server(
    workers: int, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("traced")
    folder = place / "models"
    source = toy_models.write_scale(folder) / "model.onnx"
    (place / "code.py").write_text(SLEEPS)
    np.savez(place / "samples.npz", x=np.ones((1, 3), np.float32))
    options = Options(
        name="slow", code=place / "code.py", samples=place / "samples.npz", batching="declared"
    )
    package(str(source), options, folder)
    settings = {
        "WORKERS": str(workers),
        "DEFAULT_MODEL": "scale",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-scope=tests",
        "OTEL_METRIC_EXPORT_INTERVAL": "300",
        "TRACE_SAMPLE_RATIO": "0",
        "TRACES_PER_SECOND": "10000",
        "API_KEYS": KEY,
        "MAX_QUEUE_ROWS": "4",
        "MAX_QUEUE_SECONDS": "60",
        "COMPUTE_LANES": "1",
    }
    with running(folder, **settings) as server:
        yield server


def new_trace() -> str:
    return f"{time.time_ns():032x}"


def ask(
    server: Server, path: str, content: object, trace: str, *, chunked: bool = False, key: str = KEY
) -> httpx.Response:
    body = json.dumps(content).encode()
    return httpx.post(
        server.url + path,
        content=iter([body[:7], body[7:]]) if chunked else body,
        headers={
            "Content-Type": "application/json",
            "Authorization": f"Bearer {key}",
            "traceparent": f"00-{trace}-{CALLER}-01",
            "tracestate": "vendor=value",
            "X-Request-Id": f"request-{trace[-8:]}",
        },
        timeout=30,
    )


def children(collector: Collector, parent: SpanSeen) -> dict[str, SpanSeen]:
    return {span.name: span for span in list(collector.spans) if span.parent == parent.span_id}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("path", "content", "name"),
    [("/predict", ROWS, PREDICT), ("/v2/models/scale/infer", TENSOR, INFER)],
)
def test_a_request_belongs_to_its_callers_trace(
    server: Server, collector: Collector, path: str, content: object, name: str, way: str
) -> None:
    trace = new_trace()
    before = time.time()
    answer = ask(server, path, content, trace, chunked=WAYS[way])
    assert answer.status_code == 200, answer.text
    collector.wait_for(name, lambda: any(span.trace_id == trace for span in collector.spans))

    span = collector.span(name, trace)
    assert (span.parent, span.kind, span.state) == (CALLER, SERVER_KIND, "vendor=value")
    assert before - 0.1 < span.began < span.ended < time.time() + 0.1
    returned = parse(answer.headers["traceparent"].encode())
    assert returned is not None
    assert (returned.trace_id, returned.span_id, returned.sampled) == (trace, span.span_id, True)
    expected = {
        "http.request.method": "POST",
        "http.route": name.split(" ")[1],
        "http.response.status_code": 200,
        "inference.model": "scale",
        "inference.model.version": "1",
        "inference.rows": 1,
        "inference.batch.rows": 1,
        "inference.request_id": f"request-{trace[-8:]}",
    }
    assert expected.items() <= span.attributes.items()
    assert span.error is None
    phases = children(collector, span)
    assert set(phases) == {"decode", "queue", "compute", "encode"}
    moments = [
        moment
        for phase in ("decode", "queue", "compute", "encode")
        for moment in (phases[phase].began, phases[phase].ended)
    ]
    # They follow one another within the request; times are sent in whole nanoseconds.
    assert moments == pytest.approx(sorted(moments), abs=1e-6)
    assert span.began - 1e-6 <= moments[0] <= moments[-1] <= span.ended + 1e-6


def ask_at_once(server: Server, path: str, content: object, traces: list[str]) -> list[int]:
    with ThreadPoolExecutor(len(traces)) as pool:
        answers = pool.map(lambda trace: ask(server, path, content, trace), traces)
        return [answer.status_code for answer in answers]


def arrived(collector: Collector, name: str, traces: list[str]) -> list[SpanSeen]:
    def there() -> list[SpanSeen]:
        return [
            span for span in list(collector.spans) if span.name == name and span.trace_id in traces
        ]

    collector.wait_for(f"{len(traces)} spans {name}", lambda: len(there()) == len(traces))
    return there()


def test_runs_are_linked_with_all_that_shared_them(
    server: Server, collector: Collector, workers: int
) -> None:
    traces = [new_trace() for _ in range(4)]
    # One keeps the only lane busy; what comes meanwhile shares the next run.
    assert ask_at_once(server, "/predict/slow", ROWS, traces) == [200] * 4
    computing = arrived(collector, "compute", traces)

    def runs() -> dict[tuple[str, str], SpanSeen]:
        spans = [span for span in list(collector.spans) if span.name == "run slow"]
        return {link: span for span in spans for link in span.links}

    collector.wait_for(
        "their runs", lambda: all((span.trace_id, span.span_id) in runs() for span in computing)
    )
    for span in computing:
        run = runs()[span.trace_id, span.span_id]
        assert span.links == [(run.trace_id, run.span_id)]
        assert run.parent == ""
        assert run.attributes["inference.model"] == "slow"
        assert run.attributes["inference.batch.rows"] == len(run.links)
        assert (run.began, run.ended) == pytest.approx((span.began, span.ended), abs=0.001)
    ids = [run.span_id for run in runs().values()]
    sent = [span.span_id for span in collector.spans if span.span_id in ids]
    assert len(sent) == len(set(sent)), "a run was sent twice"
    if workers == 1:
        assert len(set(ids)) < len(ids), "no run was shared"


@pytest.mark.parametrize(
    ("path", "content", "key", "status", "error"),
    [
        ("/predict", ROWS, "not-the-key-0123456", 401, "unauthorized"),
        ("/predict/nobody", ROWS, KEY, 404, "not_found"),
        ("/predict", {"data": [["x", 1, 2]]}, KEY, 422, "invalid_input"),
        ("/predict", {"data": [[1, 2, 3]] * 9}, KEY, 413, "too_large"),
    ],
)
def test_a_refused_request_says_why(
    server: Server,
    collector: Collector,
    path: str,
    content: object,
    key: str,
    status: int,
    error: str,
) -> None:
    trace = new_trace()
    answer = ask(server, path, content, trace, key=key)
    span = arrived(collector, PREDICT, [trace])[0]
    assert answer.status_code == span.attributes["http.response.status_code"] == status
    assert answer.json()["code"] == span.attributes["error.type"] == error
    # The client's fault, so no error of the server; and nothing of its key.
    assert span.error is None
    assert key not in str(collector.spans)


def test_an_overload_is_seen(server: Server, collector: Collector) -> None:
    traces: list[str] = []
    statuses: list[int] = []
    # A machine that is busy itself may send them too slowly to be refused.
    while 429 not in statuses and len(traces) < 160:
        more = [new_trace() for _ in range(32)]
        traces += more
        statuses += ask_at_once(server, "/predict/slow", ROWS, more)
    assert set(statuses) == {200, 429}
    spans = arrived(collector, PREDICT, traces)
    refused = [span for span in spans if span.attributes.get("error.type") == "overloaded"]
    assert len(refused) == statuses.count(429)
    assert all("compute" not in children(collector, span) for span in refused)


def test_a_slow_model_is_seen(server: Server, collector: Collector) -> None:
    trace = new_trace()
    ask(server, "/predict/slow", ROWS, trace)
    whole = arrived(collector, PREDICT, [trace])[0]
    compute = children(collector, whole)["compute"]
    assert compute.ended - compute.began > 0.2


def test_a_failing_model_is_seen(server: Server, collector: Collector) -> None:
    trace = new_trace()
    answer = ask(server, "/predict/slow", {"data": [[2000, 1, 1]]}, trace)
    assert answer.status_code == 500
    span = arrived(collector, PREDICT, [trace])[0]
    assert span.attributes["error.type"] == "inference_failed"
    # The id under which the log tells more.
    assert span.error is not None
    assert answer.headers["x-request-id"] in span.error
    phases = children(collector, span)
    assert phases["compute"].error == span.error
    assert phases["decode"].error is None
    assert "encode" not in phases


def test_a_client_that_goes_away_is_seen(server: Server, collector: Collector) -> None:
    trace = new_trace()
    body = json.dumps(ROWS).encode()
    head = (
        "POST /predict/slow HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {KEY}\r\ntraceparent: 00-{trace}-{CALLER}-01\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((server.host, server.port)) as client:
        client.sendall(head.encode() + body)
        time.sleep(0.05)
    span = arrived(collector, PREDICT, [trace])[0]
    assert span.attributes["http.response.status_code"] == 499
    assert span.attributes["error.type"] == "client_gone"


def test_what_the_caller_does_not_record_is_not_recorded(
    server: Server, collector: Collector
) -> None:
    """And neither is what begins here, at a ratio of 0."""
    headers = {"Authorization": f"Bearer {KEY}"}
    unsampled = new_trace()
    for extra in ({"traceparent": f"00-{unsampled}-{CALLER}-00"}, {}, {"traceparent": "rubbish"}):
        answer = httpx.post(server.url + "/predict", json=ROWS, headers=headers | extra)
        assert answer.status_code == 200
        assert "traceparent" not in answer.headers
    after = new_trace()
    ask(server, "/predict", ROWS, after)
    arrived(collector, PREDICT, [after])
    for span in collector.spans:
        assert span.trace_id != unsampled
        assert span.name.startswith("run ") or span.kind != SERVER_KIND or span.parent == CALLER


def test_who_sends_is_told(server: Server, collector: Collector, workers: int) -> None:
    traces = [new_trace() for _ in range(8)]
    for trace in traces:
        ask(server, "/predict", ROWS, trace)
    resources = [span.resource for span in arrived(collector, PREDICT, traces)]
    assert {each["service.name"] for each in resources} == {read_release("", "").name}
    instances = {each["service.instance.id"] for each in resources}
    assert {each.rpartition("/")[2] for each in instances} == {str(n) for n in range(workers)}
    # A header that only the exporter reads.
    assert all(each["x-scope"] == "tests" for each in collector.headers)


def test_metrics_arrive_summed_over_the_workers(server: Server, collector: Collector) -> None:
    """As on /metrics, from one of the workers."""
    ask(server, "/predict", ROWS, new_trace())
    ok = {"route": "predict", "status": "200"}

    def answered() -> float:
        # Asked again each time: workers share their counts a few times a second only.
        shown = httpx.get(server.url + "/metrics").text
        return next(
            float(line.split()[-1])
            for line in shown.splitlines()
            if line.startswith('inference_requests_total{route="predict",status="200"}')
        )

    def latest(name: str, attributes: dict[str, str]) -> MetricSeen | None:
        found = [
            each
            for each in list(collector.metrics)
            if each.name == name and each.attributes == attributes
        ]
        return found[-1] if found else None

    def counted() -> bool:
        seen = latest("inference.requests", ok)
        return seen is not None and seen.value == answered() > 0

    collector.wait_for("the count of requests", counted)
    duration = latest("inference.request_duration", {"route": "predict"})
    assert duration is not None
    assert (duration.kind, duration.unit) == ("histogram", "s")
    assert duration.value.count == sum(duration.value.bucket_counts) > 0
    assert duration.value.sum > 0
    assert len(duration.value.bucket_counts) == len(duration.value.explicit_bounds) + 1
    senders = {
        each.resource["service.instance.id"].rpartition("/")[2] for each in collector.metrics
    }
    assert senders == {"0"}
