"""The rendered service as a process: what is installed, how it is started, how it ended."""

from __future__ import annotations

import http.client
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes
from benchmarks.environments import BUILD, ROOT, environment, render_service
from benchmarks.processes import ServerFailedError

OUT = BUILD / "resilience"
START_SECONDS = 60
POLL_SECONDS = 0.02
LOG_TAIL = 1500


@dataclass(frozen=True)
class Site:
    """A rendered service, the interpreter that runs it, and the folders of model packages."""

    folder: Path
    python: Path
    iris: Path
    heavy: Path


@dataclass(frozen=True)
class Service:
    """A service that is ready; `process` also tells its exit code."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def megabytes(self) -> float:
        """Proportional set size of all its processes, in MB (10**6 bytes)."""
        return processes.megabytes(self.process.pid)


def prepare() -> Site:
    """Render the working tree, install what it serves with, and package the heavy model.

    Raises:
        CannotInstallError: the packages cannot be installed on this machine.
    """
    folder = render_service(OUT / "service")
    serve = environment("serve", folder / "requirements" / "serve-cpu.txt")
    train = environment("train", folder / "requirements" / "train.txt")
    heavy = OUT / "models"
    subprocess.run(
        [train / "bin" / "python", "-m", "benchmarks.resilience.heavy_model", heavy],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    return Site(folder, serve / "bin" / "python", folder / "models", heavy)


@contextmanager
def serving(site: Site, models: Path, **settings: str) -> Iterator[Service]:
    """The service, from ready on, until the block ends.

    Raises:
        ServerFailedError: it did not become ready.
    """
    (port,) = processes.free_ports(1)
    log = OUT / "service.log"
    variables = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "MODELS_DIR": str(models),
        "LOG_LEVEL": "warning",
        **settings,
    }
    command = [str(site.python), "-m", "engine.serving"]
    with processes.running(command, site.folder, variables, log) as process:
        wait_until_ready(port, process, log)
        yield Service(port, process)


def wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for a service to say that it is ready.

    Raises:
        ServerFailedError: it ended, or took too long; with the end of its log.
    """
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if _ready(port):
            return
        time.sleep(POLL_SECONDS)
    end = "is not ready" if process.poll() is None else f"ended with {process.returncode}"
    tail = log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL:].strip()
    raise ServerFailedError(f"the service {end}; its log ends with: {tail}")


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
