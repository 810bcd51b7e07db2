"""One client connection: sends a request without blocking, and puts its answer together."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from benchmarks.resilience.tally import Answer, read_answer

READ_BYTES = 262_144


class LostError(Exception):
    """The connection is of no more use; the message says how it ended."""


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


@dataclass(eq=False)
class Client:
    """A connection with at most one request on its way: `kind`, due and sent at these times.

    `rest` is what is still to be sent, `answers` how many came over this connection.
    """

    socket: socket.socket
    kind: Kind | None = None
    due: float = 0.0
    sent: float = 0.0
    rest: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytearray = field(default_factory=bytearray)
    answers: int = 0
    connected: bool = False

    def begin(self, kind: Kind, due: float, now: float) -> None:
        """Send a request, or as much of it as the connection takes."""
        self.kind, self.due, self.sent = kind, due, now
        self.rest = memoryview(kind.request)
        self.write()

    def write(self) -> None:
        """Send more. A broken connection shows when it is read: the server may have answered."""
        try:
            self.rest = self.rest[self.socket.send(self.rest) :]
        except OSError:
            return

    def failure(self) -> int:
        """Why a connection that had begun did not come about, as an errno; 0 when it did."""
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def read(self) -> Answer | None:
        """Take what came; the answer, once it is complete.

        Raises:
            LostError: the connection ended while an answer was due, or was reset.
        """
        try:
            chunk = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            raise LostError("reset") from None
        if not chunk:
            raise LostError("closed without an answer" if self.kind else "")
        self.received += chunk
        try:
            answer = read_answer(self.received)
        except ConnectionError:
            raise LostError("unreadable answer") from None
        if answer is not None:
            if self.kind is None:
                raise LostError("answer without a request")
            del self.received[: answer.size]
            self.answers += 1
        return answer


def connect(port: int) -> Client:
    """A connection to a port of 127.0.0.1 that has begun; ``failure`` tells how that went."""
    connection = socket.socket()
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.connect_ex(("127.0.0.1", port))
    return Client(connection)
