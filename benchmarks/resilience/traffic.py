"""Many keep-alive clients in one thread, at a constant rate or each as fast as it is answered.

At a constant rate a latency counts from the moment the request was due: clients that wait for a
slow server do not hide how slow it is. Requests that find every connection busy wait here, and
their clocks run.
"""

from __future__ import annotations

import errno
import os
import random
import select
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.resilience.client import Client, Kind, LostError, connect
from benchmarks.resilience.tally import Answer, Tally

LAST_ANSWERS_SECONDS = 5.0
POLL_SECONDS = 0.05


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


class Traffic:
    """One run of load against one port.

    Args:
        until_gone: a port that refuses connections is no fault; the run ends when all are refused.
    """

    def __init__(self, port: int, kinds: Sequence[Kind], shape: Shape, *, until_gone: bool) -> None:
        self.tally = Tally()
        self.sent = 0
        self.elapsed = 0.0
        self._port = port
        self._shape = shape
        self._until_gone = until_gone
        self._kinds = in_random_order(kinds)
        self._poll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._idle: deque[Client] = deque()
        self._resting: list[tuple[float, Client]] = []
        rated = round(shape.rate * shape.seconds)
        self._total = max(1, rated) if shape.rate else shape.most or 10**12

    @property
    def unsent(self) -> int:
        """Requests of a constant rate that found no free connection until the end."""
        return self._total - self.sent if self._shape.rate else 0

    def run(self) -> None:
        """Send, read, count; returns when the time is over and the last answers are here."""
        for _ in range(self._shape.connections):
            self._connect()
        begun = time.perf_counter()
        # Of a constant rate, requests that were due may still be sent a little later.
        end = begun + self._shape.seconds + (1 if self._shape.rate else 0)
        while self._clients:
            now = time.perf_counter()
            sending = self.sent < self._total and now < end
            self._wake(now)
            wait = self._send_due(begun, now) if sending else POLL_SECONDS
            if not sending and (self._all_answered() or now > end + LAST_ANSWERS_SECONDS):
                break
            # Its own timeout has whole milliseconds, which are too long for a rate of thousands.
            select.select([self._poll], [], [], wait)
            for descriptor, events in self._poll.poll(0):
                self._on_event(self._clients[descriptor], events)
        self.elapsed = time.perf_counter() - begun
        self._finish()

    def _send_due(self, begun: float, now: float) -> float:
        """Send what is due; the seconds that may pass until the next one is."""
        rate = self._shape.rate
        while self._idle and self.sent < self._total:
            due = begun + self.sent / rate if rate else now
            if due > now:
                return min(due - now, POLL_SECONDS)
            self._send(self._idle.popleft(), due)
        return POLL_SECONDS

    def _send(self, client: Client, due: float) -> None:
        kind = next(self._kinds)
        client.begin(kind, due, time.perf_counter())
        self.sent += 1
        if kind.abandoned:
            self.tally.by_kind[kind.name] += 1
            self._replace(client)
        elif client.rest:
            self._poll.modify(client.socket, select.EPOLLIN | select.EPOLLOUT)

    def _on_event(self, client: Client, events: int) -> None:
        if not client.connected:
            self._connected(client)
            return
        if events & select.EPOLLOUT:
            client.write()
            if not client.rest:
                self._poll.modify(client.socket, select.EPOLLIN)
        if not events & ~select.EPOLLOUT:
            return
        try:
            answer = client.read()
        except LostError as lost:
            if how := str(lost):
                age = "in use" if client.answers else "before its first answer"
                self.tally.faults[f"{how}, connection {age}"] += 1
            self._replace(client)
            return
        if answer is not None:
            self._answered(client, answer)

    def _answered(self, client: Client, answer: Answer) -> None:
        now, kind = time.perf_counter(), client.kind
        if kind is not None:
            late, waited = now - client.due, now - client.sent
            self.tally.answered(kind.name, kind.expected, answer, late, waited)
        client.kind = None
        if answer.closing or client.rest:
            self._replace(client)
        elif answer.retry_after is not None and not self._shape.rate:
            self._resting.append((now + answer.retry_after, client))
        else:
            self._idle.append(client)

    def _wake(self, now: float) -> None:
        """Let those go on whose time to try again has come."""
        rested = [client for until, client in self._resting if until <= now]
        if rested:
            self._resting = [each for each in self._resting if each[0] > now]
            self._idle.extend(rested)

    def _replace(self, client: Client) -> None:
        """Close a connection and open another one."""
        if client in self._idle:
            self._idle.remove(client)
        self._resting = [each for each in self._resting if each[1] is not client]
        self._close(client)
        self._connect()

    def _close(self, client: Client) -> None:
        del self._clients[client.socket.fileno()]
        client.socket.close()

    def _connect(self) -> None:
        client = connect(self._port)
        self._clients[client.socket.fileno()] = client
        self._poll.register(client.socket, select.EPOLLOUT)

    def _connected(self, client: Client) -> None:
        """A connection came about, or not; then nobody tries again."""
        if why := client.failure():
            if not (self._until_gone and why == errno.ECONNREFUSED):
                self.tally.faults[f"cannot connect: {os.strerror(why)}"] += 1
            self._close(client)
            return
        client.connected = True
        self._poll.modify(client.socket, select.EPOLLIN)
        self._idle.append(client)

    def _all_answered(self) -> bool:
        return all(client.kind is None for client in self._clients.values())

    def _finish(self) -> None:
        for client in self._clients.values():
            if client.kind is not None:
                self.tally.faults[f"no answer within {LAST_ANSWERS_SECONDS:g} s"] += 1
            client.socket.close()
        self._poll.close()


def in_random_order(kinds: Sequence[Kind]) -> Iterator[Kind]:
    """The kinds, each as often as its weight says, in an order that is the same every time."""
    choose = random.Random(40)
    weights = [kind.weight for kind in kinds]
    while True:
        yield from choose.choices(kinds, weights, k=1000)
