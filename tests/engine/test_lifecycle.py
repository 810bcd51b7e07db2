"""Start and stop: live at once, ready when correct, no accepted request lost."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from engine.serving.errors import DeadlineExceeded
from engine.serving.inference.host import ModelHost
from engine.serving.lifecycle import Lifecycle, State
from engine.serving.listening import accept_all, turn_away
from engine.serving.metrics.service import Metrics, columns_for
from engine.serving.metrics.shared_table import SharedTable
from engine.serving.service import make_shared_table
from engine.serving.settings import Settings

from tests.engine.asked import outcome_of, requested
from tests.engine.coded_model import write_coded
from tests.engine.logged import logged
from tests.engine.project import ROOT
from tests.engine.server import Server, environment, free_port, running, started

pytestmark = pytest.mark.slow

BODY = json.dumps({"data": [[1, 2, 3]]}).encode()
HEAD = (
    b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
)
ONE_MODEL = {"DEFAULT_MODEL": "scale"}
CLIENTS = 8


def test_states() -> None:
    lifecycle = Lifecycle()
    assert (lifecycle.state, lifecycle.ready) == (State.STARTING, False)
    lifecycle.set_ready()
    assert lifecycle.report() == {"ready": True, "state": "ready"}
    lifecycle.drain()
    lifecycle.set_ready()
    lifecycle.fail("too late")
    assert lifecycle.report()["state"] == "draining"


@pytest.mark.parametrize("other", [State.STARTING, State.FAILED, State.LOST, State.DRAINING])
def test_a_worker_that_is_not_ready_is_told_with_its_state(other: State) -> None:
    lifecycle = Lifecycle(states=lambda silent: [State.READY, other])
    lifecycle.set_ready()
    reason = "another worker process is not ready"
    assert lifecycle.report() == {"ready": False, "state": other.value, "reason": reason}
    assert lifecycle.liveness()["live"] is (other is not State.LOST)


def test_what_is_stuck_is_not_live_until_it_answers_again() -> None:
    lifecycle = Lifecycle()
    lifecycle.set_ready()
    lifecycle.lose("a run has not ended", for_good=False)
    assert lifecycle.liveness() == {"live": False, "reason": "a run has not ended"}
    assert not lifecycle.ready
    lifecycle.recover()
    assert (lifecycle.liveness(), lifecycle.ready) == ({"live": True}, True)
    lifecycle.lose("no device")
    lifecycle.lose("a run has not ended", for_good=False)
    lifecycle.recover()
    assert lifecycle.liveness()["live"] is False
    lifecycle.drain()
    lifecycle.recover()
    assert lifecycle.state is State.DRAINING


def test_a_model_that_does_not_answer_makes_the_process_not_live() -> None:
    lifecycle, metrics = Lifecycle(), Metrics(SharedTable(1, columns_for(0)))
    host = ModelHost(Settings(), lifecycle, metrics, lambda error: None, lambda: 2)
    lifecycle.set_ready()
    host.watch("one", "a run of 1 rows has not ended for 60 s")
    host.watch("two", "a run of 1 rows has not ended for 60 s")
    assert "model 'two' does not answer: a run of 1 rows" in str(lifecycle.liveness()["reason"])
    host.watch("one", None)
    assert lifecycle.liveness()["live"] is False
    host.watch("two", None)
    assert lifecycle.ready


def test_a_run_that_does_not_end_makes_the_process_not_live_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.serving.inference.host.STUCK_SECONDS", 0.2)
    models = write_coded(tmp_path, "time.sleep(3 if x.max() > 1000 else 0)")
    settings = Settings(models_dir=str(models), request_timeout_seconds=0.1)
    lifecycle, metrics = Lifecycle(), Metrics(make_shared_table(settings))

    async def main() -> None:
        host = ModelHost(settings, lifecycle, metrics, lambda error: None, lambda: 2)
        await host.load()
        asked = requested({"x": np.array([[2000]], np.float32)})
        answer = outcome_of(host.get(None).post, asked)
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(answer, timeout=20)
        report = lifecycle.liveness()
        assert (report["live"], lifecycle.ready) == (False, False)
        assert "model 'coded' does not answer" in str(report["reason"])
        deadline = time.monotonic() + 20
        while not lifecycle.ready:
            assert time.monotonic() < deadline, "it ended, and the process is still not live"
            await asyncio.sleep(0.05)
        assert lifecycle.liveness() == {"live": True}
        host.close()

    asyncio.run(main())


@pytest.mark.slow
def test_a_broken_package_keeps_the_service_live_but_not_ready(
    toy_dir: Path, tmp_path: Path
) -> None:
    models = Path(shutil.copytree(toy_dir, tmp_path / "models"))
    (models / "echo" / "golden.npz").unlink()
    with started(models) as server:
        report = server.wait_for("failed")
        assert "model 'echo'" in str(report["reason"])
        assert httpx.get(f"{server.url}/healthz").status_code == 200
        assert httpx.get(f"{server.url}/readyz").status_code == 503
        assert httpx.get(f"{server.url}/v2").json()["state"] == "failed"
        answer = httpx.post(f"{server.url}/predict", json={"data": [1, 2, 3]})
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert "golden.npz" in answer.json()["error"]
        assert server.stop() == 0


@pytest.mark.slow
def test_cuda_without_cuda_ends_the_process_with_one_line(toy_dir: Path) -> None:
    with started(toy_dir, EXECUTION_PROVIDERS="cuda") as server:
        assert server.process.wait(timeout=30) == 1
        assert server.process.stderr is not None
        lines = server.process.stderr.read().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert "EXECUTION_PROVIDERS=cuda, but CUDA cannot be used" in lines[0]


@pytest.mark.slow
def test_cuda_with_leave_to_fall_back_runs_on_the_cpu_and_shows_it(toy_dir: Path) -> None:
    with running(toy_dir, EXECUTION_PROVIDERS="cuda,cpu", **ONE_MODEL) as server:
        model = httpx.get(f"{server.url}/v2/models/scale").json()
        assert model["parameters"]["execution_provider"] == "cpu"
        metrics = httpx.get(f"{server.url}/metrics").text
        assert 'execution_provider="cpu"' in metrics


def _send_half(server: Server) -> socket.socket:
    connection = socket.create_connection((server.host, server.port), timeout=10)
    connection.sendall(HEAD + BODY[:5])
    return connection


@pytest.mark.slow
def test_sigterm_finishes_the_request_that_was_begun(toy_dir: Path) -> None:
    with started(toy_dir, **ONE_MODEL) as server:
        server.wait_for("ready")
        connection = _send_half(server)
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(OSError):
            socket.create_connection((server.host, server.port), timeout=1)
        connection.sendall(BODY[5:])
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 200
        assert json.loads(answer.read())["predictions"] == [[2, 4, 6]]
        assert answer.headers["connection"] == "close"
        assert server.process.wait(timeout=10) == 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_does_not_wait_for_ever(tmp_path: Path, workers: str) -> None:
    """What is computed or sent for longer than DRAIN_SECONDS gets the same answer on both ways into
    the service, and a line in the log.
    """
    models = write_coded(tmp_path, "time.sleep(60 if x.max() > 1000 else 0)")
    body = b'{"data": [[2000]]}'
    request = HEAD.replace(b"%d" % len(BODY), b"%d" % len(body)) + body
    with logged(models, DRAIN_SECONDS="1", WORKERS=workers) as (server, lines):
        connections = [
            socket.create_connection((server.host, server.port), timeout=30) for _ in range(3)
        ]
        short, long, half = connections
        short.sendall(request)
        for connection in (long, half):
            connection.sendall(request[:-5])
        time.sleep(0.5)
        long.sendall(request[-5:])
        time.sleep(0.5)
        begun = time.monotonic()
        server.process.terminate()
        for connection in connections:
            with connection:
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                assert (answer.status, answer.headers["connection"]) == (503, "close")
                assert "shutting down" in json.loads(answer.read())["error"]
        assert server.process.wait(timeout=20) == 0
        assert time.monotonic() - begun < 15
    events = [json.loads(line) for line in lines]
    told = [event["status"] for event in events if event["message"] == "request"]
    assert told == [503, 503, 503]


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_ends_a_download_at_once(tmp_path: Path, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as store:
        port = store.getsockname()[1]
        uri = f"http://127.0.0.1:{port}/model.zip#sha256={'0' * 64}"
        settings = {"MODEL_URI": uri, "MODEL_CACHE_DIR": str(tmp_path), "WORKERS": workers}
        with started(tmp_path, **settings) as server:
            store.settimeout(60)
            asked, _ = store.accept()  # and is never answered
            with asked:
                assert server.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("moment", [0.0, 0.1, 0.3, 0.8])
def test_no_signal_is_lost_while_starting(toy_dir: Path, workers: str, moment: float) -> None:
    """As the image starts: in a container, a process without a handler would get no signal."""
    (line,) = re.findall(r"^CMD (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    command = [sys.executable if each == "python" else each for each in json.loads(line)]
    environ = environment(toy_dir, free_port(), {"WORKERS": workers})
    with subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE) as process:
        try:
            wait_until_blocked(process.pid)
            time.sleep(moment)
            process.terminate()
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()


def wait_until_blocked(pid: int) -> None:
    """Until a process blocks SIGTERM, as Linux tells it, or handles it already."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        status = Path(f"/proc/{pid}/status").read_text()
        masks = re.findall(r"^Sig(?:Blk|Cgt):\s*(\w+)$", status, re.MULTILINE)
        if any(int(mask, 16) >> (signal.SIGTERM - 1) & 1 for mask in masks):
            return
        time.sleep(0.001)
    raise AssertionError("SIGTERM is not blocked")


@pytest.mark.slow
def test_sigterm_under_load_loses_no_accepted_request(toy_dir: Path) -> None:
    """Keep-alive clients ask without a pause; each answered request is whole and right."""
    with started(toy_dir, **ONE_MODEL) as server:
        server.wait_for("ready")
        outcomes: list[str] = []
        threads = [
            threading.Thread(target=ask_until_closed, args=(server, outcomes)) for _ in "12345678"
        ]
        for thread in threads:
            thread.start()
        time.sleep(1)
        assert server.stop() == 0
        for thread in threads:
            thread.join(timeout=10)
        assert outcomes == ["closed after its answer"] * len(threads)


def ask_until_closed(server: Server, outcomes: list[str], pause: float = 0) -> None:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            connection.request("POST", "/predict", BODY, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            right = answer.status == 200 and json.loads(answer.read())["predictions"] == [[2, 4, 6]]
        except (OSError, http.client.HTTPException) as error:
            outcomes.append(f"lost: {error!r}")
            return
        if not right:
            outcomes.append(f"wrong: {answer.status}")
            return
        if answer.headers.get("connection") == "close":
            outcomes.append("closed after its answer")
            return
        time.sleep(pause)
    outcomes.append("never closed")


def test_a_listener_that_turns_away_keeps_what_waits_and_takes_no_more() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        waiting = socket.create_connection(listener.getsockname(), timeout=5)
        turn_away(listener)
        with pytest.raises(TimeoutError):
            socket.create_connection(listener.getsockname(), timeout=0.3)
        (accepted,) = accept_all(listener)
        accepted.sendall(b"served")
        assert waiting.recv(16) == b"served"
        accepted.close()
        waiting.close()


@pytest.mark.slow
def test_a_port_in_use_is_said_in_one_line(toy_dir: Path) -> None:
    with (
        running(toy_dir, **ONE_MODEL) as first,
        started(toy_dir, PORT=str(first.port), **ONE_MODEL) as second,
    ):
        assert second.process.wait(timeout=30) == 1
        assert second.process.stderr is not None
        (line,) = second.process.stderr.read().splitlines()
        assert line.startswith(f"error: cannot listen on 127.0.0.1:{first.port}")


@pytest.mark.slow
def test_telemetry_of_onnxruntime_is_off_before_it_is_imported() -> None:
    code = (
        "import os, sys, engine.serving.__main__\n"
        "os.environ['PORT'] = 'refused'\n"
        "engine.serving.__main__.main()\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'], 'onnxruntime' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.split() == ["1", "False"]
