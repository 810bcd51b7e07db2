"""A stop at any moment: while the process starts, as the first process of a container, and under
load.

Moments of the start are those that a test can wait for: each holds the process by something that
takes longer than a stop may.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.engine.coded_model import write_coded
from tests.engine.project import ROOT
from tests.engine.server import Server, environment, free_port, started
from tests.engine.test_lifecycle import CLIENTS, ask_until_closed, wait_until_blocked

pytestmark = pytest.mark.slow

STOP_SECONDS = 15
UNDER_LOAD = 46
# Where the model's code holds its process, named by an environment variable.
HOLD = "time.sleep(60 if os.environ.get('HELD') == '{moment}' else 0)"
FIRST = ["unshare", "--pid", "--fork", "--kill-child"]


@cache
def namespace() -> list[str]:
    """What makes a command the first process of a namespace, as root or as a user who may.

    Nothing where neither may: signals that nobody handles end a process there, but those that are
    blocked while it starts wait all the same.
    """
    for more in ([], ["--user", "--map-root-user"]):
        if (
            subprocess.run([*FIRST, *more, "true"], capture_output=True, check=False).returncode
            == 0
        ):
            return [*FIRST, *more]
    return []


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models whose code takes a minute, at import or in the first run, where it is asked to."""
    folder = tmp_path_factory.mktemp("held")
    return write_coded(folder, HOLD.format(moment="warm-up"), HOLD.format(moment="loading"))


@contextmanager
def first_process(settings: dict[str, str], models: Path) -> Iterator[tuple[int, Server]]:
    """The service as the image starts it, with a namespace of processes of its own; its process id
    outside of that.
    """
    (line,) = re.findall(r"^CMD (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    command = [sys.executable if each == "python" else each for each in json.loads(line)]
    port = free_port()
    process = subprocess.Popen(
        [*namespace(), *command],
        cwd=ROOT,
        env=environment(models, port, settings),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        found = [] if namespace() else [str(process.pid)]
        while not found:
            found = children.read_text().split()
            time.sleep(0.001)
        # Before it becomes the command, unshare blocks signals for a moment, and forgets those that
        # come meanwhile.
        while Path(f"/proc/{found[0]}/comm").read_text() == "unshare\n":
            time.sleep(0.001)
        yield int(found[0]), Server(process, "127.0.0.1", port)
    finally:
        process.kill()
        process.communicate()


def listens(server: Server) -> None:
    """Until it answers that it is not ready: its models are being loaded, or warmed up."""
    server.wait_for("starting")


def is_ready(server: Server) -> None:
    """Until it is ready."""
    server.wait_for("ready")


def nothing(server: Server) -> None:
    """At once, when the signal is blocked or handled."""


def later(seconds: float) -> Callable[[Server], None]:
    """Some time after that: while modules are imported."""
    return lambda server: time.sleep(seconds)


MOMENTS: dict[str, tuple[dict[str, str], Callable[[Server], None]]] = {
    "at once": ({}, nothing),
    "importing": ({}, later(0.2)),
    "importing more": ({}, later(0.7)),
    "fetching": ({"MODEL_URI": "to be set"}, listens),
    "loading": ({"HELD": "loading"}, listens),
    "warming up": ({"HELD": "warm-up"}, listens),
    "ready": ({}, is_ready),
}


def stop_while_starting(moment: str, workers: str, models: Path, cache: Path) -> None:
    """It ends in time with exit code 0, and so do its workers: the namespace ends with it."""
    settings, wait = MOMENTS[moment]
    settings = settings | {"WORKERS": workers}
    with ExitStack() as stack:
        if "MODEL_URI" in settings:
            # A store that accepts and never answers.
            store = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            uri = f"http://127.0.0.1:{store.getsockname()[1]}/model.zip#sha256={'0' * 64}"
            settings |= {"MODEL_URI": uri, "MODEL_CACHE_DIR": str(cache)}
        pid, server = stack.enter_context(first_process(settings, models))
        wait_until_blocked(pid)
        wait(server)
        os.kill(pid, signal.SIGTERM)
        assert server.process.wait(timeout=STOP_SECONDS) == 0


@pytest.mark.parametrize("moment", ["loading", "warming up"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_does_not_wait_for_what_a_start_waits_for(
    moment: str, workers: str, held: Path
) -> None:
    settings, wait = MOMENTS[moment]
    with started(held, WORKERS=workers, **settings) as server:
        wait(server)
        assert server.stop() == 0


@pytest.mark.parametrize("moment", ["fetching", "warming up"])
def test_the_first_process_of_a_container_stops_while_it_starts(
    moment: str, held: Path, tmp_path: Path
) -> None:
    stop_while_starting(moment, "1", held, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_it_does_so_at_each_moment(moment: str, workers: str, held: Path, tmp_path: Path) -> None:
    stop_while_starting(moment, workers, held, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", range(UNDER_LOAD))
def test_a_stop_under_load_loses_no_accepted_request(number: int, toy_dir: Path) -> None:
    """After other times, with one worker and with two."""
    settings = {"DEFAULT_MODEL": "scale", "WORKERS": str(1 + number % 2)}
    with started(toy_dir, **settings) as server:
        server.wait_for("ready")
        outcomes: list[str] = []
        threads = [
            threading.Thread(target=ask_until_closed, args=(server, outcomes))
            for _ in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.1 + 0.037 * number)
        assert server.stop() == 0
        for thread in threads:
            thread.join(timeout=10)
        assert outcomes == ["closed after its answer"] * len(threads)
