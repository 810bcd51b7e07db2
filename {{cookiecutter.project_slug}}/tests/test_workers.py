"""Several worker processes: connections are shared out evenly, and they start and stop as one."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

from app.lifecycle import State
from app.metrics.pulse import PERIOD_SECONDS
from app.metrics.slab import Count, Distribution, Slab
from app.workers import Worker
from tests.coded_model import write_failing
from tests.server import Server, running, started
from tests.test_lifecycle import CLIENTS, ask_until_closed

TWO = {"WORKERS": "2", "DEFAULT_MODEL": "scale"}
BODY = json.dumps({"data": [[1, 2, 3]]})
JSON = {"Content-Type": "application/json"}


def children(server: Server) -> list[int]:
    """The process ids of the workers, as Linux tells them."""
    tasks = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return [int(each) for each in tasks.read_text().split()]


def connections_of(worker: int, port: int) -> int:
    """Established connections to the port that a process holds, as Linux tells them."""
    inodes = set()
    for descriptor in Path(f"/proc/{worker}/fd").iterdir():
        try:
            inodes.add(os.readlink(descriptor))
        except FileNotFoundError:
            continue
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(
        f"socket:[{fields[9]}]" in inodes
        for fields in (line.split() for line in lines)
        if fields[1].endswith(f":{port:04X}") and fields[3] == "01"
    )


def test_connections_are_shared_out_evenly(toy_dir: Path) -> None:
    with running(toy_dir, **TWO) as server:
        clients = [http.client.HTTPConnection(server.host, server.port) for _ in range(10)]
        before = [connections_of(worker, server.port) for worker in children(server)]
        for client in clients:
            client.request("POST", "/predict", BODY, JSON)
            assert json.loads(client.getresponse().read())["predictions"] == [[2, 4, 6]]
        after = [connections_of(worker, server.port) for worker in children(server)]
        gained = [now - then for now, then in zip(after, before, strict=True)]
        assert sum(gained) == len(clients)
        assert max(gained) - min(gained) <= 1
        for client in clients:
            client.close()


def test_metrics_are_summed_whichever_worker_is_asked(toy_dir: Path) -> None:
    with running(toy_dir, **TWO) as server:
        for _ in range(6):
            httpx.post(f"{server.url}/predict", content=BODY, headers=JSON)
        time.sleep(2 * PERIOD_SECONDS)
        for _ in range(2):
            text = httpx.get(f"{server.url}/metrics").text
            assert 'inference_requests_total{route="predict",status="200"} 6.0' in text
            assert "inference_workers 2.0" in text
            assert "inference_ready 1.0" in text


def test_a_broken_package_is_told_by_every_worker(toy_dir: Path, tmp_path: Path) -> None:
    with started(tmp_path, **TWO) as server:
        for _ in range(4):
            assert "no model package" in str(server.wait_for("failed")["reason"])
        assert server.stop() == 0


def test_cuda_without_cuda_ends_everything_with_one_line(toy_dir: Path) -> None:
    with started(toy_dir, EXECUTION_PROVIDERS="cuda", LOG_FORMAT="text", **TWO) as server:
        assert server.process.wait(timeout=30) == 1
        assert server.process.stderr is not None
        lines = server.process.stderr.read().splitlines()
    assert len([line for line in lines if "EXECUTION_PROVIDERS=cuda, but" in line]) == 1


def test_a_worker_that_dies_ends_the_process_with_an_error(toy_dir: Path) -> None:
    with started(toy_dir, **TWO) as server:
        server.wait_for("ready")
        os.kill(children(server)[1], signal.SIGKILL)
        assert server.process.wait(timeout=30) != 0


def test_last_words_are_heard_though_connections_were_left_untaken() -> None:
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ended = Worker(multiprocessing.get_context("fork").Process(), mine)
    with mine:
        mine.send(b"c")
        theirs.send(b"there is no GPU")
        theirs.close()
        assert ended.last_words() == "there is no GPU"
        assert ended.last_words() == ""


def test_a_worker_that_lost_its_device_makes_all_of_them_not_live(tmp_path: Path) -> None:
    models = write_failing(tmp_path, 'DeviceLost("CUDA failure 700")')
    with running(models, WORKERS="2") as server:
        assert httpx.get(f"{server.url}/healthz").json() == {"live": True}
        lost = httpx.post(f"{server.url}/predict", json={"data": [[2000]]})
        assert lost.status_code == 500
        # New connections go to workers that are ready: this one is asked for both.
        answer = httpx.get(f"{server.url}/healthz")
        reason = "another worker process does not compute any more"
        assert (answer.status_code, answer.json()) == (503, {"live": False, "reason": reason})
        assert httpx.get(f"{server.url}/readyz").status_code == 503


@pytest.mark.parametrize("moment", [0.0, 0.2, 0.4, 0.6])
def test_a_stop_while_starting_is_a_clean_one(toy_dir: Path, moment: float) -> None:
    with started(toy_dir, **TWO) as server:
        while not children(server):
            time.sleep(0.01)
        time.sleep(moment)
        assert server.stop() in (0, -signal.SIGTERM)


def test_workers_stop_when_the_dispatcher_is_killed(toy_dir: Path) -> None:
    with started(toy_dir, **TWO) as server:
        server.wait_for("ready")
        workers = children(server)
        server.process.kill()
        server.process.wait()
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{worker}").exists() for worker in workers):
            assert time.monotonic() < deadline, "a worker lives on"
            time.sleep(0.05)


def test_sigterm_under_load_loses_no_accepted_request(toy_dir: Path) -> None:
    with started(toy_dir, **TWO) as server:
        server.wait_for("ready")
        outcomes: list[str] = []
        threads = [
            threading.Thread(target=ask_until_closed, args=(server, outcomes))
            for _ in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        time.sleep(1)
        assert server.stop() == 0
        for thread in threads:
            thread.join(timeout=10)
        assert outcomes == ["closed after its answer"] * len(threads)


def test_a_worker_that_is_silent_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("app.metrics.slab.time.monotonic", lambda: now[0])
    slab = Slab(workers=3, columns=0)
    for worker, state in enumerate((State.READY, State.READY, State.STARTING)):
        slab.become(worker)
        slab.beat()
        slab.set_state(state)
    slab.become(0)
    assert slab.states(5.0) == [State.READY, State.READY, State.STARTING]
    now[0] += 6
    # The one that asks runs; loading may take as long as it takes.
    assert slab.states(5.0) == [State.READY, State.LOST, State.STARTING]
    assert slab.states(30.0) == [State.READY, State.READY, State.STARTING]
    assert slab.ready() == [True, False, False]
    now[0] += 30
    assert slab.states(30.0)[1] is State.LOST


def test_the_slab_sums_over_workers() -> None:
    slab = Slab(workers=3, columns=10)
    count, distribution = Count(slab), Distribution(slab, (1.0, 2.0))
    for worker in range(3):
        slab.become(worker)
        count.add(worker)
        distribution.add(worker)
    assert count.total() == 3
    assert distribution.cumulative() == [2, 3, 3]
    assert distribution.sum() == 3
    with pytest.raises(MemoryError):
        slab.reserve(10)
