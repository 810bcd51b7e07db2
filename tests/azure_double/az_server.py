"""The real `az`, imported once: forks for each command that `az_launcher.py` hands over.

Most of a second that `az` needs to start goes into imports. The forked child is what a new process
would be otherwise: it has the launcher's streams, arguments, environment and folder, and runs
`python -m azure.cli`. What a child had to import, this process imports too as soon as it is idle.
It runs in the environment of requirements/azure.txt, until its standard input ends.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import gc
import importlib
import marshal
import os
import runpy
import selectors
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

LONGEST_REQUEST = 1 << 20
BROKEN = 70


class Server:
    """Accepts connections of launchers, and tells each how its command ended."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._learned, self._teach = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._selector = selectors.DefaultSelector()
        self._wanted: list[str] = ["azure.cli.core", "azure.cli.core.intercept_survey"]
        self._imported = 0
        self._places: list[tuple[dict[str, object], str]] = []

    def run(self) -> None:
        """Serve until standard input ends."""
        events = selectors.EVENT_READ
        self._selector.register(sys.stdin.fileno(), events, None)
        self._selector.register(self._listener, events, self._accept)
        self._selector.register(self._learned, events, self._learn)
        while True:
            for key, _ in self._selector.select(0 if self._wanted else None):
                if key.data is None:
                    return
                key.data()
            if self._wanted:
                # One that only works inside a command is left to the commands.
                with contextlib.suppress(Exception):
                    importlib.import_module(self._wanted.pop())

    def _learn(self) -> None:
        names = self._learned.recv(LONGEST_REQUEST).decode().split("\n")
        # The last began to be imported inside the others: in this order each step is short.
        self._wanted += [name for name in names if name not in sys.modules]

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        request, streams, _, _ = socket.recv_fds(connection, LONGEST_REQUEST, 3)
        if not request:
            connection.close()
            return
        if len(sys.modules) != self._imported:
            self._imported, self._places = len(sys.modules), list(_settings_of_the_start())
            gc.collect()
            gc.freeze()
        child = os.fork()
        if not child:
            self._become_az(connection, request, streams)
        for stream in streams:
            os.close(stream)
        ended = os.pidfd_open(child)
        self._selector.register(
            ended, selectors.EVENT_READ, lambda: self._report(child, ended, connection)
        )
        with contextlib.suppress(OSError):
            connection.send(child.to_bytes(8, "little"))

    def _become_az(self, connection: socket.socket, request: bytes, streams: list[int]) -> None:
        """In the child: run the command and end, whatever happens."""
        code = BROKEN
        try:
            os.setsid()
            _thread.start_new_thread(_die_with, (connection,))
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            known = set(sys.modules)
            code = _command(self._places, *marshal.loads(request))
            self._teach.send("\n".join(name for name in sys.modules if name not in known).encode())
        finally:
            os._exit(code)

    def _report(self, child: int, ended: int, connection: socket.socket) -> None:
        self._selector.unregister(ended)
        os.close(ended)
        _, status = os.waitpid(child, 0)
        with contextlib.suppress(OSError):
            connection.send(status.to_bytes(8, "little"))
        connection.close()


def _die_with(connection: socket.socket) -> None:
    """End this child and what it started as soon as its launcher has been killed."""
    with contextlib.suppress(OSError):
        connection.recv(1)
    os.killpg(0, signal.SIGKILL)


def _settings_of_the_start() -> Iterator[tuple[dict[str, object], str]]:
    """Where modules keep a path of this process's settings, which is another one in each child."""
    from knack.config import CLIConfig

    paths = (os.environ["AZURE_CONFIG_DIR"], os.environ["HOME"])
    for module in list(sys.modules.values()):
        for name, value in list(vars(module).items()):
            if isinstance(value, CLIConfig) or (
                isinstance(value, str) and any(path in value for path in paths)
            ):
                yield vars(module), name


def _command(
    places: list[tuple[dict[str, object], str]],
    arguments: list[str],
    environment: dict[str, str],
    folder: str,
    umask: int,
) -> int:
    """Run one command in this child; gives its exit code."""
    old = (os.environ["AZURE_CONFIG_DIR"], os.environ["HOME"])
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    os.umask(umask)
    time.tzset()
    tempfile.tempdir = None
    # What the program `az` of the environment adds.
    source = os.path.join(os.path.dirname(sys.executable), "src")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = source if before is None else os.pathsep.join([source, before])
    os.environ.setdefault("AZ_INSTALLER", "PIP")
    # What `python -m` does with it.
    sys.path[:0] = [os.getcwd(), *os.environ["PYTHONPATH"].split(os.pathsep)]
    sys.argv = ["az", *arguments]
    if os.isatty(1) and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)
    _renew(places, old)
    try:
        runpy.run_module("azure.cli", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = _exit_code(end.code)
    except BaseException:  # noqa: BLE001 - what the interpreter does with it
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code


def _renew(places: list[tuple[dict[str, object], str]], old: tuple[str, str]) -> None:
    """Let modules that were imported earlier have the settings of this child."""
    from azure.cli.core._environment import get_config_dir
    from knack.config import CLIConfig

    new = (get_config_dir(), os.path.expanduser("~"))
    for module, name in places:
        value = module[name]
        if isinstance(value, str):
            for one, other in zip(old, new, strict=True):
                value = value.replace(one, other)
            module[name] = value
        elif isinstance(value, CLIConfig):
            module[name] = CLIConfig(config_dir=new[0], config_env_var_prefix="AZURE")


def _exit_code(given: str | int | None) -> int:
    if isinstance(given, str):
        print(given, file=sys.stderr)
        return 1
    return (given or 0) & 0xFF


if __name__ == "__main__":
    Server(socket.socket(fileno=int(sys.argv[1]))).run()
