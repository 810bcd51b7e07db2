"""Clients that are legal and awkward get right answers; those that are greedy cost their own."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from engine.serving.errors import SettingsError
from engine.serving.http.routes import without_slash
from engine.serving.listening import listen
from engine.serving.settings import load_settings

from tests.engine.coded_model import write_sleeping
from tests.engine.exposition import value
from tests.engine.project import ROOT
from tests.engine.server import Server, free_port, running

KEY = "a-key-of-this-test"
BODY = json.dumps({"data": [[1, 2, 3]]}).encode()
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(toy_dir: Path) -> Iterator[Server]:
    settings = {
        "DEFAULT_MODEL": "scale",
        "API_KEYS": KEY,
        "MAX_BODY_BYTES": "3000000",
        "MAX_BODIES_BYTES": "6000000",
    }
    with running(toy_dir, **settings) as server:
        yield server


def request(path: str = "/predict", body: bytes = BODY, *lines: str, length: int = -1) -> bytes:
    size = len(body) if length < 0 else length
    head = [f"POST {path} HTTP/1.1", "Host: t", "Content-Type: application/json", *lines]
    return (
        "\r\n".join([*head, f"X-API-Key: {KEY}", f"Content-Length: {size}", "", ""]).encode() + body
    )


def everything(connection: socket.socket) -> bytes:
    with connection:
        connection.settimeout(10)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.slow
def test_a_client_that_says_no_more_gets_its_answers(tmp_path: Path) -> None:
    """Also when the model takes longer than it takes to ask whether the client is still there."""
    asked = b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 15\r\n\r\n" + b'{"data": [[1]]}'
    last = asked.replace(b"Host: t\r\n", b"Host: t\r\nConnection: close\r\n")
    old = asked.replace(b"HTTP/1.1", b"HTTP/1.0")
    with running(write_sleeping(tmp_path, 0.4), MAX_BATCH_ROWS="1") as server:
        for sent, count in ((asked, 1), (asked * 3, 3), (last, 1), (asked + last, 2), (old, 1)):
            connection = socket.create_connection((server.host, server.port))
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            received = everything(connection)
            # What the standard library skips as well; a client of HTTP/1.0 would not.
            if sent is not old:
                received = received.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
            assert received.count(b"HTTP/1.1 200 OK\r\n") == received.count(b"HTTP/1.1 ") == count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("headers", "size", "status"),
    [
        ({}, 2_900_000, 401),
        ({"X-API-Key": "w" * 20}, 8_000_000, 401),
        ({"X-API-Key": KEY}, 8_000_000, 413),
        ({"X-API-Key": KEY}, 40_000_000, 413),
    ],
)
def test_an_early_refusal_is_read_by_a_client_that_sends_first(
    server: Server, headers: dict[str, str], size: int, status: int
) -> None:
    """The standard library's client looks for an answer when it has sent everything."""
    body = b" " * size

    def ask(_: int) -> int:
        client = http.client.HTTPConnection(server.host, server.port, timeout=20)
        client.request("POST", "/predict", body, JSON | headers)
        return client.getresponse().status

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(12))) == [status] * 12


@pytest.mark.slow
def test_all_bodies_together_have_a_budget(server: Server) -> None:
    """Others that want little are answered, and when the bodies are gone there is room again."""
    size = 2_900_000
    half = request(body=b" " * (size - 1), length=size)
    held = []
    for _ in range(4):
        connection = socket.create_connection((server.host, server.port))
        connection.sendall(half)
        held.append(connection)
    deadline = time.monotonic() + 10
    refused: list[bytes] = []
    while not refused and time.monotonic() < deadline:
        for connection in held:
            connection.settimeout(0.1)
            try:
                refused.append(connection.recv(4096))
            except TimeoutError:
                continue
    assert len(refused) == 2
    for answer in refused:
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b"MAX_BODIES_BYTES" in answer and b"retry-after: 1\r\n" in answer
    with httpx.Client(base_url=server.url, headers={"X-API-Key": KEY}) as client:
        assert client.post("/predict", json={"data": [[1, 2, 3]]}).status_code == 200
        for connection in held:
            connection.close()
        time.sleep(0.2)
        rows = [[1, 2, 3]] * 4000
        assert client.post("/predict", json={"data": rows}).status_code == 200


@pytest.mark.slow
def test_requests_of_a_client_that_pipelines_and_leaves_are_not_computed(tmp_path: Path) -> None:
    asked = b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 15\r\n\r\n" + b'{"data": [[1]]}'
    with running(write_sleeping(tmp_path, 0.3), COMPUTE_LANES="1", MAX_BATCH_ROWS="1") as server:
        before = value(httpx.get(f"{server.url}/metrics").text, "inference_batch_rows_sum") or 0
        connection = socket.create_connection((server.host, server.port))
        connection.sendall(asked * 20)
        time.sleep(0.1)
        connection.close()
        time.sleep(1.0)
        text = httpx.get(f"{server.url}/metrics").text
        assert (value(text, "inference_batch_rows_sum", model="coded") or 0) - before <= 2
        assert value(text, "inference_requests_in_flight") == 0
        assert httpx.post(f"{server.url}/predict", json={"data": [[1]]}).status_code == 200


GETS = ["/", "/docs", "/healthz", "/metrics", "/openapi.json", "/readyz", "/v2", "/v2/models"]


@pytest.mark.slow
@pytest.mark.parametrize("path", [*GETS, "/v2/models/scale", "/v2/health/live"])
def test_head_is_answered_wherever_get_is(server: Server, path: str) -> None:
    with httpx.Client(base_url=server.url) as client:
        get, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers["content-type"] == get.headers["content-type"]
        if path != "/metrics":
            assert head.headers["content-length"] == get.headers["content-length"]
        refused = client.delete(path)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
        assert "use GET" in refused.json()["error"]


@pytest.mark.slow
def test_other_methods_of_inference_are_refused_in_step(server: Server) -> None:
    with httpx.Client(base_url=server.url, headers={"X-API-Key": KEY}) as client:
        for method in ("GET", "HEAD", "PUT", "OPTIONS", "DELETE"):
            answer = client.request(method, "/predict", content=BODY)
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
            assert bool(answer.content) is (method != "HEAD")
        assert client.post("/predict", json={"data": [[1, 2, 3]]}).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/predict", "/predict/scale", "/healthz", "/v2/models"])
def test_a_slash_too_many_means_nothing(server: Server, path: str) -> None:
    headers = {"X-API-Key": KEY, "Host": "evil.example"}
    with httpx.Client(base_url=server.url, headers=headers) as client:
        method, content = ("POST", BODY) if "predict" in path else ("GET", b"")
        kind = JSON if content else {}
        one, two = (
            client.request(method, each, content=content, headers=kind)
            for each in (path, path + "/")
        )
        assert (one.status_code, one.content) == (two.status_code, two.content)
        assert one.status_code == 200


def test_a_slash_of_the_owners_routes_is_theirs() -> None:
    assert without_slash("/own/") == "/own/"
    assert without_slash("/") == "/"
    assert without_slash("/v2/models/m/") == "/v2/models/m"


@pytest.mark.slow
def test_a_connection_may_be_idle_as_long_as_the_setting_says(toy_dir: Path) -> None:
    with running(toy_dir, DEFAULT_MODEL="scale", KEEP_ALIVE_SECONDS="1") as server:
        connection = socket.create_connection((server.host, server.port))
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n")
        began = time.monotonic()
        assert everything(connection).startswith(b"HTTP/1.1 200 ")
        assert 0.9 < time.monotonic() - began < 5


PAGE = "https://app.example"
ASKING = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}


@pytest.mark.slow
@pytest.mark.parametrize("allowed", [PAGE, "*", "https://other.example"])
def test_pages_of_the_origins_that_are_allowed_may_ask(toy_dir: Path, allowed: str) -> None:
    """As the Fetch standard has it: a preflight, then the request itself."""
    told = {PAGE: PAGE, "*": "*"}.get(allowed)
    with (
        running(toy_dir, DEFAULT_MODEL="scale", CORS_ORIGINS=allowed) as server,
        httpx.Client(base_url=server.url, headers={"Origin": PAGE}) as page,
    ):
        for path in ("/predict", "/v2/models/scale/infer", "/v2"):
            preflight = page.options(path, headers=ASKING)
            assert (preflight.status_code == 200) is (told is not None)
            assert preflight.headers.get("access-control-allow-origin") == told
            if told:
                assert "POST" in preflight.headers["access-control-allow-methods"]
                assert "content-type" in preflight.headers["access-control-allow-headers"].lower()
        answers = [
            page.post("/predict", json={"data": [[1, 2, 3]]}),
            page.post("/predict", json={"data": [["a"]]}),
            page.get("/v2"),
            page.get("/nothing"),
        ]
        assert [each.status_code for each in answers] == [200, 422, 200, 404]
        for each in answers:
            assert each.headers.get("access-control-allow-origin") == told
        # Others see nothing of it.
        assert "access-control-allow-origin" not in httpx.get(f"{server.url}/v2").headers


@pytest.mark.slow
def test_without_the_setting_no_page_may_ask(server: Server) -> None:
    with httpx.Client(base_url=server.url, headers={"Origin": PAGE}) as page:
        assert page.options("/predict", headers=ASKING).status_code == 405
        assert "access-control-allow-origin" not in page.get("/v2").headers


@pytest.mark.parametrize("origin", ["app.example", "https://app.example/", "https://a b", "null"])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(SettingsError, match="is no origin"):
        load_settings(cors_origins=origin)


def test_the_address_of_all_ipv6_takes_ipv4_as_well() -> None:
    if not socket.has_dualstack_ipv6():
        return
    with listen(load_settings(host="::", port=free_port())) as listener:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, listener.getsockname()[1]), timeout=5).close()


def test_the_limit_on_open_files_is_raised_or_told() -> None:
    """In a process of its own, which may not get it back."""
    program = (
        "import resource\n"
        "from engine.serving.listening import allow_connections\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (300, 900))\n"
        "print(allow_connections(500), resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
        "print(allow_connections(1000))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    assert first == " 700"
    assert "may open 900 files, which suffice for 700 connections" in second
