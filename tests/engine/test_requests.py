"""Requests and their answers: the same however they come, in order, on any connection."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from engine.serving.answer import USUAL, Answer
from engine.serving.errors import InvalidInput, RequestError
from engine.serving.http.answers import Heads
from engine.serving.http.bodies import Bodies
from engine.serving.http.inference import ArrivalCounter, Inference, failure
from engine.serving.http.routes import route_of
from engine.serving.inference.delivery import deliver
from engine.serving.metrics.service import Metrics, columns_for
from engine.serving.metrics.shared_table import SharedTable
from engine.serving.request import Request
from engine.serving.settings import Settings
from engine.serving.telemetry.requests import RequestTelemetry

from tests.engine.server import Server, running

BODY = json.dumps({"data": [[1, 2, 3]]}).encode()
WRONG = json.dumps({"data": [["a", 2, 3]]}).encode()


def request(
    path: str, body: bytes, *extra: str, version: str = "1.1", kind: str = "application/json"
) -> bytes:
    lines = [f"POST {path} HTTP/{version}", "Host: t", f"Content-Length: {len(body)}"]
    if kind:
        lines.append(f"Content-Type: {kind}")
    return "\r\n".join([*lines, *extra, "", ""]).encode() + body


GET = b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n"


@pytest.fixture(scope="module")
def server(toy_dir: Path) -> Iterator[Server]:
    with running(toy_dir, DEFAULT_MODEL="scale") as server:
        yield server


def connect(server: Server) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=10)


def answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One answer: status, headers, body."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(1)
        assert piece, f"closed after {received!r}"
        received += piece
    first, *lines = received.decode("latin-1").strip().split("\r\n")
    headers = {name: value for name, _, value in (line.partition(": ") for line in lines)}
    body = b""
    while len(body) < int(headers["content-length"]):
        body += connection.recv(int(headers["content-length"]) - len(body))
    return int(first.split()[1]), headers, body


def in_two(connection: socket.socket, sent: bytes, at: int) -> None:
    """The second part arrives after the first was read."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(sent[:at])
    time.sleep(0.05)
    connection.sendall(sent[at:])


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent",
    [
        request("/predict", BODY),
        request("/predict/scale", BODY),
        request("/predict", WRONG),
        request("/predict", b"{"),
        request("/predict", b""),
        request("/predict/nobody", BODY),
        request("/predictions", BODY),
        request("/predict", BODY, kind="text/plain"),
        request("/predict", BODY, "Content-Encoding: gzip"),
        request("/v2/models/scale/infer", b"{}"),
        request("/v2/models/scale/versions/9/infer", b"{}"),
        request("/v2/models/a/b/infer", b"{}"),
        request("/predict", BODY, "Connection: close"),
    ],
    ids=lambda sent: sent.split(b"\r\n")[0].decode(),
)
def test_a_request_in_one_piece_is_answered_as_one_in_two(server: Server, sent: bytes) -> None:
    sent = sent.replace(b"Host: t\r\n", b"Host: t\r\nX-Request-Id: mine\r\n")
    with connect(server) as whole, connect(server) as cut:
        whole.sendall(sent)
        in_two(cut, sent, sent.index(b"\r\n\r\n") + 2)
        one, two = answer(whole), answer(cut)
    assert one[0] == two[0]
    assert one[1]["x-request-id"] == "mine"
    assert one[2] == two[2]
    dated = ("date",)
    assert {k: v for k, v in one[1].items() if k not in dated} == {
        k: v for k, v in two[1].items() if k not in dated
    }


@pytest.mark.slow
@pytest.mark.parametrize("at", [10, 60, -1], ids=["request line", "headers", "body"])
def test_a_request_in_pieces_is_answered(server: Server, at: int) -> None:
    with connect(server) as connection:
        in_two(connection, request("/predict", BODY), at)
        assert answer(connection)[0] == 200
        connection.sendall(request("/predict", BODY))
        assert answer(connection)[0] == 200


@pytest.mark.slow
def test_requests_sent_ahead_are_answered_in_their_order(server: Server) -> None:
    def of(value: int) -> bytes:
        return request("/predict", json.dumps({"data": [[value, 0, 0]]}).encode())

    with connect(server) as connection:
        connection.sendall(of(1) + GET + of(2) + of(3) + GET + request("/predict", WRONG) + of(4))
        answers = [answer(connection) for _ in range(7)]
    assert [status for status, _, _ in answers] == [200, 200, 200, 200, 200, 422, 200]
    values = [
        json.loads(body)["predictions"][0][0] for _, _, body in answers if b"predictions" in body
    ]
    assert values == [2, 4, 6, 8]


@pytest.mark.slow
def test_an_old_client_is_answered_and_the_connection_closed(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(request("/predict", BODY, version="1.0"))
        status, headers, _ = answer(connection)
        assert (status, headers["connection"]) == (200, "close")
        assert connection.recv(1) == b""


@pytest.mark.slow
def test_a_client_that_asks_first_is_told_to_go_on(server: Server) -> None:
    with connect(server) as connection:
        sent = request("/predict", BODY, "Expect: 100-continue")
        head = len(sent) - len(BODY)
        connection.sendall(sent[:head])
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(sent[head:])
        assert answer(connection)[0] == 200


@pytest.mark.slow
@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_too_large_a_body_is_refused_also_when_it_comes_at_once(
    toy_dir: Path, chunked: bool
) -> None:
    body = json.dumps({"data": [[1, 2, 3]] * 100}).encode()
    sent = request("/predict", body)
    if chunked:
        sent = request("/predict", b"", "Transfer-Encoding: chunked")
        sent = sent.replace(b"Content-Length: 0\r\n", b"")
        sent += b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    small = running(toy_dir, DEFAULT_MODEL="scale", MAX_BODY_BYTES=str(len(body) - 1))
    with small as server, connect(server) as connection:
        connection.sendall(sent)
        status, _, answered = answer(connection)
    assert status == 413
    assert "MAX_BODY_BYTES" in json.loads(answered)["rule"]


@pytest.mark.slow
def test_an_escaped_path_asks_the_same_model(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(request("/predict/sc%61le?x=1", BODY))
        assert answer(connection)[0] == 200


def test_routes_are_taken_apart() -> None:
    route = route_of("/v2/models/m/versions/1.0/infer")
    assert route is not None
    assert (route.kind, route.name, route.version) == ("infer", "m", "1.0")
    assert route_of("/v2/models/m") is None
    assert route_of("/metrics") is None


def test_requests_of_one_iteration_are_counted() -> None:
    async def main() -> tuple[int, int, int]:
        arrivals = ArrivalCounter()
        for _ in range(3):
            arrivals.count()
        during = arrivals.estimate()
        await asyncio.sleep(0)
        arrivals.count()
        after = arrivals.estimate()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        arrivals.count()
        return during, after, arrivals.estimate()

    assert asyncio.run(main()) == (3, 3, 1)


def test_heads_follow_the_clock_and_say_close_once(monkeypatch: pytest.MonkeyPatch) -> None:
    heads, request = Heads(), Request("predict", "one")
    usual: Answer = (200, USUAL, [b"{}"])
    for now in ("now", "later"):
        monkeypatch.setattr("engine.serving.http.answers.formatdate", lambda usegmt, now=now: now)
        heads.tick()
        assert b"date: %b\r\n" % now.encode() in heads.make(usual, request, 2, close=False)
    closing = heads.make((401, USUAL, [b"ab", b"c"]), request, 3, close=True)
    assert closing.startswith(b"HTTP/1.1 401 ")
    assert closing.count(b"connection: close\r\n") == 1
    assert closing.endswith(b"\r\ncontent-length: 3\r\nconnection: close\r\n\r\n")
    request.returned = b"00-span"
    traced = heads.make(usual, request, 2, close=False)
    for head in (closing, traced):
        assert head.count(b"x-request-id: one\r\n") == 1
    assert b"traceparent: 00-span\r\n" in traced


class Unknown(RequestError):
    """An error that an owner may add: its status is in no list."""

    status = 403


@pytest.mark.parametrize(
    ("outcome", "written"),
    [
        ((200, USUAL, [b"{}"]), 200),
        (InvalidInput("half of a pair: \ud800"), 500),
        (Unknown("no"), 403),
    ],
    ids=["answer", "unwritable", "unknown status"],
)
@pytest.mark.parametrize("faulty", ["nothing", "write", "log"])
def test_a_request_is_answered_once_and_counted_once(
    outcome: Any, written: int, faulty: str
) -> None:
    """Whatever raises on the way of its answer."""
    answers: list[int] = []
    tried: list[bool] = []

    class Client:
        """Writes the status of one answer; the first may fail."""

        def reply(self, request: Request, answer: Answer) -> None:
            if faulty == "write" and not tried:
                tried.append(True)
                raise TypeError("not a header")
            answers.append(answer[0])

        def fail(self, error: Exception) -> None:
            raise AssertionError("closed")

    def ended(request: Request) -> None:
        if faulty == "log":
            raise ValueError("no line")

    lines: Any = SimpleNamespace(silent_until=0.0, slow_seconds=0.0, ended=ended)
    metrics = Metrics(SharedTable(1, columns_for(0)))
    telemetry = RequestTelemetry(metrics, lines)
    host: Any = None
    inference = Inference(Settings(), host, telemetry, Bodies(1, 1))
    target = route_of("/predict")
    assert target is not None
    deliver(inference.begin(target, {}, Client()), outcome)
    assert answers == [500 if faulty == "write" else written]
    assert (metrics.requests.begun, metrics.requests.answered()) == (1, 1)


def test_an_error_that_cannot_be_written_becomes_one_that_can() -> None:
    status, _, (body,) = failure(InvalidInput("half: \ud800"), Request("predict", "mine"))
    assert (status, json.loads(bytes(body))["id"]) == (500, "mine")
