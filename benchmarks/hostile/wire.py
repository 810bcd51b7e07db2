"""A client that does not play fair: sends pieces until it has an answer, or has sent enough."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable
from contextlib import suppress

PATIENCE_SECONDS = 60.0
NO_ANSWER = 0


def connected(port: int) -> socket.socket:
    """A connection to a port of 127.0.0.1."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def talk(port: int, pieces: Iterable[bytes]) -> int:
    """Send until an answer begins; its status, or 0 where the connection ends without one."""
    with connected(port) as connection, suppress(OSError):
        with suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
                if select.select([connection], [], [], 0)[0]:
                    break
        return status_of(connection)
    return NO_ANSWER


def status_of(connection: socket.socket) -> int:
    """The status of the next answer; 0 where none comes."""
    received = b""
    while b"\r\n" not in received:
        more = connection.recv(4096)
        if not more:
            return NO_ANSWER
        received += more
    return int(received.split(b" ", 2)[1])


def pour(port: int, piece: bytes, seconds: float) -> int:
    """Send requests and read no answer; how many bytes were taken until the service stopped."""
    sent, deadline = 0, time.monotonic() + seconds
    with connected(port) as connection, suppress(OSError):
        connection.settimeout(0.5)
        while time.monotonic() < deadline:
            sent += connection.send(piece)
    return sent


def post(path: str, body: bytes, *lines: str, length: int | None = None) -> bytes:
    """A request with a JSON body, or with the beginning of a longer one."""
    size = len(body) if length is None else length
    head = [f"POST {path} HTTP/1.1", "Host: t", "Content-Type: application/json"]
    return "\r\n".join([*head, f"Content-Length: {size}", *lines, "", ""]).encode() + body
