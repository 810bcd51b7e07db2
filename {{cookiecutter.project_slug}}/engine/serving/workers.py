"""Several worker processes behind one listening socket.

Workers that share a listening socket get their connections by luck, and with few keep-alive clients
one of them may get nearly all. So one process, the dispatcher, accepts every connection and hands
it to the workers in turn. It sees connections only, never requests, and costs nothing while clients
keep theirs open.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkProcess
from types import FrameType

from engine.serving.errors import StartupError
from engine.serving.listening import accept_all, listen, turn_away
from engine.serving.logs import setup as logs
from engine.serving.metrics.memory import oom_kills
from engine.serving.metrics.shared_table import SharedTable
from engine.serving.server import Server
from engine.serving.service import make_shared_table
from engine.serving.settings import Settings

log = logging.getLogger(__name__)

# What a worker may take for its stop beside DRAIN_SECONDS.
STOP_MARGIN_SECONDS = 2.0
# After a connection that could not be accepted or handed over, until the next try.
PAUSE_SECONDS = 0.1
STOPS = (signal.SIGTERM, signal.SIGINT)
# For connections that are half made when the stop is asked for.
HANDSHAKE_SECONDS = 0.05
LONGEST_WORDS = 4096


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process and the way connections take to it."""

    process: ForkProcess
    channel: socket.socket

    def last_words(self) -> str:
        """Why the worker had to end, if it said so."""
        # Connections that it did not take any more are told first, as a reset.
        for _ in range(2):
            with suppress(OSError):
                return self.channel.recv(LONGEST_WORDS, socket.MSG_DONTWAIT).decode()
        return ""


class Acceptor:
    """Accepts connections and gives them to the workers in turn, to those first that are ready."""

    def __init__(
        self, listener: socket.socket, shared_table: SharedTable, workers: list[Worker]
    ) -> None:
        self.listener = listener
        self.workers = workers
        self._table = shared_table
        self._turn = 0
        # Accepted, while no worker had room for it.
        self._held: list[socket.socket] = []

    def accept(self) -> bool:
        """Accept all connections that wait. Never blocks.

        Returns:
            False when one could not be accepted or handed over: trying again at once is no use.
        """
        if not self._hand_over():
            return False
        try:
            for connection in accept_all(self.listener):
                self._held.append(connection)
                if not self._hand_over():
                    return False
        except ConnectionAbortedError:
            return True  # by its client
        except OSError as error:
            log.warning("a connection could not be accepted: %s", error)
            return False
        return True

    def _hand_over(self) -> bool:
        while self._held:
            if not self._send(self._held[0]):
                return False
            self._held.pop(0).close()
        return True

    def _send(self, connection: socket.socket) -> bool:
        """Give a connection to the next worker that has room for it."""
        ready = self._table.ready()
        for _ in self.workers:
            self._turn = (self._turn + 1) % len(self.workers)
            if ready[self._turn] or not any(ready):
                # The channel is full when a worker has not taken its connections for some time.
                with suppress(OSError):
                    channel = self.workers[self._turn].channel
                    socket.send_fds(channel, [b"c"], [connection.fileno()])
                    return True
        return False


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
            StartupError: the address is taken, or a worker said that the models must not run here.
        """
        listener = listen(self._settings)
        listener.setblocking(False)
        killed = oom_kills()
        # Forked before any thread is started or any model is loaded.
        shared_table = make_shared_table(self._settings)
        workers: list[Worker] = []
        # Signals wait until each process has its own handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        for number in range(self._settings.workers):
            workers.append(self._start(number, shared_table, listener, workers))
        waker, sleeper = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno())
        for each in STOPS:
            signal.signal(each, self.stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        acceptor = Acceptor(listener, shared_table, workers)
        ended = self.dispatch(acceptor, sleeper)
        turn_away(listener)
        time.sleep(HANDSHAKE_SECONDS)
        acceptor.accept()  # what the kernel has accepted already is served, not reset
        listener.close()
        code = _stop(workers, self._settings.drain_seconds)
        if ended is None:
            return code
        if reason := ended.last_words():
            raise StartupError(reason)
        log.error(why_it_ended(ended.process.exitcode or 0, killed, oom_kills()))
        return abs(ended.process.exitcode or 0) or 1

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        """End ``dispatch``; handles signals."""
        self._stopping = True

    def _start(
        self, number: int, shared_table: SharedTable, listener: socket.socket, others: list[Worker]
    ) -> Worker:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        mine.setblocking(False)
        # A channel that another worker held open would not end with the dispatcher.
        inherited = (listener, mine, *(each.channel for each in others))
        arguments = (self._settings, number, shared_table, theirs, inherited)
        process = multiprocessing.get_context("fork").Process(target=_work, args=arguments)
        process.start()
        theirs.close()
        return Worker(process, mine)

    def dispatch(self, acceptor: Acceptor, sleeper: socket.socket) -> Worker | None:
        """Hand out connections until it is time to stop; the worker that ended by itself."""
        with selectors.DefaultSelector() as selector:
            selector.register(acceptor.listener, selectors.EVENT_READ)
            selector.register(sleeper, selectors.EVENT_READ)
            for worker in acceptor.workers:
                selector.register(worker.process.sentinel, selectors.EVENT_READ, worker)
            paused = False
            while not self._stopping:
                events = [key for key, _ in selector.select(PAUSE_SECONDS if paused else None)]
                for key in events:
                    if isinstance(key.data, Worker):
                        key.data.process.join()
                        return key.data
                if paused:
                    selector.register(acceptor.listener, selectors.EVENT_READ)
                if paused or any(key.fileobj is acceptor.listener for key in events):
                    paused = not acceptor.accept()
                if paused:
                    # It stays readable, and asking it again at once would only use up the CPU.
                    selector.unregister(acceptor.listener)
        return None


def why_it_ended(exitcode: int, before: int | None, after: int | None) -> str:
    """One sentence on a worker that was not asked to stop.

    Args:
        exitcode: of the process; negative: the signal that ended it.
        before: what ``oom_kills`` said when the workers started.
        after: what it says now.
    """
    if exitcode >= 0:
        return f"a worker ended by itself with exit code {exitcode}"
    name = signal.Signals(-exitcode).name
    if exitcode != -signal.SIGKILL:
        return f"a worker was ended by the signal {name}"
    way_out = "use fewer WORKERS, or give the container more memory"
    if after is not None and after > (before or 0):
        return f"the kernel killed a worker ({name}) because memory ran out; {way_out}"
    return f"a worker was killed ({name}), most likely because memory ran out; {way_out}"


def _stop(workers: list[Worker], drain_seconds: float) -> int:
    for worker in workers:
        if worker.process.is_alive():
            worker.process.terminate()
    code = 0
    until = time.monotonic() + drain_seconds + STOP_MARGIN_SECONDS
    for worker in workers:
        worker.process.join(max(0.0, until - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        # One that the signal met before it could handle it had nothing to finish.
        if worker.process.exitcode not in (0, -signal.SIGTERM):
            code = code or abs(worker.process.exitcode or 0)
    return code


def _work(
    settings: Settings,
    number: int,
    shared_table: SharedTable,
    channel: socket.socket,
    inherited: tuple[socket.socket, ...],
) -> None:
    # Until it serves, a worker ends at once; it has nothing to finish.
    for stop in STOPS:
        signal.signal(stop, lambda number, frame: os._exit(0))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    for each in inherited:
        each.close()
    shared_table.become(number)
    server = Server(settings, shared_table, channel, number)
    try:
        server.run(sockets=[])
    finally:
        logs.finish()
    if server.fatal is not None:
        # All workers fail for the same reason; the dispatcher says it once.
        channel.send(str(server.fatal).encode()[:LONGEST_WORDS])
    # Without waiting for threads, see engine/serving/__main__.py.
    os._exit(0 if server.fatal is None else 1)


def serve(settings: Settings) -> int:
    """Serve with several workers until stopped; see ``Dispatcher.run``."""
    if sys.platform == "win32":
        raise StartupError("WORKERS needs a system that can fork; use WORKERS=1 here")
    return Dispatcher(settings).run()
