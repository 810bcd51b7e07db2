"""Constant-rate load: requests leave on schedule, whether or not earlier answers have come.

`python open_loop.py PORT PATH BODY RATE SECONDS CONNECTIONS [HEADER...]` prints one JSON line. A
latency counts from the moment the request was due, so a server that falls behind cannot hide it by
slowing the clients down. One thread, standard library only; it sends bytes made beforehand and
reads only as much of an answer as it must. When every connection waits for an answer, requests wait
here; when more than a second of them does, the server is saturated and the run ends.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

LAST_ANSWERS_SECONDS = 2.0
READ_BYTES = 65536


@dataclass(eq=False)
class Connection:
    """A connection with at most one request on its way; kept alive where the server does."""

    port: int
    socket: socket.socket | None = None
    due: float = 0.0
    received: bytearray = field(default_factory=bytearray)

    def fileno(self) -> int:
        """For select."""
        return self.socket.fileno() if self.socket else -1

    def send(self, request: bytes, due: float) -> None:
        """Send the request that was due at that time."""
        self.due = due
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self.port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(request)

    def close(self) -> None:
        """Close it, until the next request."""
        if self.socket:
            self.socket.close()
        self.socket = None

    def answered(self) -> bool:
        """Read what has come.

        Returns:
            Whether the answer is complete.

        Raises:
            ConnectionError: it is not 200, or the server closed the connection.
        """
        chunk = self.socket.recv(READ_BYTES) if self.socket else b""
        if not chunk:
            raise ConnectionError("the server closed a connection")
        self.received += chunk
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return False
        if not self.received.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(bytes(self.received[:200]).decode("latin-1"))
        headers = headers_of(bytes(self.received[:end]))
        if b"content-length" not in headers:
            raise ConnectionError("an answer has no Content-Length")
        if len(self.received) < end + 4 + int(headers[b"content-length"]):
            return False
        self.received.clear()
        if headers.get(b"connection") == b"close":
            self.close()
        return True


def headers_of(head: bytes) -> dict[bytes, bytes]:
    """The headers of an answer, all in small letters."""
    parts = [line.partition(b":") for line in head.lower().split(b"\r\n")[1:]]
    return {name: value.strip() for name, _, value in parts}


def request_bytes(port: int, path: str, body: bytes, headers: list[str]) -> bytes:
    """The whole request as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def run(port: int, request: bytes, rate: float, seconds: float, count: int) -> dict[str, float]:
    """Offer a constant rate.

    Returns:
        The rate that was answered within the run, and latencies in milliseconds.
    """
    idle = deque(Connection(port) for _ in range(count))
    everyone = list(idle)
    busy: set[Connection] = set()
    latencies: list[float] = []
    total = max(1, round(rate * seconds))
    begun = time.perf_counter()
    end, sent, in_time = begun + seconds, 0, 0
    while True:
        now = time.perf_counter()
        while sent < total and idle and begun + sent / rate <= now:
            connection = idle.popleft()
            connection.send(request, begun + sent / rate)
            busy.add(connection)
            sent += 1
        saturated = now - (begun + sent / rate) > 1
        if (sent == total and not busy) or saturated or now > end + LAST_ANSWERS_SECONDS:
            break
        wait = begun + sent / rate - now if sent < total and idle else 0.05
        for connection in select.select(list(busy), [], [], max(0.0, wait))[0]:
            if connection.answered():
                arrived = time.perf_counter()
                latencies.append(arrived - connection.due)
                in_time += arrived <= end
                busy.discard(connection)
                idle.append(connection)
    elapsed = min(time.perf_counter() - begun, seconds)
    for connection in everyone:
        connection.close()
    return {
        "offered": rate,
        "answered": in_time / elapsed,
        "p50_ms": percentile(latencies, 50) * 1e3,
        "p99_ms": percentile(latencies, 99) * 1e3,
    }


def percentile(values: list[float], share: float) -> float:
    """The smallest value that this share, in per cent, of the values does not exceed."""
    ordered = sorted(values) or [0.0]
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]


def main() -> None:
    """Run what the command line says."""
    port, path, body, rate, seconds, count, *headers = sys.argv[1:]
    request = request_bytes(int(port), path, Path(body).read_bytes(), headers)
    print(json.dumps(run(int(port), request, float(rate), float(seconds), int(count))))


if __name__ == "__main__":
    main()
