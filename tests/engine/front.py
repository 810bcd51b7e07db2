"""A server in front of the real service that passes everything on and changes one thing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import httpx

LOST = 0
"""Status of an answer that never comes: the connection ends."""

KEPT_HEADERS = ("content-type", "inference-header-content-length", "retry-after")


@dataclass(frozen=True)
class Asked:
    """One request; ``position`` counts from 0."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    position: int


@dataclass(frozen=True)
class Answer:
    """What goes back to the client, after some seconds."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def with_json(self, **changed: Any) -> Answer:
        """The same answer with some keys of its JSON object changed."""
        return replace(self, body=json.dumps(json.loads(self.body) | changed).encode())


Change = Callable[[Asked, Answer], Answer]


@dataclass
class Front:
    """Where it listens, and what it was asked."""

    url: str
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def front_of(url: str, change: Change) -> Iterator[Front]:
    """A server on 127.0.0.1 that asks ``url`` and answers with what ``change`` makes of it."""
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self._answer(b"")

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def _answer(self, body: bytes) -> None:
                headers = dict(self.headers.items())
                # A client that takes this server for its proxy sends the whole address.
                path = urlsplit(self.path).path
                asked = Asked(self.command, self.path, headers, body, len(front.asked))
                front.asked.append(asked)
                headers = {name: headers[name] for name in headers if name.lower() != "host"}
                real = client.request(self.command, path, content=body, headers=headers)
                kept = {name: real.headers[name] for name in KEPT_HEADERS if name in real.headers}
                answer = change(asked, Answer(real.status_code, real.content, kept))
                time.sleep(answer.seconds)
                if answer.status == LOST:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        front = Front(f"http://127.0.0.1:{server.server_address[1]}")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield front
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
