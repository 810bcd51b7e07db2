"""Application Insights gets requests as such, and no collector, whatever it does, costs answers."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from engine.serving.errors import SettingsError
from engine.serving.settings import Settings, load_settings
from engine.serving.telemetry.otel.destinations import TIMEOUT_SECONDS

from tests.engine.collectors import INSTRUMENTATION_KEY, Collector, collecting
from tests.engine.server import free_port, running, started
from tests.engine.test_lifecycle import ask_until_closed

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CONNECTION = "APPLICATIONINSIGHTS_CONNECTION_STRING"
OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT"
ROWS = {"data": [[1, 2, 3]]}
QUICK = {
    "DEFAULT_MODEL": "scale",
    "OTEL_METRIC_EXPORT_INTERVAL": "300",
    "TRACES_PER_SECOND": "10000",
}


def of_type(collector: Collector, kind: str) -> list[dict[str, Any]]:
    return [item for item in list(collector.items) if item["data"]["baseType"] == kind]


@pytest.mark.slow
def test_application_insights_gets_requests_phases_and_metrics(toy_dir: Path) -> None:
    with (
        collecting() as collector,
        running(
            toy_dir, **QUICK, TRACE_SAMPLE_RATIO="0.5", **{CONNECTION: collector.connection_string}
        ) as server,
    ):
        caller = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
        answer = httpx.post(f"{server.url}/predict", json=ROWS, headers=caller)
        assert answer.status_code == 200
        httpx.post(f"{server.url}/predict", json={"data": [["x"]]}, headers=caller)
        collector.wait_for("requests", lambda: len(of_type(collector, "RequestData")) >= 2)
        collector.wait_for("phases", lambda: len(of_type(collector, "RemoteDependencyData")) >= 5)

        def metrics() -> dict[str, dict[str, Any]]:
            points = [item["data"]["baseData"] for item in of_type(collector, "MetricData")]
            return {point["metrics"][0]["name"]: point for point in points}

        collector.wait_for("metrics", lambda: "inference.request_duration" in metrics())
        good, bad = of_type(collector, "RequestData")
        span_id = answer.headers["traceparent"].split("-")[2]
    data, tags = good["data"]["baseData"], good["tags"]
    assert (data["id"], data["name"]) == (span_id, "POST /predict")
    assert (data["responseCode"], data["success"]) == ("200", True)
    assert data["duration"].startswith("0.00:00:0")
    assert data["properties"]["inference.model"] == "scale"
    assert tags["ai.operation.id"] == TRACE
    assert tags["ai.operation.parentId"] == CALLER
    assert tags["ai.cloud.role"]
    assert tags["ai.cloud.roleInstance"] == f"{socket.gethostname()}/0"
    assert tags["ai.application.ver"]
    assert good["iKey"] == INSTRUMENTATION_KEY
    refused = bad["data"]["baseData"]
    assert (refused["responseCode"], refused["success"]) == ("422", False)
    assert refused["properties"]["inference.error"] == "invalid_input"
    phases = {
        item["data"]["baseData"]["name"]: item
        for item in of_type(collector, "RemoteDependencyData")
    }
    assert {"decode", "queue", "compute", "encode", "run scale"} <= phases.keys()
    assert phases["compute"]["tags"]["ai.operation.parentId"] == span_id
    links = phases["compute"]["data"]["baseData"]["properties"]["_MS.links"]
    assert phases["run scale"]["data"]["baseData"]["id"] in links
    duration = metrics()["inference.request_duration"]["metrics"][0]
    assert duration["count"] >= 1
    assert duration["value"] > 0
    # And nothing that was not asked for: no statistics of the exporter's own.
    names = set(metrics())
    assert all(name.split(".")[0] in ("inference", "process") for name in names), names
    assert {item["name"].split(".")[-1] for item in collector.items} <= {
        "Request", "RemoteDependency", "Metric",
    }  # fmt: skip


@pytest.mark.slow
def test_sampled_requests_count_for_those_that_were_not(toy_dir: Path) -> None:
    with (
        collecting() as collector,
        running(
            toy_dir, **QUICK, TRACE_SAMPLE_RATIO="0.5", **{CONNECTION: collector.connection_string}
        ) as server,
    ):
        with httpx.Client(base_url=server.url) as client:
            for _ in range(60):
                client.post("/predict", json=ROWS)
        collector.wait_for("requests", lambda: bool(of_type(collector, "RequestData")))
    requests = of_type(collector, "RequestData")
    # 60 throws of a coin: outside of this once in a hundred million times.
    assert 8 < len(requests) < 52
    assert {item["sampleRate"] for item in requests} == {50.0}


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_both_get_all_that_was_answered_before_a_stop(toy_dir: Path, workers: str) -> None:
    with collecting() as insights, collecting() as otlp:
        settings = {CONNECTION: insights.connection_string, OTLP: otlp.url, "WORKERS": workers}
        with (
            running(toy_dir, **QUICK, TRACE_SAMPLE_RATIO="1", **settings) as server,
            httpx.Client(base_url=server.url) as client,
        ):
            ids = {
                client.post("/predict", json=ROWS).headers["traceparent"].split("-")[2]
                for _ in range(20)
            }
        assert {span.span_id for span in otlp.spans if span.name == "POST /predict"} == ids
        seen = {item["data"]["baseData"]["id"] for item in of_type(insights, "RequestData")}
        assert seen == ids
        runs = [span for span in otlp.spans if span.name == "run scale"]
        assert sum(len(run.links) for run in runs) == 20
        assert otlp.faults == insights.faults == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("kind", ["hangs", "is gone"])
def test_no_answer_is_lost_with_a_collector_that(toy_dir: Path, kind: str, workers: str) -> None:
    with collecting(answering=False) as collector:
        dead = f"http://127.0.0.1:{free_port()}"
        url = dead if kind == "is gone" else collector.url
        settings = {
            "WORKERS": workers,
            OTLP: url,
            CONNECTION: f"InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint={url}/",
        }
        with started(toy_dir, **QUICK, TRACE_SAMPLE_RATIO="1", **settings) as server:
            server.wait_for("ready")
            outcomes: list[str] = []
            threads = [
                threading.Thread(target=ask_until_closed, args=(server, outcomes, 0.05))
                for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            # Long enough for the first batch to be given up.
            time.sleep(TIMEOUT_SECONDS + 2)
            begun = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - begun < 10
            for thread in threads:
                thread.join(timeout=10)
            assert outcomes == ["closed after its answer"] * len(threads)
            assert server.process.stderr is not None
            log = server.process.stderr.read()
    # One line for each destination and worker when it fails, and one at the stop.
    assert len(log.splitlines()) <= 4 * int(workers), log
    assert INSTRUMENTATION_KEY not in log
    for name in ("Application Insights", "the OTLP collector"):
        assert f"{name} takes no telemetry; answers are not affected: " in log
    if kind == "is gone":
        assert "refused" in log


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("rubbish", "name=value pairs"),
        ("InstrumentationKey=secret-key;IngestionEndpoint=https://x.example/", "must be a UUID"),
        (f"InstrumentationKey={INSTRUMENTATION_KEY}", "IngestionEndpoint is missing"),
        (
            f"InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint=x.example",
            "IngestionEndpoint must be https://<host>/",
        ),
        (f"InstrumentationKey={INSTRUMENTATION_KEY};;IngestionEndpoint=https://x/", "name=value"),
    ],
)
def test_a_malformed_connection_string_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, text: str, rule: str
) -> None:
    """As all wrong settings do, with exit code 2: tests/engine/test_settings.py."""
    monkeypatch.setenv(CONNECTION, text)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    (fault,) = refused.value.faults
    assert fault.startswith(f"{CONNECTION}=(hidden): ")
    assert rule in fault
    assert "secret-key" not in fault
    assert INSTRUMENTATION_KEY not in fault


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {
                CONNECTION: f"InstrumentationKey={INSTRUMENTATION_KEY};Authorization=word;"
                "IngestionEndpoint=https://x.example/"
            },
            "Invalid authorization mechanism",
        ),
        (
            {
                OTLP: "http://127.0.0.1:9",
                "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER": "nobody",
            },
            "Requested component 'nobody' not found",
        ),
    ],
    ids=["value", "component"],
)
def test_what_an_exporter_refuses_ends_the_start(
    toy_dir: Path, settings: dict[str, str], reason: str
) -> None:
    """And does not leave a service that never gets ready."""
    with started(toy_dir, DEFAULT_MODEL="scale", **settings) as server:
        _, stderr = server.process.communicate(timeout=60)
    assert server.process.returncode == 1
    assert stderr.splitlines()[-1].startswith(f"error: telemetry cannot be exported: {reason}")
    assert INSTRUMENTATION_KEY not in stderr


def test_a_good_connection_string_is_kept_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (
        f"InstrumentationKey={INSTRUMENTATION_KEY};"
        "IngestionEndpoint=https://westeurope-5.in.applicationinsights.azure.com/;"
        "LiveEndpoint=https://westeurope.livediagnostics.monitor.azure.com/;ApplicationId=a;"
    )
    monkeypatch.setenv(CONNECTION, whole)
    settings = load_settings()
    assert settings.applicationinsights_connection_string == whole.rstrip(";")
    assert settings.exports_telemetry
    assert INSTRUMENTATION_KEY not in repr(settings)
    assert not Settings(applicationinsights_connection_string=None).exports_telemetry


@pytest.mark.parametrize(
    "url",
    ["collector:4318", "grpc://collector", "http://user:word@collector", "http://c/?key=word"],
)
def test_a_malformed_collector_stops_the_start(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(OTLP, url)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    (fault,) = refused.value.faults
    assert fault.startswith(f"{OTLP}=(hidden): must be http://")
    assert "word" not in fault
