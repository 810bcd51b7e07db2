"""With no collector named the service talks to its clients and to nobody else: strace's word."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.service.running import STOP_SECONDS, free_port, wait_until_ready

pytestmark = pytest.mark.slow

REQUESTS = 20
CALLS = "trace=socket,connect,bind,listen,sendto,sendmsg,open,openat,creat"
WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_APPEND|creat\(")
INTERNET = re.compile(r"AF_INET")


@pytest.fixture(scope="module", params=["1", "2"], ids=["1 worker", "2 workers"])
def calls(
    request: pytest.FixtureRequest,
    service_python: Path,
    rendered_service: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[str]:
    """The system calls of a service that is started, asked and stopped."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.fail(
            "strace is missing; `make test` installs it (Debian: apt install strace)", False
        )
    report = tmp_path_factory.mktemp("strace") / "calls"
    port = free_port()
    settings = {"HOST": "127.0.0.1", "PORT": str(port), "WORKERS": request.param}
    settings |= {"TRACE_SAMPLE_RATIO": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    traced = subprocess.Popen(
        [strace, "-f", "-qq", "-e", CALLS, "-o", report, service_python, "-m", "engine.serving"],
        cwd=rendered_service,
        env={"PATH": os.environ["PATH"], **settings},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, traced)
        for number in range(REQUESTS):
            ask(url, number)
        # strace ends when the process that it started does; a signal for itself would not reach it.
        children = Path(f"/proc/{traced.pid}/task/{traced.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert traced.wait(timeout=STOP_SECONDS) == 0
    finally:
        if traced.poll() is None:
            traced.kill()
            traced.wait()
    return [line for line in report.read_text().splitlines() if " = -1 ENOENT" not in line]


def ask(url: str, number: int) -> None:
    """A prediction for a caller that records its trace."""
    headers = {
        "Content-Type": "application/json",
        "traceparent": f"00-{number + 1:032x}-{'cd' * 8}-01",
    }
    body = json.dumps({"data": [[5.1, 3.5, 1.4, 0.2]]}).encode()
    request = urllib.request.Request(f"{url}/predict", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.headers["traceparent"] is None


def test_the_only_sockets_are_the_listener_and_its_clients(calls: list[str]) -> None:
    internet = [line for line in calls if INTERNET.search(line)]
    # Accepted connections are not made by any of these calls; a listener is, once.
    assert [line for line in internet if " connect(" in line] == []
    assert len([line for line in internet if " bind(" in line]) == 1
    assert len([line for line in internet if " socket(" in line]) == 1
    assert [line for line in internet if " sendto(" in line or " sendmsg(" in line] == []


def test_no_file_is_written(calls: list[str]) -> None:
    written = {line.partition('"')[2].partition('"')[0] for line in calls if WRITING.search(line)}
    assert written <= {"/dev/null"}
