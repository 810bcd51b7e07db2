"""Several worker processes: connections are shared out evenly, and they start and stop as one."""

from __future__ import annotations

import errno
import http.client
import json
import multiprocessing
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from engine.serving.lifecycle import State
from engine.serving.metrics.shared_table import Count, Distribution, SharedTable
from engine.serving.metrics.ticker import PERIOD_SECONDS
from engine.serving.settings import Settings
from engine.serving.workers import PAUSE_SECONDS, Acceptor, Dispatcher, Worker, why_it_ended

from tests.engine.coded_model import write_failing
from tests.engine.server import Server, running, started
from tests.engine.test_lifecycle import CLIENTS, ask_until_closed

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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_broken_package_is_told_by_every_worker(toy_dir: Path, tmp_path: Path) -> None:
    with started(tmp_path, **TWO) as server:
        for _ in range(4):
            assert "no model package" in str(server.wait_for("failed")["reason"])
        assert server.stop() == 0


@pytest.mark.slow
def test_cuda_without_cuda_ends_everything_with_one_line(toy_dir: Path) -> None:
    with started(toy_dir, EXECUTION_PROVIDERS="cuda", LOG_FORMAT="text", **TWO) as server:
        assert server.process.wait(timeout=30) == 1
        assert server.process.stderr is not None
        lines = server.process.stderr.read().splitlines()
    assert len([line for line in lines if "EXECUTION_PROVIDERS=cuda, but" in line]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_that_dies_ends_the_process_with_an_error(toy_dir: Path, victim: int) -> None:
    with started(toy_dir, **TWO) as server:
        server.wait_for("ready")
        os.kill(children(server)[victim], signal.SIGKILL)
        assert server.process.wait(timeout=30) != 0
        assert server.process.stderr is not None
        last = server.process.stderr.read().splitlines()[-1]
    assert "a worker was killed (SIGKILL), most likely because memory ran out" in last
    assert "use fewer WORKERS, or give the container more memory" in last


def test_why_a_worker_ended_as_the_kernel_and_its_exit_code_say() -> None:
    out_of_memory = "the kernel killed a worker (SIGKILL) because memory ran out"
    assert why_it_ended(-signal.SIGKILL, 0, 1).startswith(out_of_memory)
    # Killed by somebody else, in a container whose kernel counts and counted nothing new.
    assert "most likely" in why_it_ended(-signal.SIGKILL, 1, 1)
    assert why_it_ended(-signal.SIGSEGV, 0, 0) == "a worker was ended by the signal SIGSEGV"
    assert why_it_ended(3, None, None) == "a worker ended by itself with exit code 3"


def test_last_words_are_heard_though_connections_were_left_untaken() -> None:
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ended = Worker(multiprocessing.get_context("fork").Process(), mine)
    with mine:
        mine.send(b"c")
        theirs.send(b"there is no GPU")
        theirs.close()
        assert ended.last_words() == "there is no GPU"
        assert ended.last_words() == ""


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.0, 0.2, 0.4, 0.6])
def test_a_stop_while_starting_is_a_clean_one(toy_dir: Path, moment: float) -> None:
    with started(toy_dir, **TWO) as server:
        while not children(server):
            time.sleep(0.01)
        time.sleep(moment)
        assert server.stop() in (0, -signal.SIGTERM)


@pytest.mark.slow
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


@pytest.mark.slow
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


def kill_if_there(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


@pytest.mark.slow
def test_a_stuck_worker_does_not_stop_the_others(toy_dir: Path) -> None:
    """The clients of the other one are answered, also when more connect than the stuck one takes;
    readiness tells, and a stop is obeyed.
    """
    with started(toy_dir, DRAIN_SECONDS="1", **TWO) as server, ExitStack() as stack:
        server.wait_for("ready")
        clients = [http.client.HTTPConnection(server.host, server.port, timeout=20) for _ in "1234"]
        stuck = children(server)[0]
        before = connections_of(stuck, server.port)
        for client in clients:
            client.request("GET", "/healthz")
            client.getresponse().read()
        stuck_clients = connections_of(stuck, server.port) - before
        os.kill(stuck, signal.SIGSTOP)
        # Whatever fails here: what is stopped would keep the tests waiting for its output.
        stack.callback(kill_if_there, stuck)
        for client in clients:
            client.request("POST", "/predict", BODY, JSON)
        for _ in range(700):
            stack.enter_context(socket.create_connection((server.host, server.port), timeout=10))
        answer = httpx.post(f"{server.url}/predict", content=BODY, headers=JSON, timeout=20)
        assert answer.json()["predictions"] == [[2, 4, 6]]
        assert server.wait_for("lost")["reason"] == "another worker process is not ready"
        waiting = [client.sock for client in clients]
        answered, _, _ = select.select(waiting, [], [], 0)
        assert len(answered) == len(clients) - stuck_clients == 2
        assert server.stop() != 0


@pytest.fixture
def acceptor() -> Iterator[Acceptor]:
    """An acceptor with two workers that do not run; both count as ready."""
    shared_table = SharedTable(workers=2, columns=0)
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        listener.setblocking(False)
        workers = []
        for number in range(2):
            shared_table.become(number)
            shared_table.set_state(State.READY)
            mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            mine.setblocking(False)
            theirs.setblocking(False)
            stack.enter_context(mine)
            channels.append(stack.enter_context(theirs))
            workers.append(Worker(multiprocessing.get_context("fork").Process(), mine))
        yield Acceptor(listener, shared_table, workers)
    channels.clear()


channels: list[socket.socket] = []


def connect(acceptor: Acceptor, count: int) -> list[socket.socket]:
    """Clients whose connections wait to be accepted."""
    return [
        socket.create_connection(acceptor.listener.getsockname(), timeout=5) for _ in range(count)
    ]


def fill(channel: socket.socket) -> None:
    """As a worker that takes nothing leaves it."""
    with suppress(BlockingIOError):
        while True:
            channel.send(b"c")


def taken(channel: socket.socket) -> int:
    """How many connections a worker has got."""
    count = 0
    with suppress(BlockingIOError):
        while True:
            _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
            count += len(descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
    return count


def test_a_full_channel_is_passed_over(acceptor: Acceptor) -> None:
    fill(acceptor.workers[0].channel)
    clients = connect(acceptor, 4)
    assert acceptor.accept()
    assert [taken(channel) for channel in channels] == [0, 4]
    for client in clients:
        client.close()


def test_a_connection_that_nobody_has_room_for_is_kept(acceptor: Acceptor) -> None:
    for worker in acceptor.workers:
        fill(worker.channel)
    clients = connect(acceptor, 3)
    assert not acceptor.accept()
    assert not acceptor.accept()
    assert [taken(channel) for channel in channels] == [0, 0]
    assert acceptor.accept()
    assert sum(taken(channel) for channel in channels) == 3
    for client in clients:
        client.close()


def test_without_descriptors_the_dispatcher_waits(
    acceptor: Acceptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listener stays readable, and asking it again and again would take a whole CPU."""
    dispatcher, tries = Dispatcher(Settings()), 0
    waker, sleeper = socket.socketpair()

    def accept_none(listener: socket.socket) -> Iterator[socket.socket]:
        nonlocal tries
        tries += 1
        if tries == 4:
            dispatcher.stop()
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("engine.serving.workers.accept_all", accept_none)
    acceptor.workers.clear()
    (client,) = connect(acceptor, 1)
    begun = time.monotonic()
    with client, waker, sleeper:
        assert dispatcher.dispatch(acceptor, sleeper) is None
    assert time.monotonic() - begun >= 3 * PAUSE_SECONDS


def test_a_worker_that_is_silent_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("engine.serving.metrics.shared_table.time.monotonic", lambda: now[0])
    shared_table = SharedTable(workers=3, columns=0)
    for worker, state in enumerate((State.READY, State.READY, State.STARTING)):
        shared_table.become(worker)
        shared_table.beat()
        shared_table.set_state(state)
    shared_table.become(0)
    assert shared_table.states(5.0) == [State.READY, State.READY, State.STARTING]
    now[0] += 6
    # The one that asks runs; loading may take as long as it takes.
    assert shared_table.states(5.0) == [State.READY, State.LOST, State.STARTING]
    assert shared_table.states(30.0) == [State.READY, State.READY, State.STARTING]
    assert shared_table.ready() == [True, False, False]
    now[0] += 30
    assert shared_table.states(30.0)[1] is State.LOST


def test_the_shared_table_sums_over_workers() -> None:
    shared_table = SharedTable(workers=3, columns=10)
    count, distribution = Count(shared_table), Distribution(shared_table, (1.0, 2.0))
    for worker in range(3):
        shared_table.become(worker)
        count.add(worker)
        distribution.add(worker)
    assert count.total() == 3
    assert distribution.cumulative() == [2, 3, 3]
    assert distribution.sum() == 3
    with pytest.raises(MemoryError):
        shared_table.reserve(10)
