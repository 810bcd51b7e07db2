"""Start one configuration of one server for one model, and see that it answers rightly."""

from __future__ import annotations

import http.client
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import processes, wires
from benchmarks.configurations import Configuration
from benchmarks.loads import samples
from benchmarks.processes import ServerFailedError
from benchmarks.servers import Server

START_SECONDS = 60
POLL_SECONDS = 0.01
ANSWER_SECONDS = 30
LOG_TAIL = 1500
# Right answers in a row, each over a new connection, so that every worker has its turn.
SETTLED_ANSWERS = 12


@dataclass(frozen=True)
class Site:
    """Folders that a server's command may name."""

    venv: Path
    folder: Path
    models: Path
    scratch: Path


@dataclass(frozen=True)
class Launched:
    """A server that answers.

    `start_s` is the time from its start to its first right answer; `relapse` a fault after that,
    empty when there was none: of several workers the first may be ready before the others.
    """

    port: int
    path: str
    wire: wires.Wire
    model: str
    models: Path
    pid: int
    start_s: float = 0.0
    relapse: str = ""

    def url(self, rows: int) -> str:
        """The address for a request of that many rows."""
        return f"http://127.0.0.1:{self.port}{self.path.replace('{rows}', str(rows))}"

    def request(self, rows: int) -> wires.Request:
        """A request of that many rows."""
        return wires.encode(self.wire, samples(self.models, self.model, rows)[0])

    def check(self, rows: int) -> None:
        """Compare the answer with that of bare onnxruntime.

        Raises:
            ServerFailedError: it is another one, or none.
        """
        expected = samples(self.models, self.model, rows)[1]
        path = self.path.replace("{rows}", str(rows))
        try:
            status, answer, header_length = _post(self.port, path, self.request(rows))
        except OSError as error:
            raise ServerFailedError(f"no answer for {rows} rows: {error}") from None
        if status != 200:
            raise ServerFailedError(f"answer {status} for {rows} rows: {answer[:300]!r}")
        try:
            right = wires.same(wires.decode(answer, header_length), expected)
        except (ValueError, KeyError) as error:
            raise ServerFailedError(f"unreadable answer for {rows} rows: {error!r}") from None
        if not right:
            raise ServerFailedError(f"wrong answer for {rows} rows: {answer[:300]!r}")


@contextmanager
def launched(
    server: Server, configuration: Configuration, model: str, site: Site
) -> Iterator[Launched]:
    """A server, from its first right answer on, until the block ends.

    Raises:
        ServerFailedError: it ended, did not answer in time, or answered wrongly.
    """
    ports = processes.free_ports(3)
    names = {
        "bin": site.venv / "bin",
        "port": ports[0],
        "port2": ports[1],
        "port3": ports[2],
        "model": model,
        "model_file": site.models / model / "model.onnx",
        "packages": site.models / model / "packages",
        "answers": site.models / model,
        "scratch": site.scratch,
        "rows": "{rows}",
    }
    environment = {"MODEL_FILE": "{model_file}", "MODEL_NAME": "{model}"}
    environment |= configuration.environment
    log = site.scratch / f"{server.name}.log"
    begun = time.perf_counter()
    with processes.running(
        [word.format(**names) for word in configuration.command],
        site.folder,
        {name: value.format(**names) for name, value in environment.items()},
        log,
    ) as process:
        path = configuration.path.format(**names)
        first = Launched(ports[0], path, configuration.wire, model, site.models, process.pid)
        _wait(process, first, log)
        start_s = time.perf_counter() - begun
        relapse = _wait(process, first, log, SETTLED_ANSWERS)
        yield replace(first, start_s=start_s, relapse=relapse)


def _wait(process: subprocess.Popen[bytes], server: Launched, log: Path, wanted: int = 1) -> str:
    """Wait for a number of right answers in a row.

    Returns:
        The last fault before them.
    """
    deadline = time.monotonic() + START_SECONDS
    fault, right = "", 0
    while process.poll() is None and time.monotonic() < deadline:
        try:
            server.check(1)
        except ServerFailedError as error:
            fault, right = str(error), 0
            time.sleep(POLL_SECONDS)
        else:
            right += 1
        if right == wanted:
            return fault
    end = "did not start" if process.poll() is None else f"ended with {process.returncode}"
    tail = log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL:].strip()
    raise ServerFailedError(f"{end}: {fault}; its log ends with: {tail}")


def _post(port: int, path: str, request: wires.Request) -> tuple[int, bytes, str | None]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("POST", path, request.body, dict(request.headers))
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers.get(wires.HEADER_LENGTH)
    except http.client.HTTPException as error:
        raise OSError(repr(error)) from None
    finally:
        connection.close()
