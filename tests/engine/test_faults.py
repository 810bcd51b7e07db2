"""Deliberate faults: each is seen in metrics, in the log and, where it matters, in readiness."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.engine.coded_model import write_failing, write_sleeping
from tests.engine.exposition import ask
from tests.engine.logged import logged
from tests.engine.server import Server

pytestmark = pytest.mark.slow

# How soon somebody who looks must see it; a machine under load is slow.
SECONDS = 10.0
KEY = "a-key-0123456789abcdef"


def soon(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not seen: {what}"
        time.sleep(0.05)


def seen(lines: list[str], **fields: object) -> Callable[[], bool]:
    """Whether an event with these fields was written by now."""

    def look() -> bool:
        events = [json.loads(line) for line in lines.copy()]
        return any(fields.items() <= each.items() for each in events)

    return look


def post(server: Server, value: float, **headers: str) -> httpx.Response:
    url, body = f"{server.url}/predict", {"data": [[value]]}
    return httpx.post(url, json=body, headers=headers, timeout=60)


def test_a_slow_model(tmp_path: Path) -> None:
    models = write_sleeping(tmp_path, 0.1)
    with logged(models, LOG_SLOW_SECONDS="0.05", MAX_BATCH_ROWS="1") as (server, lines):
        assert post(server, 1).status_code == 200
        soon(seen(lines, message="request", level="warning", status=200, model="coded"), "line")
        name = "inference_request_duration_seconds_bucket"
        assert ask(server.url, name, route="predict", le="0.05") == 0
        assert ask(server.url, name, route="predict", le="+Inf") == 1
        slow = ask(server.url, "inference_compute_seconds_sum", model="coded")
        assert slow is not None
        assert slow > 0.05


def test_overload(tmp_path: Path) -> None:
    models = write_sleeping(tmp_path, 0.3)
    settings = {"COMPUTE_LANES": "1", "MAX_BATCH_ROWS": "1", "MAX_QUEUE_ROWS": "1"}
    with logged(models, **settings) as (server, lines):
        # One client for all: making one takes longer than a run of the model.
        with ThreadPoolExecutor(8) as pool, httpx.Client(base_url=server.url, timeout=60) as client:
            many = pool.map(lambda _: client.post("/predict", json={"data": [[1]]}), range(8))
            statuses = {each.status_code for each in many}
        assert statuses == {200, 429}
        soon(seen(lines, message="request", level="warning", code="overloaded"), "line")
        assert ask(server.url, "inference_refused_total", model="coded", reason="rows")
        assert ask(server.url, "inference_requests_total", route="predict", status="429")
        # Busy is not broken.
        assert httpx.get(f"{server.url}/readyz").status_code == 200


def test_a_lost_device(tmp_path: Path) -> None:
    models = write_failing(tmp_path, 'DeviceLost("CUDA failure 700")')
    reason = "the device of model 'coded' is lost: CUDA failure 700"
    with logged(models) as (server, lines):
        assert post(server, 1).status_code == 200
        assert [post(server, 2000).status_code for _ in range(3)] == [500, 503, 503]
        assert server.wait_for("lost")["reason"] == reason
        live = httpx.get(f"{server.url}/healthz")
        assert (live.status_code, live.json()) == (503, {"live": False, "reason": reason})
        soon(seen(lines, message=f"not ready: {reason}", level="error"), "why it is not ready")
        soon(seen(lines, message="request", status=500, code="inference_failed"), "line")
        assert ask(server.url, "inference_ready") == 0
        assert ask(server.url, "inference_state", state="lost") == 1
        assert ask(server.url, "inference_requests_total", route="predict", status="500") == 1
        assert ask(server.url, "inference_requests_total", route="predict", status="503") == 2
    assert sum("not ready: " in line for line in lines) == 1


@pytest.mark.parametrize("sent", [{}, {"X-API-Key": "a-key-that-is-not-known"}])
def test_a_wrong_key(toy_dir: Path, sent: dict[str, str]) -> None:
    with logged(toy_dir, DEFAULT_MODEL="scale", API_KEYS=KEY) as (server, lines):
        assert post(server, 1, **sent).status_code == 401
        soon(seen(lines, message="request", level="warning", code="unauthorized"), "line")
        assert ask(server.url, "inference_requests_total", route="predict", status="401") == 1
        assert httpx.get(f"{server.url}/readyz").status_code == 200


def test_a_model_that_answers_otherwise_than_in_training(toy_dir: Path, tmp_path: Path) -> None:
    models = Path(shutil.copytree(toy_dir, tmp_path / "models"))
    (models / "wide" / "model.onnx").write_bytes((models / "add" / "model.onnx").read_bytes())
    with logged(models, "failed") as (server, lines):
        reason = str(httpx.get(f"{server.url}/readyz").json()["reason"])
        assert reason.startswith("model 'wide': ")
        soon(seen(lines, message=f"not ready: {reason}", level="error"), "why it is not ready")
        assert ask(server.url, "inference_golden_check", model="wide") == 0
        assert ask(server.url, "inference_golden_check", model="scale") == 1
