"""Start a rendered service as a process, for clients that we did not write."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 90
STOP_SECONDS = 15


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(python: Path, service: Path, **settings: str) -> Iterator[str]:
    """The address of the service while it runs; it must stop with exit code 0."""
    with started(python, service, **settings) as (url, process):
        wait_until_ready(url, process)
        yield url
        process.terminate()
        assert process.wait(timeout=STOP_SECONDS) == 0


@contextmanager
def started(
    python: Path, service: Path, **settings: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Address and process of the service, ready or not; killed in the end if it still runs."""
    port = free_port()
    environment = {**os.environ, "HOST": "127.0.0.1", "PORT": str(port), "LOG_LEVEL": "warning"}
    process = subprocess.Popen(
        [str(python), "-m", "engine.serving"], cwd=service, env={**environment, **settings}
    )
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the service says that it is ready."""
    deadline = time.monotonic() + START_SECONDS
    reason = "no answer"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/readyz", timeout=2).close()
            return
        except urllib.error.HTTPError as error:
            reason = error.read().decode()
        except OSError as error:
            reason = str(error)
        time.sleep(0.05)
    raise AssertionError(f"{url} did not become ready: {reason}")
