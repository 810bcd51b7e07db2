"""Behind a proxy that keeps its connections, each client gets its own answer: beside clients that
offer an upgrade, as Java's does, and beside bodies that hide requests.

``PROXY_ANSWERS`` is how many answers are compared behind each proxy.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from itertools import count, cycle
from pathlib import Path

import pytest

from .proxies import COMMANDS, proxy
from .running import running

pytestmark = pytest.mark.slow

ANSWERS = int(os.environ.get("PROXY_ANSWERS", "1500"))
CHECKERS = 2
# Two flowers: what is asked openly, and what is hidden.
ASKED, ANSWER = b'{"data": [[5.9, 3.0, 5.1, 1.8]]}', b'"predictions":[2]'
HIDDEN = json.dumps({"data": [[5.1, 3.5, 1.4, 0.2]] * 1000}).encode()
JSON = "Content-Type: application/json"
REQUEST_SECONDS = 30


def post(body: bytes, *lines: str, chunked: bool = False) -> bytes:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    head = "\r\n".join(["POST /predict HTTP/1.1", "Host: t", JSON, framing, *lines, "", ""])
    return head.encode() + (b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)


# Blank lines are skipped between requests; a body so large comes in several packets.
BLANK = b"\r\n" * 30_000
MODELS = b"GET /v2/models HTTP/1.1\r\nHost: t\r\n\r\n"
OFFERS = (
    ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAA"),
    ("Connection: keep-alive, UPGRADE", "Upgrade: websocket, TLS/1.0"),
    ("Connection: upgrade", "Upgrade: foo/9"),
)
BODIES = (ASKED, BLANK + post(HIDDEN), MODELS * 3, BLANK + MODELS * 3 + b"GET /", b"\r\n" * 9)
# Each request has one answer; only a body that is none hides anything.
DISTURBING = [
    (post(body, *offer, chunked=chunked), 200 if body is ASKED else 400)
    for offer in OFFERS
    for body in BODIES
    for chunked in (False, True)
]


@pytest.fixture(scope="module")
def service(programs: None, rendered_service: Path, service_python: Path) -> Iterator[str]:
    """Host and port of the running service."""
    with running(service_python, rendered_service) as url:
        yield url.removeprefix("http://")


@pytest.fixture(scope="module", params=COMMANDS)
def port(
    request: pytest.FixtureRequest, service: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """Where each proxy listens."""
    with proxy(request.param, service, tmp_path_factory.mktemp(request.param)) as port:
        yield port


class Compared:
    """Answers by what they are, counted by clients in threads until there are enough."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._numbers = count()
        self._lock = threading.Lock()
        self._done = False
        self.seen: Counter[str] = Counter()
        self.disturbers: Counter[str] = Counter()

    def run(self) -> None:
        """Check answers, beside clients that disturb."""
        checkers = [threading.Thread(target=self._check) for _ in range(CHECKERS)]
        disturber = threading.Thread(target=self._disturb)
        for thread in (*checkers, disturber):
            thread.start()
        for thread in checkers:
            thread.join()
        self._done = True
        disturber.join()

    def _check(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=REQUEST_SECONDS)
        while (number := next(self._numbers)) < ANSWERS:
            name = f"asked-{number}"
            headers = {"Content-Type": "application/json", "X-Request-Id": name}
            try:
                connection.request("POST", "/predict", ASKED, headers)
                answer = connection.getresponse()
                body = answer.read()
                own = answer.getheader("X-Request-Id") == name and ANSWER in body
                outcome = f"{answer.status} {'own' if own else 'of somebody else'}"
            except (OSError, http.client.HTTPException) as error:
                outcome = type(error).__name__
                connection.close()
            with self._lock:
                self.seen[outcome] += 1
        connection.close()

    def _disturb(self) -> None:
        for request, status in cycle(DISTURBING):
            if self._done:
                return
            answered = self._first_status(request)
            self.disturbers["right" if answered == status else f"{answered}, not {status}"] += 1

    def _first_status(self, request: bytes) -> int:
        with socket.create_connection(("127.0.0.1", self._port)) as connection:
            connection.settimeout(REQUEST_SECONDS)
            try:
                connection.sendall(request)
                received = connection.recv(65536)
            except OSError:
                return 0
        return int(received.split()[1]) if received.startswith(b"HTTP/1.1 ") else 0


def predicted(service: str) -> int:
    """How many predictions the service has answered with 200."""
    with urllib.request.urlopen(f"http://{service}/metrics") as answer:
        text = answer.read().decode()
    found = re.search(
        r'^inference_requests_total\{route="predict",status="200"\} (\S+)', text, re.M
    )
    return int(float(found[1])) if found else 0


def test_each_client_gets_its_own_answer(port: int, service: str) -> None:
    before = predicted(service)
    compared = Compared(port)
    compared.run()
    assert compared.seen == {"200 own": ANSWERS}, compared.disturbers
    assert set(compared.disturbers) == {"right"}
    # And nothing that was hidden was computed.
    asked = sum(status == 200 for _, status in DISTURBING)
    rounds, rest = divmod(compared.disturbers["right"], len(DISTURBING))
    asked = rounds * asked + sum(status == 200 for _, status in DISTURBING[:rest])
    assert predicted(service) - before == ANSWERS + asked


def test_curl_that_offers_http2_is_answered(port: int) -> None:
    for chunked in ([], ["-H", "Transfer-Encoding: chunked"]):
        command = ["curl", "-sS", "--http2", "--fail-with-body", "-H", JSON, *chunked]
        done = subprocess.run(
            [*command, "-d", ASKED.decode(), f"http://127.0.0.1:{port}/predict"],
            capture_output=True,
            check=True,
        )
        assert ANSWER in done.stdout
