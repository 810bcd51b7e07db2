"""Metrics of a running service while it is busy, full, late or wrong."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.engine.coded_model import write_sleeping
from tests.engine.exposition import ask, value
from tests.engine.server import Server, running, started

pytestmark = pytest.mark.slow

ONE_AT_A_TIME = {"COMPUTE_LANES": "1", "MAX_BATCH_ROWS": "1"}
SECONDS = 20.0


@pytest.fixture(scope="module")
def slow_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sleeping(tmp_path_factory.mktemp("slow"), 0.3)


def eventually(server: Server, expected: float, sample: str, **labels: str) -> None:
    """Wait until a sample has this value."""
    wait_for(lambda: ask(server.url, sample, **labels) == expected, f"{sample} {labels}")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


@contextmanager
def busy(server: Server, requests: int) -> Iterator[list[int]]:
    """So many requests of one row at the same time; their status codes at the end."""
    statuses: list[int] = []

    # One client for all: making one takes longer than a short run of the model.
    with httpx.Client(base_url=server.url, timeout=60) as client:

        def post() -> None:
            statuses.append(client.post("/predict", json={"data": [[1]]}).status_code)

        threads = [threading.Thread(target=post) for _ in range(requests)]
        for thread in threads:
            thread.start()
        yield statuses
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("workers", [1, 2])
def test_rows_that_wait_and_compute_are_seen_while_they_do(slow_dir: Path, workers: int) -> None:
    limits = {
        "MAX_QUEUE_SECONDS": "600",
        "REQUEST_TIMEOUT_SECONDS": "600",
        "WORKERS": str(workers),
    }

    def told(server: Server) -> bool:
        text = httpx.get(f"{server.url}/metrics").text
        waiting = value(text, "inference_queue_rows", model="coded") or 0
        in_flight = value(text, "inference_rows_in_flight", model="coded") or 0
        requests = value(text, "inference_requests_in_flight") or 0
        connections = value(text, "inference_connections") or 0
        # One row at a time is computed by each worker.
        return (
            waiting > 2 and in_flight == waiting + workers and 1 < requests <= connections
        )  # fmt: skip

    with running(slow_dir, **ONE_AT_A_TIME, **limits) as server:
        with busy(server, 20) as statuses:
            wait_for(lambda: told(server), "rows that wait, and those that are computed")
        assert statuses == [200] * 20
        eventually(server, 0, "inference_rows_in_flight", model="coded")
        eventually(server, 0, "inference_requests_in_flight")


def test_refusals_and_waits_that_were_too_long_are_counted(slow_dir: Path) -> None:
    limits = {"MAX_QUEUE_ROWS": "2", "REQUEST_TIMEOUT_SECONDS": "0.1", "MAX_QUEUE_SECONDS": "60"}
    with running(slow_dir, **ONE_AT_A_TIME, **limits) as server:
        with busy(server, 12) as statuses:
            pass
        assert set(statuses) == {200, 429, 503}
        refused, late = statuses.count(429), statuses.count(503)
        url = server.url
        assert ask(url, "inference_refused_total", model="coded", reason="rows") == refused
        assert ask(url, "inference_refused_total", model="coded", reason="bytes") == 0
        assert ask(url, "inference_timed_out_total", model="coded") == late


def test_a_connection_too_many_is_counted(toy_dir: Path) -> None:
    with (
        running(toy_dir, DEFAULT_MODEL="scale", MAX_CONNECTIONS="1") as server,
        httpx.Client(base_url=server.url) as client,
    ):
        # Those that looked whether it is ready may take a moment to be gone.
        while client.get("/readyz").status_code != 200:
            time.sleep(0.02)
        with socket.create_connection((server.host, server.port), timeout=10) as refused:
            assert refused.recv(65536).startswith(b"HTTP/1.1 503 ")
        text = client.get("/metrics").text
        assert "inference_connections_refused_total 1.0" in text


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_wrong_model_is_told_by_its_golden_check(
    toy_dir: Path, tmp_path: Path, workers: str
) -> None:
    folder = Path(shutil.copytree(toy_dir, tmp_path / "models"))
    (folder / "echo" / "golden.npz").unlink()
    with started(folder, WORKERS=workers) as server:
        server.wait_for("failed")
        eventually(server, 0, "inference_golden_check", model="echo")
        assert ask(server.url, "inference_golden_check", model="add") == 1
        assert ask(server.url, "inference_golden_check", model="scale") is None  # not reached
        assert ask(server.url, "inference_ready") == 0
        eventually(server, 1, "inference_state", state="failed")
        assert server.stop() == 0


def test_a_fall_back_to_the_cpu_is_told(toy_dir: Path) -> None:
    settings = {"EXECUTION_PROVIDERS": "cuda,cpu", "DEFAULT_MODEL": "scale"}
    with running(toy_dir, **settings) as server:
        assert ask(server.url, "inference_provider_fallback", model="scale") == 1


def test_each_worker_is_a_process_of_its_own(toy_dir: Path) -> None:
    with running(toy_dir, WORKERS="2", DEFAULT_MODEL="scale") as server:
        for worker in "01":
            assert (ask(server.url, "process_resident_memory_bytes", worker=worker) or 0) > 1e6
        assert ask(server.url, "process_open_fds", worker="2") is None
