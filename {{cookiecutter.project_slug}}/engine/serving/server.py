"""uvicorn's server with connections of our own, and a stop that loses no accepted request.

All that is used of uvicorn is in this file: its loop, its lifespan and its signals. It makes each
connection by calling ``Config.http``, keeps connections and tasks in ``server_state``, and waits at
the end until both are gone.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import numpy as np
import uvicorn

from engine.serving.errors import StartupError
from engine.serving.http.connection import Connection, Shared, sweep
from engine.serving.http.front_door import FrontDoor
from engine.serving.listening import BACKLOG, accept_all, listen, turn_away
from engine.serving.metrics.shared_table import SharedTable
from engine.serving.service import Service
from engine.serving.settings import Settings

log = logging.getLogger(__name__)

GC_THRESHOLDS = (50_000, 20, 20)
# After a stop was asked for, each answer says "connection: close". Clients that are busy close
# within this time by themselves; closing under them could cross their next request. Those that
# were refused just before come back when Retry-After has passed, mostly after one second.
LINGER_SECONDS = 1.5
# For the answers to those that DRAIN_SECONDS did not suffice for.
GIVE_UP_SECONDS = 0.2


class Server(uvicorn.Server):
    """Runs one service until SIGTERM or SIGINT, then drains.

    Args:
        settings: of the service.
        shared_table: shared metrics, where there are several workers.
        channel: brings accepted connections from the dispatcher; None when this process listens.
        worker: number of this process among the workers.
    """

    def __init__(
        self,
        settings: Settings,
        shared_table: SharedTable | None = None,
        channel: socket.socket | None = None,
        worker: int = 0,
    ) -> None:
        self._service = Service(
            settings, self._give_up, shared_table, worker, self._open_connections
        )
        self._settings = settings
        self._channel = channel
        self._sweeper: asyncio.Task[None] | None = None
        self._arriving: set[asyncio.Task[Any]] = set()
        self.fatal: StartupError | None = None
        super().__init__(self._config())
        self.shared = Shared(
            inference=self._service.inference,
            app=self._service.app,
            lifecycle=self._service.lifecycle,
            refused=self._service.connection_refused,
            max_connections=settings.max_connections,
            read_seconds=settings.request_timeout_seconds,
            idle_seconds=settings.keep_alive_seconds,
            most_unread=settings.max_answers_bytes,
            origins=self._service.origins,
            front_door=FrontDoor(settings.trusted_front_door_id),
            connections=self.server_state.connections,
            tasks=self.server_state.tasks,
        )

    def _open_connections(self) -> int:
        return len(self.server_state.connections)

    def _give_up(self, error: StartupError) -> None:
        self.fatal = error
        self.should_exit = True

    def connection(self, **_: Any) -> Connection:
        """A new connection; uvicorn calls it with what its own would need."""
        return Connection(self.shared)

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._service.app,
            http=self.connection,  # type: ignore[arg-type]
            ws="none",
            interface="asgi3",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Not ready from this moment on; what was accepted is finished."""
        self._service.lifecycle.drain()
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

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until stopped; tunes the process for a long life first."""
        # Numbers too large for their datatype become infinite and are refused by name.
        np.seterr(over="ignore")
        # A request leaves no cycles behind. The default, a look at the young objects after every
        # 700 new ones, costs several per cent of a small model's throughput.
        gc.set_threshold(*GC_THRESHOLDS)
        super().run(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, or take connections from the dispatcher; then watch over them."""
        await super().startup(sockets)
        self.shared.state = self.lifespan.state
        if self._channel is not None:
            self._channel.setblocking(False)
            asyncio.get_running_loop().add_reader(
                self._channel.fileno(), self._take_connections, self._channel
            )
        self._sweeper = asyncio.create_task(sweep(self.shared))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, let busy clients go by themselves, then close and finish the rest."""
        log.info("stopping: what was accepted is being finished")
        loop = asyncio.get_running_loop()
        for each in sockets or []:
            turn_away(each)
        if self._channel is not None:
            self._take_connections(self._channel)
            loop.remove_reader(self._channel.fileno())
        end = loop.time() + self._settings.drain_seconds
        until = min(end, loop.time() + LINGER_SECONDS)
        # uvicorn's set of connections tells nobody when it changes.
        while self._busy() and loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        for each in sockets or []:
            self._accept_the_rest(each)
        if self._sweeper is not None:
            self._sweeper.cancel()
        giving_up = loop.call_at(end, self._give_up_requests)
        left = max(0.0, end - loop.time()) + GIVE_UP_SECONDS
        self.config.timeout_graceful_shutdown = left  # type: ignore[assignment]
        await super().shutdown(sockets)
        giving_up.cancel()
        log.info("stopped")

    def _give_up_requests(self) -> None:
        """Answer what a stop does not wait for any longer."""
        self._service.give_up()
        for connection in tuple(self.shared.connections):
            connection.give_up()

    def _busy(self) -> bool:
        return bool(self.server_state.connections or self._arriving)

    def _take_connections(self, channel: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                message, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
            except BlockingIOError:
                return
            if not message:  # the dispatcher is gone
                loop.remove_reader(channel.fileno())
                self.should_exit = True
                return
            for descriptor in descriptors:
                self._take(socket.socket(fileno=descriptor))

    def _accept_the_rest(self, listener: socket.socket) -> None:
        """Connections that the kernel has accepted already are served, not reset."""
        listener.setblocking(False)
        with suppress(OSError):
            for connection in accept_all(listener):
                self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        connection.setblocking(False)
        task = loop.create_task(loop.connect_accepted_socket(self.connection, connection))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)


def serve(settings: Settings) -> int:
    """Serve in this process until stopped.

    Returns:
        The exit code of a drained stop, 0.

    Raises:
        StartupError: the address is taken, or the models must not run here.
    """
    server = Server(settings)
    server.run(sockets=[listen(settings)])
    if server.fatal is not None:
        raise server.fatal
    return 0
