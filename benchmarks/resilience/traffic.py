"""Many keep-alive clients in one thread, at a constant rate or each as fast as it is answered.

At a constant rate a latency counts from the moment the request was due: clients that wait for a
slow server do not hide how slow it is. Requests that find every connection busy wait here, and
their clocks run.
"""

from __future__ import annotations

import random
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from benchmarks.resilience.tally import Tally, read_answer

LAST_ANSWERS_SECONDS = 5.0
READ_BYTES = 262_144
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Kind:
    """A request as it goes over the wire, the statuses it may be answered with, how often.

    An abandoned one is sent, and then the client goes away.
    """

    name: str
    request: bytes
    expected: tuple[int, ...]
    weight: int = 1
    abandoned: bool = False


@dataclass(frozen=True)
class Shape:
    """How much load: `rate` a second, or 0 for as fast as answers come; `most` requests at most.

    Clients of a constant rate stand for ever new ones, and come whatever was said before. Clients
    that send as fast as they are answered wait as long as Retry-After tells them to.
    """

    connections: int
    seconds: float
    rate: float = 0.0
    most: int = 0


@dataclass(eq=False)
class Client:
    """A connection with at most one request on its way."""

    socket: socket.socket
    kind: Kind | None = None
    due: float = 0.0
    sent: float = 0.0
    rest: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytearray = field(default_factory=bytearray)
    answers: int = 0
    stuck: bool = False


class Traffic:
    """One run of load against one port.

    Args:
        until_gone: reconnect only until the server refuses, and end when it is gone.
    """

    def __init__(self, port: int, kinds: list[Kind], shape: Shape, *, until_gone: bool) -> None:
        self.tally = Tally()
        self.sent = 0
        self.unsent = 0
        self.elapsed = 0.0
        self._port = port
        self._shape = shape
        self._until_gone = until_gone
        self._kinds = _sequence(kinds)
        self._poll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._idle: deque[Client] = deque()
        self._resting: list[tuple[float, Client]] = []

    def run(self) -> None:
        """Send, read, count; returns when the time is over and the last answers are here."""
        for _ in range(self._shape.connections):
            self._connect()
        begun = time.perf_counter()
        total, end = self._plan(begun)
        sending = True
        while self._clients:
            now = time.perf_counter()
            self._wake(now)
            sending = sending and self.sent < total and now < end
            wait = self._send_due(begun, now, total) if sending else POLL_SECONDS
            if not sending and (self._all_idle() or now > end + LAST_ANSWERS_SECONDS):
                break
            for descriptor, events in self._poll.poll(wait):
                self._on_event(self._clients[descriptor], events)
        self.elapsed = time.perf_counter() - begun
        self._finish(total)

    def _plan(self, begun: float) -> tuple[int, float]:
        """How many requests, and the time after which none is sent."""
        shape = self._shape
        if shape.rate:
            # A little longer, because the last ones are due just before the end.
            return max(1, round(shape.rate * shape.seconds)), begun + shape.seconds + 1
        return shape.most or 10**12, begun + shape.seconds

    def _send_due(self, begun: float, now: float, total: int) -> float:
        """Send what is due; the seconds that may pass until the next one is."""
        rate = self._shape.rate
        while self._idle and self.sent < total:
            due = begun + self.sent / rate if rate else now
            if due > now:
                return min(due - now, POLL_SECONDS)
            self._send(self._idle.popleft(), due)
        return POLL_SECONDS

    def _wake(self, now: float) -> None:
        """Let those go on whose time to try again has come."""
        rested = [client for until, client in self._resting if until <= now]
        if rested:
            self._resting = [each for each in self._resting if each[0] > now]
            self._idle.extend(rested)

    def _send(self, client: Client, due: float) -> None:
        client.kind = next(self._kinds)
        client.due, client.sent = due, time.perf_counter()
        client.rest = memoryview(client.kind.request)
        self.sent += 1
        self._write(client)
        if client.kind.abandoned:
            self.tally.by_kind[client.kind.name] += 1
            self._close(client)
            self._connect()

    def _write(self, client: Client) -> None:
        try:
            client.rest = client.rest[client.socket.send(client.rest) :]
        except BlockingIOError:
            pass
        except OSError:
            return  # what the server still said can be read; the fault shows there
        if client.stuck != bool(client.rest):
            client.stuck = bool(client.rest)
            events = select.EPOLLIN | (select.EPOLLOUT if client.stuck else 0)
            self._poll.modify(client.socket.fileno(), events)

    def _on_event(self, client: Client, events: int) -> None:
        if events & select.EPOLLOUT and client.rest:
            self._write(client)
        if not events & ~select.EPOLLOUT:
            return
        try:
            chunk = client.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._lost(client, "reset")
            return
        if not chunk:
            self._lost(client, "closed without an answer")
            return
        client.received += chunk
        self._read(client)

    def _read(self, client: Client) -> None:
        try:
            answer = read_answer(client.received)
        except ConnectionError:
            self._lost(client, "unreadable answer")
            return
        if answer is None:
            return
        kind, now = client.kind, time.perf_counter()
        if kind is None:
            self._lost(client, "answer without a request")
            return
        self.tally.answered(kind.name, kind.expected, answer, now - client.due, now - client.sent)
        del client.received[: answer.size]
        client.kind = None
        client.answers += 1
        if answer.closing or client.rest:
            self._close(client)
            self._connect()
        elif answer.retry_after is not None and not self._shape.rate:
            self._resting.append((now + answer.retry_after, client))
        else:
            self._idle.append(client)

    def _lost(self, client: Client, how: str) -> None:
        """The connection ended. That is a fault when an answer was due, or when it was reset."""
        if client.kind is not None or how != "closed without an answer":
            age = "before its first answer" if client.answers == 0 else "in use"
            self.tally.faults[f"{how}, connection {age}"] += 1
        self._close(client)
        self._connect()

    def _connect(self) -> None:
        try:
            connection = socket.create_connection(("127.0.0.1", self._port), timeout=5)
        except OSError as error:
            # While it is meant to serve, a server that cannot be reached is a fault.
            if not self._until_gone:
                self.tally.faults[f"cannot connect: {error}"] += 1
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Client(connection)
        self._clients[connection.fileno()] = client
        self._poll.register(connection.fileno(), select.EPOLLIN)
        self._idle.append(client)

    def _close(self, client: Client) -> None:
        del self._clients[client.socket.fileno()]
        if client in self._idle:
            self._idle.remove(client)
        self._resting = [each for each in self._resting if each[1] is not client]
        client.socket.close()

    def _all_idle(self) -> bool:
        return len(self._idle) + len(self._resting) == len(self._clients)

    def _finish(self, total: int) -> None:
        for client in self._clients.values():
            if client.kind is not None:
                self.tally.faults[f"no answer within {LAST_ANSWERS_SECONDS:g} s"] += 1
            client.socket.close()
        self.unsent = total - self.sent if self._shape.rate else 0
        self._poll.close()


def _sequence(kinds: list[Kind]) -> Iterator[Kind]:
    """The kinds in an order without pattern that is the same every time."""
    weighted = [kind for kind in kinds for _ in range(kind.weight)]
    if len(weighted) == 1:
        return (weighted[0] for _ in count())
    choose = random.Random(40)
    return (choose.choice(weighted) for _ in count())
