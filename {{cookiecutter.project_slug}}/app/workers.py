"""Several worker processes behind one listening socket.

Workers that share a listening socket get their connections by luck, and with few keep-alive clients
one of them may get nearly all. So one process, the dispatcher, accepts every connection and hands
it to the workers in turn. It sees connections only, never requests, and costs nothing while clients
keep theirs open.
"""

from __future__ import annotations

import logging
import multiprocessing
import selectors
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from multiprocessing.context import ForkProcess
from types import FrameType

from app.errors import StartupError
from app.metrics.slab import Slab
from app.server import BACKLOG, Server, listen
from app.service import make_slab
from app.settings import Settings

log = logging.getLogger(__name__)

STOP_MARGIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process and the way connections take to it."""

    process: ForkProcess
    channel: socket.socket


class Dispatcher:
    """Starts the workers, hands out connections, and stops everything together.

    A worker that ends by itself ends the whole process: the platform's restart is better seen
    than one made here, and the models would have to be loaded again in any case.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = False

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT, or until a worker ends.

        Returns:
            0 after a drained stop, else the exit code of the worker that ended.

        Raises:
            StartupError: the address is taken.
        """
        listener = listen(self._settings)
        listener.setblocking(False)
        # Forked before any thread is started or any model is loaded.
        slab = make_slab(self._settings)
        workers = [self._start(number, slab, listener) for number in range(self._settings.workers)]
        waker, sleeper = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno())
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._on_signal)
        code = self._dispatch(listener, sleeper, workers)
        _hand_out_the_rest(listener, workers)
        listener.close()
        return _stop(workers, self._settings.drain_seconds) or code

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _start(self, number: int, slab: Slab, listener: socket.socket) -> Worker:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arguments = (self._settings, number, slab, theirs, (listener, mine))
        process = multiprocessing.get_context("fork").Process(target=_work, args=arguments)
        process.start()
        theirs.close()
        return Worker(process, mine)

    def _dispatch(
        self, listener: socket.socket, sleeper: socket.socket, workers: list[Worker]
    ) -> int:
        """Hand out connections until it is time to stop; the exit code of a worker that ended."""
        turns = cycle(workers)
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(sleeper, selectors.EVENT_READ)
            for worker in workers:
                selector.register(worker.process.sentinel, selectors.EVENT_READ, worker)
            while not self._stopping:
                for key, _ in selector.select():
                    if key.fileobj is listener:
                        _accept(listener, turns)
                    elif isinstance(key.data, Worker):
                        key.data.process.join()
                        code = key.data.process.exitcode or 0
                        log.error("a worker ended by itself with exit code %s", code)
                        return abs(code) or 1
        return 0


def _accept(listener: socket.socket, turns: cycle[Worker]) -> None:
    for _ in range(BACKLOG):
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:  # the client is gone, or descriptors have run out
            log.warning("a connection could not be accepted: %s", error)
            return
        with connection, suppress(OSError):
            socket.send_fds(next(turns).channel, [b"c"], [connection.fileno()])


def _hand_out_the_rest(listener: socket.socket, workers: list[Worker]) -> None:
    """Connections that the kernel has accepted already are served, not reset."""
    _accept(listener, cycle(workers))


def _stop(workers: list[Worker], drain_seconds: float) -> int:
    for worker in workers:
        if worker.process.is_alive():
            worker.process.terminate()
    code = 0
    for worker in workers:
        worker.process.join(drain_seconds + STOP_MARGIN_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        code = code or abs(worker.process.exitcode or 0)
    return code


def _work(
    settings: Settings,
    number: int,
    slab: Slab,
    channel: socket.socket,
    inherited: tuple[socket.socket, ...],
) -> None:
    for each in inherited:
        each.close()
    slab.become(number)
    server = Server(settings, slab, channel, number)
    server.run(sockets=[])
    if server.fatal is not None:
        if number == 0:  # all workers fail for the same reason; one says it
            print(f"error: {server.fatal}", file=sys.stderr)
        sys.exit(1)


def serve(settings: Settings) -> int:
    """Serve with several workers until stopped; see ``Dispatcher.run``."""
    if sys.platform == "win32":
        raise StartupError("WORKERS needs a system that can fork; use WORKERS=1 here")
    return Dispatcher(settings).run()
