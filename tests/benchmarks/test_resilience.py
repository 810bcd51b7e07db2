"""The resilience runs: what the clients count as a fault, what the verdicts say, one real stop."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.resilience import kinds, overload, sigterm, slow_clients, soak
from benchmarks.resilience.client import Kind
from benchmarks.resilience.generator import Seen
from benchmarks.resilience.memory import growth
from benchmarks.resilience.slowloris import crowd
from benchmarks.resilience.tally import Tally, read_answer
from benchmarks.resilience.traffic import Shape, Traffic, in_random_order
from benchmarks.resilience.verdict import Outcome, at_least, at_most, none_of, save, show

REPOSITORY = Path(__file__).resolve().parents[2]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
REFUSAL = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"
RUDE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
GET = Kind("get", kinds.head("GET", "/"), (200,))


def seen(rate: float = 100.0, **faults: int) -> Seen:
    statuses = {"200": {"count": rate, "p99_ms": 10.0}}
    return Seen(int(rate), 0, 1.0, statuses, {}, faults)


@contextmanager
def answering(answer: Callable[[int], bytes]) -> Iterator[int]:
    """A port where each connection's requests are answered, by number; b"" closes it."""

    def serve(connection: socket.socket) -> None:
        with connection:
            for number in range(1000):
                try:
                    if not connection.recv(65536) or not (text := answer(number)):
                        return
                    connection.sendall(text)
                except OSError:
                    return

    def accept() -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def run(port: int, shape: Shape, kind: Kind = GET, *, until_gone: bool = False) -> Traffic:
    traffic = Traffic(port, [kind], shape, until_gone=until_gone)
    traffic.run()
    return traffic


def test_an_answer_is_read_when_it_is_complete() -> None:
    answer = read_answer(OK + b"HTTP/1.1")
    assert answer is not None
    assert (answer.status, answer.size, answer.retry_after, answer.closing) == (
        200,
        len(OK),
        None,
        False,
    )
    assert all(read_answer(OK[:length]) is None for length in range(len(OK)))


def test_retry_after_and_closing_are_seen() -> None:
    refusal, rude = read_answer(REFUSAL), read_answer(RUDE)
    assert refusal is not None and rude is not None
    assert (refusal.retry_after, refusal.closing) == (1.0, False)
    assert (rude.retry_after, rude.closing) == (None, True)


@pytest.mark.parametrize("received", [b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_what_is_no_answer_with_a_length_is_an_error(received: bytes) -> None:
    with pytest.raises(ConnectionError):
        read_answer(received)


def test_unexpected_statuses_and_refusals_without_retry_after_are_faults() -> None:
    tally = Tally()
    for text in (OK, REFUSAL, RUDE):
        answer = read_answer(text)
        assert answer is not None
        tally.answered("get", (200, 429), answer, 0.2, 0.1)
    assert tally.faults == {"503 for get": 1, "503 without Retry-After": 1}
    summary = tally.summary()
    assert summary["kinds"] == {"get": 3}
    assert summary["statuses"]["429"]["sent_max_ms"] == pytest.approx(100)
    assert summary["statuses"]["429"]["max_ms"] == pytest.approx(200)


def test_clients_send_the_constant_rate() -> None:
    with answering(lambda number: OK) as port:
        traffic = run(port, Shape(connections=4, seconds=0.2, rate=500))
    assert (traffic.sent, traffic.unsent, traffic.tally.faults) == (100, 0, {})
    assert len(traffic.tally.by_status[200].from_due) == 100


def test_latency_counts_from_the_time_a_request_was_due() -> None:
    release = threading.Event()
    threading.Timer(0.2, release.set).start()
    with answering(lambda number: OK if release.wait(5) else b"") as port:
        traffic = run(port, Shape(connections=1, seconds=0.1, rate=100))
    latencies = traffic.tally.by_status[200]
    # Only the first was on its way while the server slept; the others waited for it.
    assert sum(each > 0.05 for each in latencies.from_sent) == 1
    assert sum(each > 0.05 for each in latencies.from_due) == len(latencies.from_due)


def test_clients_stop_after_the_most_they_may_send() -> None:
    with answering(lambda number: OK) as port:
        traffic = run(port, Shape(connections=3, seconds=5, most=50))
    assert traffic.sent == 50
    assert traffic.elapsed < 5


def test_a_refused_client_rests_as_long_as_it_was_told() -> None:
    with answering(lambda number: REFUSAL) as port:
        refused = Kind("get", GET.request, (429,))
        traffic = run(port, Shape(connections=2, seconds=0.3), refused)
    assert (traffic.sent, traffic.tally.faults) == (2, {})


def test_a_lost_answer_is_a_fault_and_the_client_comes_back() -> None:
    with answering(lambda number: b"" if number == 2 else OK) as port:
        traffic = run(port, Shape(connections=1, seconds=5, most=6))
    assert traffic.tally.faults == {"closed without an answer, connection in use": 2}
    assert len(traffic.tally.by_status[200].from_due) == 4


def test_a_connection_closed_between_requests_is_no_fault() -> None:
    closing = OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    with answering(lambda number: closing if number == 0 else b"") as port:
        traffic = run(port, Shape(connections=2, seconds=5, most=10))
    assert traffic.tally.faults == {}


def test_an_abandoned_request_waits_for_no_answer() -> None:
    gone = Kind("gone", GET.request, (), abandoned=True)
    with answering(lambda number: OK) as port:
        traffic = run(port, Shape(connections=1, seconds=5, most=20), gone)
    assert traffic.tally.by_kind == {"gone": 20}
    assert traffic.tally.faults == {}


def test_a_server_that_is_gone_is_a_fault_only_when_it_should_serve() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    shape = Shape(connections=1, seconds=0.1)
    assert run(port, shape, until_gone=True).tally.faults == {}
    assert sum(run(port, shape).tally.faults.values()) == 1


def test_kinds_come_as_often_as_they_weigh() -> None:
    often, seldom = Kind("often", b"", (), 9), Kind("seldom", b"", (), 1)
    order = in_random_order([often, seldom])
    names = [next(order).name for _ in range(5000)]
    assert 0.85 < names.count("often") / 5000 < 0.95


def test_the_mixture_has_right_and_wrong_requests() -> None:
    statuses = {status for kind in kinds.mixed() for status in kind.expected}
    assert statuses == {200, 400, 404, 405, 413, 415, 422}
    assert len({kind.name for kind in kinds.mixed()}) == len(kinds.mixed())


def test_slow_clients_are_of_three_sorts() -> None:
    slow = crowd(1, 200)
    assert len(slow) == 200
    assert len({each.first for each in slow}) == 3
    assert sum(not each.reads for each in slow) == 66


def test_growth_leaves_out_the_warm_up() -> None:
    assert growth([10, 20, 100, 100, 100, 100, 103, 103]) == pytest.approx(0.03)
    assert soak.ends([50.0] * 10 + [100.0] * 80 + [101.0] * 10) == (100.0, 101.0)


def test_a_single_lost_answer_breaks_the_promise() -> None:
    good = sigterm.Stop(1, "iris", 0, 0.3, seen())
    bad = sigterm.Stop(2, "iris", 0, 0.3, seen(reset=1))
    assert all(promise.kept for promise in sigterm.promises([good, good]))
    assert [promise.kept for promise in sigterm.promises([good, bad])].count(False) == 1
    assert [line[0] for line in sigterm.table([good, bad])] == ["1", "2"]


@pytest.mark.parametrize(
    ("code", "seconds", "rate"), [(1, 0.3, 100.0), (0, 11.0, 100.0), (-9, 0.3, 100.0)]
)
def test_a_stop_must_be_clean_and_quick(code: int, seconds: float, rate: float) -> None:
    stop = sigterm.Stop(1, "iris", code, seconds, seen(rate))
    assert not all(promise.kept for promise in sigterm.promises([stop]))


def overloaded(*, p99_ms: float, refusal_ms: float, megabytes: list[float]) -> overload.Round:
    statuses = {
        "200": {"count": 100.0, "p99_ms": p99_ms},
        "429": {"count": 200.0, "sent_max_ms": refusal_ms},
    }
    steady = overload.Phase("80 %", 80.0, seen(), [100.0], 0.0)
    over = overload.Phase("3 x", 300.0, Seen(300, 0, 1.0, statuses, {}, {}), megabytes, 0.02)
    return overload.Round([steady], steady, over, [steady])


def test_overload_may_double_the_latency_and_no_more() -> None:
    kept = overloaded(p99_ms=20.0, refusal_ms=50.0, megabytes=[100.0] * 8)
    assert all(promise.kept for promise in overload.promises(kept))
    assert kept.others == 0.02
    assert [each.row()[0] for each in kept.phases] == ["80 %", "80 %", "3 x", "80 %"]


@pytest.mark.parametrize(
    ("p99_ms", "refusal_ms", "last_mb"), [(21, 50, 100), (20, 51, 100), (20, 50, 110)]
)
def test_each_promise_of_overload_can_be_broken(
    p99_ms: float, refusal_ms: float, last_mb: float
) -> None:
    megabytes = [100.0] * 6 + [last_mb] * 2
    found = overloaded(p99_ms=p99_ms, refusal_ms=refusal_ms, megabytes=megabytes)
    assert [promise.kept for promise in overload.promises(found)].count(False) == 1


def test_the_least_disturbed_trials_count() -> None:
    quiet = slow_clients.Trial(1.0, 1.05, 1.1, {}, 0.0)
    loud = slow_clients.Trial(1.0, 1.0, 9.0, {}, 0.9)
    assert slow_clients.least_disturbed([loud, quiet, quiet]) == [quiet, quiet]
    assert all(promise.kept for promise in slow_clients.promises([loud, quiet, quiet]))
    assert not any(promise.kept for promise in slow_clients.promises([loud])[:2])


def test_what_the_machine_costs_is_told_from_what_the_service_does() -> None:
    shared = slow_clients.Trial(1.0, 1.5, 1.6, {}, 0.0)
    assert [each.kept for each in slow_clients.promises([shared])] == [False, True, True]


def test_promises_say_limit_and_value() -> None:
    assert at_most("p99", 3, 2, " ms").kept is False
    assert at_least("rate", 3, 2).kept is True
    assert none_of("fault", {}).kept is True
    assert none_of("fault", {"reset": 2}).found == "2 x reset"


def test_a_broken_promise_is_shown_and_kept_on_disk(tmp_path: Path) -> None:
    promises = [at_most("p99", 3, 2, " ms"), none_of("fault", {})]
    outcome = Outcome("overload", "About.", ("a", "b"), [["1", "2"]], promises, {"x": 1})
    text = show(outcome)
    assert "- BROKEN p99: at most 2 ms (found: 3 ms)" in text
    assert text.endswith("verdict: overload: BROKEN")
    assert '"kept": false' in save(outcome, tmp_path).read_text(encoding="utf-8")


@pytest.mark.slow
def test_stops_under_load_lose_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.resilience", "--quick", "sigterm"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verdict: sigterm: KEPT" in done.stdout
