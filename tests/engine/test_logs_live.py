"""What a running service writes, and what it never writes."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.engine.coded_model import write_coded, write_failing
from tests.engine.exposition import ask
from tests.engine.logged import events_of, logged
from tests.engine.server import Server, started

pytestmark = pytest.mark.slow

KEY, WRONG_KEY = "planted-key-9f8e7d6c5b", "planted-guess-1a2b3c4d"
VALUE, TEXT = "98765.4321", "planted-payload"
JSON = "application/json"
ONE = {"DEFAULT_MODEL": "scale", "LOG_LEVEL": "info"}
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def post(server: Server, path: str = "/predict", **arguments: Any) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", timeout=60, **arguments)


def test_each_inference_request_has_a_line(toy_dir: Path) -> None:
    with logged(toy_dir, **ONE) as (server, lines):
        headers = {"X-Request-Id": "mine", "traceparent": f"00-{TRACE}-{SPAN}-01"}
        assert post(server, json={"data": [[1, 2, 3]] * 4}, headers=headers).is_success
        assert post(server, "/v2/models/add/infer?x=1", json={}).status_code == 422
        assert httpx.get(f"{server.url}/predict").status_code == 405
        httpx.get(f"{server.url}/metrics")
    right, wrong, other = events_of(lines, "request")
    times = {"time", "duration_seconds", "decode_seconds", "queue_seconds"}
    times |= {"compute_seconds", "encode_seconds"}
    assert times <= set(right)
    assert {name: value for name, value in right.items() if name not in times} == {
        "level": "info",
        "logger": "engine.serving.logs.requests",
        "message": "request",
        "request_id": "mine",
        "trace_id": TRACE,
        "span_id": SPAN,
        "route": "predict",
        "method": "POST",
        "path": "/predict",
        "status": 200,
        "model": "scale",
        "model_version": "1",
        "rows": 4,
        "batch_rows": 4,
    }
    assert (wrong["path"], wrong["status"], wrong["model"]) == ("/v2/models/add/infer", 422, "add")
    assert (other["method"], other["code"]) == ("GET", "method_not_allowed")


def test_the_start_is_told_in_events(toy_dir: Path) -> None:
    with logged(toy_dir, API_KEYS=KEY, **ONE) as (_, lines):
        pass
    (starting,) = events_of(lines, "starting")
    assert starting["settings"]["api_keys"] == "(hidden)"
    assert starting["settings"]["default_model"] == "scale"
    (verified,) = events_of(lines, "scale 1 verified on cpu")
    assert verified["execution_provider"] == "cpu"
    assert len(verified["digest"]) == 64
    (ready,) = events_of(lines, "ready")
    assert ready["seconds"] > 0
    assert "scale" in ready["models"]
    assert [each["message"] for each in events_of(lines)][-1] == "stopped"


def raw(content: bytes) -> Callable[[Server], None]:
    """Send these bytes and hang up when something was answered."""

    def send(server: Server) -> None:
        with socket.create_connection((server.host, server.port), timeout=10) as connection:
            connection.sendall(content)
            connection.recv(65536)

    return send


def body(content: str, path: str = "/predict", **headers: str) -> Callable[[Server], None]:
    """Post this."""

    def send(server: Server) -> None:
        usual = {"Content-Type": JSON, "X-API-Key": KEY}
        post(server, path, content=content.encode(), headers=usual | headers)

    return send


INFER = "/v2/models/scale/infer"
TENSOR = (
    f'{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1,3],"data":[{VALUE},2,"{TEXT}"]}}]}}'
)
HOSTILE: dict[str, Callable[[Server], None]] = {
    "right": body(f'{{"data": [[{VALUE}, 2, 3]]}}'),
    "wrong type": body(f'{{"data": [[{VALUE}, "{TEXT}", 3]]}}'),
    "wrong shape": body(f'{{"data": [[{VALUE}, 2]]}}'),
    "unknown field": body(f'{{"{TEXT}": {VALUE}}}'),
    "no json": body(f"{TEXT} {VALUE}"),
    "cut json": body(f'{{"data": [[{VALUE}, '),
    "no utf-8": raw(b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
                    b"X-API-Key: " + KEY.encode() + b"\r\nContent-Length: 18\r\n\r\n\"\xff"
                    + TEXT.encode() + b'"'),
    "protocol": body(TENSOR, INFER),
    "binary header": body(TENSOR, INFER, **{"Inference-Header-Content-Length": TEXT}),
    "content type": body(VALUE, **{"Content-Type": TEXT}),
    "encoding": body(VALUE, **{"Content-Encoding": TEXT}),
    "wrong key": body(VALUE, **{"X-API-Key": WRONG_KEY}),
    "wrong bearer": body(VALUE, **{"X-API-Key": "", "Authorization": f"Bearer {WRONG_KEY}"}),
    "key in a query": body(VALUE, f"/predict?api_key={KEY}&v={TEXT}"),
    "key in the request id": body(VALUE, **{"X-Request-Id": f"{TEXT} {KEY}"}),
    "key in traceparent": body(VALUE, traceparent=f"00-{KEY}-{TEXT}-01"),
    "no http": raw(f"{TEXT} {KEY} {VALUE}\r\n\r\n".encode()),
    "bad header": raw(f"POST /predict HTTP/1.1\r\n{TEXT} {KEY}\r\n\r\n".encode()),
    "other route": lambda server: httpx.get(f"{server.url}/docs?{KEY}").close(),
}  # fmt: skip


@pytest.mark.parametrize("level", ["info", "debug"])
def test_no_key_and_no_payload_is_ever_written(toy_dir: Path, level: str) -> None:
    settings = {**ONE, "LOG_LEVEL": level, "LOG_REQUESTS_PER_SECOND": "1000"}
    with logged(toy_dir, API_KEYS=KEY, **settings) as (server, lines):
        for send in HOSTILE.values():
            send(server)
    written = "".join(lines)
    assert len(events_of(lines, "request")) >= len(HOSTILE) - 3  # those that are no requests
    for planted in (KEY, WRONG_KEY, VALUE, TEXT):
        assert planted not in written


def test_an_error_of_a_models_own_code_is_told_without_what_it_says(
    tmp_path: Path,
) -> None:
    models = write_failing(tmp_path, 'ValueError(f"there is nothing for {x.max()}")')
    with logged(models, LOG_LEVEL="info") as (server, lines):
        headers = {"X-Request-Id": "mine", "traceparent": f"00-{TRACE}-{SPAN}-01"}
        answer = post(server, json={"data": [[98765.5]]}, headers=headers)
        assert (answer.status_code, answer.json()["id"]) == (500, "mine")
    (failed,) = events_of(lines, "a request failed with ValueError, id mine")
    assert (failed["level"], failed["request_id"], failed["trace_id"]) == ("error", "mine", TRACE)
    assert "in preprocess" in failed["exception"]
    assert "98765" not in "".join(lines)
    (line,) = events_of(lines, "request")
    assert (line["code"], line["incident"], line["level"]) == (
        "inference_failed", "mine", "warning",
    )  # fmt: skip


def test_lines_beyond_the_budget_are_counted(toy_dir: Path) -> None:
    with logged(toy_dir, LOG_REQUESTS_PER_SECOND="1", **ONE) as (server, lines):
        with httpx.Client(base_url=server.url) as client:
            for _ in range(50):
                client.post("/predict", json={"data": [[1, 2, 3]]})
        while not ask(server.url, "inference_log_lines_dropped_total"):
            pass
    told = [each for each in events_of(lines) if each["message"].endswith("lines left out")]
    written = len(events_of(lines, "request"))
    assert written + sum(each["dropped"] for each in told) <= 50
    assert told
    assert written >= 1


def test_no_lines_are_written_where_none_are_wanted(toy_dir: Path) -> None:
    with logged(toy_dir, LOG_REQUESTS_PER_SECOND="0", **ONE) as (server, lines):
        post(server, json={"data": [[1, 2, 3]]})
        assert ask(server.url, "inference_log_lines_dropped_total") == 0
    assert events_of(lines, "request") == []


def test_a_log_that_nobody_reads_stops_no_request(toy_dir: Path) -> None:
    """The pipe of stderr is full after some hundred lines, and every request writes one."""
    settings = {**ONE, "LOG_REQUESTS_PER_SECOND": "10000"}
    with started(toy_dir, **settings) as server:
        server.wait_for("ready")
        with httpx.Client(base_url=server.url, timeout=10) as client:
            for _ in range(1500):
                assert client.post("/predict", json={"data": [[1, 2, 3]]}).status_code == 200
        assert (ask(server.url, "inference_log_lines_dropped_total") or 0) > 0
        assert server.process.stderr is not None
        server.process.terminate()
        assert server.process.wait(timeout=15) == 0


# Only in the service, not while the test packages it.
WARNS = (
    "import os, warnings; 'PORT' in os.environ and [warnings.simplefilter('always'), "
    "warnings.warn(f'{x.max()} ' + 1000 * 'planted-payload ')]"
)


def test_a_warning_of_every_run_is_one_event_without_what_it_says(tmp_path: Path) -> None:
    with logged(write_coded(tmp_path, WARNS)) as (server, lines):
        for _ in range(20):
            assert post(server, json={"data": [[98765.5]]}).status_code == 200
    (warning,) = [each for each in events_of(lines) if each["message"].startswith("UserWarning")]
    assert warning["level"] == "warning"
    assert "model_code.py:" in warning["where"]
    assert not any(planted in "".join(lines) for planted in (TEXT, "98765"))


def test_warnings_that_nobody_reads_keep_no_service_from_ready(tmp_path: Path) -> None:
    """As text on stderr those of the golden record alone would fill the pipe."""
    with started(write_coded(tmp_path, WARNS)) as server:
        server.wait_for("ready")
        assert post(server, json={"data": [[1.0]]}).status_code == 200
        server.process.terminate()
        assert server.process.wait(timeout=15) == 0


def test_workers_each_finish_their_lines(toy_dir: Path) -> None:
    with logged(toy_dir, WORKERS="2", **ONE) as (_, lines):
        pass
    assert sorted(each["worker"] for each in events_of(lines, "starting")) == [0, 1]
    assert len(events_of(lines, "stopped")) == 2
