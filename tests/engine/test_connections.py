"""Clients that are slow or too many harm nobody else."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from engine.serving.listening import listen
from engine.serving.settings import Settings

from tests.engine.coded_model import write_sleeping
from tests.engine.exposition import value
from tests.engine.server import Server, running

HEAD = (
    b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
)
JSON = {"Content-Type": "application/json"}
BODY = json.dumps({"data": [[1, 2, 3]]}).encode()
TIMEOUT = 1.0


@pytest.fixture(scope="module")
def server(toy_dir: Path) -> Iterator[Server]:
    """A service with little patience and few connections."""
    settings = {
        "DEFAULT_MODEL": "scale",
        "REQUEST_TIMEOUT_SECONDS": str(TIMEOUT),
        "MAX_CONNECTIONS": "20",
        "MAX_BODY_BYTES": "5000000",
        "MAX_QUEUE_ROWS": "400000",
    }
    with running(toy_dir, **settings) as server:
        yield server


def connect(server: Server, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection((server.host, server.port), timeout=10)
    connection.sendall(sent)
    return connection


def closed_after(connection: socket.socket) -> tuple[float, bytes]:
    """Seconds until the server closes the connection, and what it sent before."""
    begun = time.monotonic()
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return time.monotonic() - begun, received


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent", [b"", b"POST /predict HTTP/1.1\r\nHost:"], ids=["nothing", "half a header"]
)
def test_a_client_that_does_not_finish_its_headers_is_closed(server: Server, sent: bytes) -> None:
    seconds, received = closed_after(connect(server, sent))
    assert TIMEOUT * 0.9 < seconds < TIMEOUT + 3
    assert received == b""


@pytest.mark.slow
def test_a_client_that_does_not_finish_its_body_is_told_and_closed(server: Server) -> None:
    seconds, received = closed_after(connect(server, HEAD % len(BODY) + BODY[:5]))
    assert TIMEOUT * 0.9 < seconds < TIMEOUT + 3
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive within 1 s" in received


@pytest.mark.slow
def test_a_client_that_does_not_read_its_answer_is_closed(server: Server) -> None:
    """Its answer is larger than all buffers on the way."""
    rows = b'{"data": [' + b",".join([b"[1e9,1e9,1e9]"] * 300_000) + b"]}"
    connection = socket.socket()
    # Smaller than a segment of the loopback, Linux drops what arrives, and resends ever later.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131_072)
    connection.connect((server.host, server.port))
    connection.settimeout(20)
    connection.sendall(HEAD % len(rows) + rows)
    time.sleep(TIMEOUT + 2.5)
    _, received = closed_after(connection)
    assert received.startswith(b"HTTP/1.1 200 ")
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])[b"content-length"])
    assert len(body) < length


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("line", [b"a:b\r\n", b"a"], ids=["headers", "one header"])
def test_heads_that_do_not_end_cost_little_memory(server: Server, line: bytes) -> None:
    httpx.get(f"{server.url}/healthz")
    before = resident_bytes(server)
    piece = line * (256 * 1024 // len(line))
    for _ in range(3):
        with connect(server, b"POST /predict HTTP/1.1\r\nHost: t\r\nA: ") as connection:
            # What the kernel holds on the way is a few megabytes.
            with pytest.raises(ConnectionError):
                for _ in range(400):
                    connection.sendall(piece)
            assert httpx.get(f"{server.url}/healthz").status_code == 200
    assert resident_bytes(server) - before < 32 * 1024 * 1024


def resident_bytes(server: Server) -> int:
    """The most memory that the process ever had."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    (line,) = (each for each in status.splitlines() if each.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's share is bounded on Linux only")
def test_a_client_that_asks_and_never_reads_is_not_answered_for_long(server: Server) -> None:
    """What waits for it is kernel memory, which counts as the container's."""
    rows = b'{"data": [' + b",".join([b"[1e9,1e9,1e9]"] * 2000) + b"]}"
    size = len(httpx.post(f"{server.url}/predict", content=rows, headers=JSON).content)
    before = answered(server)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((server.host, server.port))
        connection.settimeout(0.3)
        with suppress(TimeoutError):
            for _ in range(100):
                connection.sendall(HEAD % len(rows) + rows)
        # So small a window is filled slowly, and the answers are counted as they are written.
        deadline = time.monotonic() + 10
        while answered(server) - before < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        assert 1 < answered(server) - before < 2 + 512 * 1024 / size


def test_a_kernel_that_knows_no_such_bound_serves_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Listener:
        def setsockopt(self, *_: object) -> None:
            raise OSError("Protocol not available")

    made: Any = Listener()
    monkeypatch.setattr("engine.serving.listening.socket.create_server", lambda *_, **__: made)
    assert listen(Settings()) is made


def answered(server: Server) -> float:
    text = httpx.get(f"{server.url}/metrics").text
    return value(text, "inference_requests_total", route="predict", status="200") or 0


@pytest.mark.slow
def test_an_idle_connection_between_requests_is_kept(server: Server) -> None:
    with httpx.Client(base_url=server.url) as client:
        assert client.post("/predict", json={"data": [1, 2, 3]}).status_code == 200
        time.sleep(TIMEOUT + 1.5)
        assert client.post("/predict", json={"data": [1, 2, 3]}).status_code == 200


@pytest.mark.slow
def test_slow_clients_do_not_delay_others(server: Server) -> None:
    slow = [connect(server, b"POST /predict HTTP/1.1\r\nX") for _ in range(15)]
    answer = httpx.post(f"{server.url}/predict", json={"data": [1, 2, 3]}, timeout=TIMEOUT / 2)
    assert answer.json()["predictions"] == [[2, 4, 6]]
    for connection in slow:
        connection.close()


@pytest.mark.slow
def test_too_many_connections_are_refused_at_once_with_retry_after(server: Server) -> None:
    held = [connect(server) for _ in range(20)]
    time.sleep(0.1)
    refused = httpx.get(f"{server.url}/readyz", timeout=5)
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert "MAX_CONNECTIONS" in refused.json()["rule"]
    for connection in held:
        connection.close()
    time.sleep(0.1)
    assert httpx.get(f"{server.url}/readyz").status_code == 200


@pytest.mark.slow
def test_a_large_body_in_many_pieces_is_whole(server: Server) -> None:
    rows = [[float(index), 2.0, 3.0] for index in range(20_000)]
    body = json.dumps({"data": rows}).encode()
    with connect(server, HEAD % len(body)) as connection:
        for start in range(0, len(body), 50_000):
            connection.sendall(body[start : start + 50_000])
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65536)
        head, _, answer = received.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        while len(answer) < int(fields[b"content-length"]):
            answer += connection.recv(65536)
    assert json.loads(answer)["predictions"][-1] == [2 * 19_999.0, 4.0, 6.0]


@pytest.mark.slow
def test_a_body_that_outgrows_the_limit_is_refused_while_it_comes(server: Server) -> None:
    chunked = (
        b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    connection = connect(server, chunked)
    piece = b"f4240\r\n" + b" " * 1_000_000 + b"\r\n"
    with suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(20):
            connection.sendall(piece)
    # It may be closed before its answer could be read, with the rest of the body unread.
    with suppress(ConnectionResetError):
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
    assert httpx.get(f"{server.url}/readyz").status_code == 200


@pytest.mark.slow
def test_rows_of_a_client_that_went_away_are_not_computed(tmp_path: Path) -> None:
    models = write_sleeping(tmp_path, 0.6)
    body = b'{"data": [[1]]}'
    with running(models, COMPUTE_LANES="1", MAX_BATCH_ROWS="1") as server:
        computes, leaves, stays = (connect(server, HEAD % len(body) + body) for _ in range(3))
        time.sleep(0.2)
        leaves.close()
        for connection in (computes, stays):
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        text = httpx.get(f"{server.url}/metrics").text
        assert 'inference_batch_rows_sum{model="coded"} 2.0' in text
        assert 'inference_requests_total{route="predict",status="499"} 1.0' in text
