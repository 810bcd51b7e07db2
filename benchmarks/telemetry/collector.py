"""A collector that takes whatever is exported and keeps nothing: a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks import processes

ROOT = Path(__file__).resolve().parents[2]


class Swallow(BaseHTTPRequestHandler):
    """Answers each POST with 200, which is what OTLP over HTTP calls success."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read it all and say so."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def collecting(scratch: Path) -> Iterator[str]:
    """The address of a collector that runs until the block ends."""
    (port,) = processes.free_ports(1)
    command = [sys.executable, "-m", "benchmarks.telemetry.collector", str(port)]
    with processes.running(command, ROOT, {}, scratch / "collector.log"):
        yield f"http://127.0.0.1:{port}"


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Swallow).serve_forever()
