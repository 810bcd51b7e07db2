"""Start this repository's service here for the time of a load test."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
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
def local_service(log: Path | None = None) -> Iterator[str]:
    """The address of a service with the models of this checkout; it stops in the end.

    Args:
        log: file for the service's log, in place of an older one; None: this process's stderr.

    Raises:
        EngineError: it does not become ready.
    """
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "HOST": HOST, "PORT": str(port), "LOG_LEVEL": "warning"}
    with _written(log) as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "engine.serving"], env=environment, stdout=file, stderr=file
        )
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
            reason = answer.read().decode()
        except (OSError, HTTPException) as error:
            reason = str(error)
        finally:
            connection.close()
        time.sleep(0.1)
    raise EngineError(f"the service does not become ready here: {reason}", "try `make serve`")
