"""Clients that try to be a burden: they send headers or bodies slowly, or never read.

`python -m benchmarks.resilience.slowloris PORT COUNT` keeps COUNT connections open, a third of each
sort, and prints `ready` when all are; it ends when its standard input is closed and then prints how
many the server has closed meanwhile. Bounded, and to 127.0.0.1 only.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from dataclasses import dataclass

from benchmarks.resilience import kinds

TURN_SECONDS = 0.2
RECEIVE_BYTES = 4096
HEADERS = kinds.head("POST", "/predict").removesuffix(b"\r\n")
BODY = kinds.head("POST", "/predict", "Content-Type: application/json", "Content-Length: 90000")


@dataclass
class Slow:
    """One such client. `first` is sent at once, then `drop` again and again."""

    port: int
    first: bytes
    drop: bytes
    reads: bool = True
    link: socket.socket | None = None
    closed: int = 0

    def turn(self) -> None:
        """Do a little; come back after the server closed."""
        try:
            if self.link is None:
                self.link = self._connect()
                self.link.send(self.first)
            elif self.drop:
                self.link.send(self.drop)
            if self.reads and not self.link.recv(RECEIVE_BYTES):
                raise ConnectionError
        except BlockingIOError:
            pass
        except OSError:
            self.closed += 1
            if self.link is not None:
                self.link.close()
            self.link = None

    def _connect(self) -> socket.socket:
        connection = socket.socket()
        # So that answers fill it soon.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        connection.settimeout(5)
        connection.connect(("127.0.0.1", self.port))
        connection.setblocking(False)
        return connection


def crowd(port: int, count: int) -> list[Slow]:
    """So many clients: half headers, dribbling bodies, and those that ask but never read."""
    greedy = next(kind for kind in kinds.mixed() if kind.name == "predict 256 rows").request
    sorts = (
        lambda: Slow(port, HEADERS, b"X-Slow: 1\r\n"),
        lambda: Slow(port, BODY, b" "),
        lambda: Slow(port, greedy, greedy, reads=False),
    )
    return [sorts[number % len(sorts)]() for number in range(count)]


def main() -> None:
    """Be slow until standard input is closed."""
    port, count = map(int, sys.argv[1:])
    slow = crowd(port, count)
    for each in slow:
        each.turn()
    print("ready", flush=True)
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        while not selector.select(0):
            begun = time.monotonic()
            # Spread out: a burst of all at once would not be slow.
            for each in slow:
                each.turn()
                time.sleep(TURN_SECONDS / count)
            time.sleep(max(0.0, TURN_SECONDS - (time.monotonic() - begun)))
    print(sum(each.closed for each in slow))


if __name__ == "__main__":
    main()
