"""Start the real service as a process of its own, on a free port of 127.0.0.1."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.engine.project import ROOT

START_SECONDS = 90.0
STOP_SECONDS = 15.0


@dataclass
class Server:
    """A running service and where it listens."""

    process: subprocess.Popen[str]
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def stop(self) -> int:
        """Ask the process to stop; its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=STOP_SECONDS)

    def wait_for(self, *states: str) -> dict[str, object]:
        """Wait until readiness reports one of the states; its report."""
        deadline = time.monotonic() + START_SECONDS
        # One client and pauses: the service that starts needs the CPU.
        with httpx.Client(timeout=2) as client:
            while time.monotonic() < deadline and self.process.poll() is None:
                try:
                    report: dict[str, object] = client.get(f"{self.url}/readyz").json()
                except httpx.TransportError:
                    report = {}
                if report.get("state") in states:
                    return report
                time.sleep(0.05)
        raise AssertionError(f"never {states}; exit code {self.process.poll()}")


def free_port() -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(models_dir: Path, port: int, settings: dict[str, str]) -> dict[str, str]:
    """The environment of the service: nothing of the tests' own settings leaks into it."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    fixed = {"HOST": "127.0.0.1", "PORT": str(port), "MODELS_DIR": str(models_dir)}
    return {**kept, **fixed, "LOG_LEVEL": "warning", **settings}


@contextmanager
def started(models_dir: Path, root: Path = ROOT, /, **settings: str) -> Iterator[Server]:
    """The service as a process, whatever becomes of it; killed in the end if it still runs.

    ``root`` is the project whose service it is.
    """
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.serving"],
        cwd=root,
        env=environment(models_dir, port, settings),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Server(process, "127.0.0.1", port)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@contextmanager
def running(models_dir: Path, root: Path = ROOT, /, **settings: str) -> Iterator[Server]:
    """The service, ready; it must still run at the end and stop with exit code 0."""
    with started(models_dir, root, **settings) as server:
        server.wait_for("ready")
        yield server
        assert server.process.poll() is None, "the service ended by itself"
        assert server.stop() == 0
