"""uvicorn, with a stop that loses no accepted request."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from app.errors import StartupError
from app.lifecycle import Lifecycle
from app.service import Service
from app.settings import Settings

KEEP_ALIVE_SECONDS = 65
BACKLOG = 2048


class Server(uvicorn.Server):
    """Runs one service until SIGTERM or SIGINT, then drains; ``exit_code`` says how it ended."""

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self.exit_code = 0

    def stop(self, exit_code: int) -> None:
        """End the process from inside, in an orderly way."""
        self.exit_code = exit_code
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Not ready from this moment; uvicorn stops accepting and finishes what it has."""
        self._lifecycle.drain()
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle signals without raising them again afterwards: a drained stop is exit code 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            each: signal.signal(each, self.handle_exit) for each in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


def serve(settings: Settings) -> int:
    """Serve until stopped.

    Returns:
        The exit code of a drained stop, 0.

    Raises:
        StartupError: the address is taken, or the models must not run here.
    """
    fatal: list[StartupError] = []

    def on_fatal(error: StartupError) -> None:
        fatal.append(error)
        server.stop(1)

    service = Service(settings, on_fatal)
    config = uvicorn.Config(
        service,
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        # uvicorn counts whole seconds.
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
    )
    server = Server(config, service.lifecycle)
    server.run(sockets=[_listen(settings)])
    for error in fatal:
        raise error
    return server.exit_code


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise StartupError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}; "
            "choose another address with HOST and PORT"
        ) from None
