"""Start this repository's service here for the time of a load test."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TextIO

from engine.errors import EngineError

HOST = "127.0.0.1"
# A large model loads for minutes; a service that fails ends at once, and so does the wait.
START_SECONDS = 300.0
STOP_SECONDS = 15.0
LAST_LINES = 20


@contextmanager
def local_service(log: Path | None = None, models: Path | None = None) -> Iterator[str]:
    """The address of a service with the models of this checkout; it stops in the end.

    Args:
        log: file for the service's log, in place of an older one; None: this process's stderr.
        models: folder of model packages; None: the one that the environment names.

    Raises:
        EngineError: it does not become ready.
    """
    port = free_port()
    environment = {**os.environ, "HOST": HOST, "PORT": str(port), "LOG_LEVEL": "warning"}
    if models is not None:
        environment["MODELS_DIR"] = str(models)
    with started([sys.executable, "-m", "engine.serving"], port, log, environment) as url:
        yield url


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def started(
    command: Sequence[str], port: int, log: Path | None, environment: Mapping[str, str]
) -> Iterator[str]:
    """The address of a service that a command starts; it stops in the end.

    Args:
        command: runs as long as the service does.
        port: where the service listens.
        log: see ``local_service``.
        environment: of the command.

    Raises:
        EngineError: it does not become ready.
    """
    with _written(log) as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)  # noqa: S603
    try:
        _wait_until_ready(port, process)
    except EngineError:
        if log is not None:
            print("\n".join(log.read_text().splitlines()[-LAST_LINES:]), file=sys.stderr)
        raise
    else:
        yield f"http://{HOST}:{port}"
    finally:
        process.terminate()
        process.wait(timeout=STOP_SECONDS)


def _written(log: Path | None) -> AbstractContextManager[TextIO | None]:
    if log is None:
        return nullcontext()
    log.parent.mkdir(parents=True, exist_ok=True)
    return log.open("w")


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    reason = "no answer"
    while time.monotonic() < deadline and process.poll() is None:
        # Not through a proxy, whatever the environment says.
        connection = HTTPConnection(HOST, port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            if answer.status == 200:
                return
            state, reason = _told(answer.read())
            if state == "failed":
                break
        except (OSError, HTTPException) as error:
            reason = str(error)
        finally:
            connection.close()
        time.sleep(0.1)
    raise EngineError(f"the service does not become ready here: {reason}", "try `make serve`")


def _told(body: bytes) -> tuple[str, str]:
    """State and reason in an answer of the readiness probe; of another one, no state."""
    try:
        report = json.loads(body)
        return str(report["state"]), str(report["reason"])
    except (KeyError, TypeError, ValueError):
        return "", body.decode(errors="replace")
