"""uvicorn, with a stop that loses no accepted request."""

from __future__ import annotations

import signal
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
        The exit code: 0 after a drained stop, 1 when the service must not run here.
    """
    fatal: list[StartupError] = []

    def on_fatal(error: StartupError) -> None:
        fatal.append(error)
        server.stop(1)

    service = Service(settings, on_fatal)
    config = uvicorn.Config(
        service,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        # uvicorn counts whole seconds.
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
    )
    server = Server(config, service.lifecycle)
    server.run()
    for error in fatal:
        raise error
    return server.exit_code
