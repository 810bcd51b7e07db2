"""The Docker engine's HTTP API on its Unix socket: where it is, one request, its errors."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from typing import Any

API_VERSION = "v1.41"
REQUEST_SECONDS = 600.0
FRAME_HEADER = 8


class EngineError(Exception):
    """Docker refused or is not there; ``status`` is its HTTP status, 0 without an answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def socket_path() -> str:
    """Where the engine listens: DOCKER_HOST, or what the docker client's context says.

    Raises:
        EngineError: it is not a Unix socket.
    """
    host = os.environ.get("DOCKER_HOST") or _context_host() or "unix:///var/run/docker.sock"
    if not host.startswith("unix://"):
        raise EngineError(f"the double needs a Docker engine on a Unix socket, and it is at {host}")
    return host.removeprefix("unix://")


def _context_host() -> str:
    client = shutil.which(os.environ.get("DOCKER") or "docker")
    if client is None:
        return ""
    command = [client, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def request(
    path: str, method: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """One request, and the whole answer.

    Raises:
        EngineError: nothing answers at ``path``, or the engine refuses.
    """
    connection = _SocketConnection(path, REQUEST_SECONDS)
    content = None if body is None else json.dumps(body)
    sent = {"Content-Type": "application/json", **(headers or {})}
    try:
        connection.request(method, f"/{API_VERSION}{target}", content, sent)
        answer = connection.getresponse()
        data = answer.read()
    except OSError as problem:
        raise EngineError(f"no Docker engine answers at {path}: {problem}") from problem
    finally:
        connection.close()
    if answer.status >= 300:
        raise EngineError(_message(data) or f"status {answer.status}", answer.status)
    return data


def without_frames(raw: bytes) -> bytes:
    """A container's log without its frames: one byte of stream, the size at 4, then the text."""
    parts = []
    while len(raw) >= FRAME_HEADER:
        end = FRAME_HEADER + int.from_bytes(raw[4:FRAME_HEADER], "big")
        parts.append(raw[FRAME_HEADER:end])
        raw = raw[end:]
    return b"".join(parts)


class _SocketConnection(http.client.HTTPConnection):
    """An HTTP connection over the engine's Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Open the socket; http.client calls it before the first request."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError):
        return data.decode(errors="replace")
