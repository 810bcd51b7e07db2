"""A registry for the images of a test, from which they are pulled by their digest."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from tests.engine.kubernetes.control_plane import free_ports
from tests.service.containers import docker, remove_image

SECONDS = 10


class Registry:
    """Debian's docker-registry; use it as a context manager.

    Attributes:
        server: its address, with which the names of its images begin.
    """

    def __init__(self, folder: Path) -> None:
        (self._port,) = free_ports(1)
        self.server = f"localhost:{self._port}"
        self._names: list[str] = []
        self._file = folder / "registry.json"
        settings = {  # JSON is YAML
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
            "http": {"addr": f"127.0.0.1:{self._port}"},
        }
        self._file.write_text(json.dumps(settings), encoding="utf-8")

    def __enter__(self) -> Registry:
        """Start it."""
        program = shutil.which("docker-registry") or "registry"
        self._process = subprocess.Popen(
            [program, "serve", self._file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        give_up = time.monotonic() + SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port)).close()
                return self
            except OSError:
                assert time.monotonic() < give_up, f"{program} does not start"
                time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Stop it; the names of its images go with it."""
        remove_image(*self._names)
        self._process.kill()
        self._process.wait()

    def push(self, image: str, name: str) -> str:
        """Put a local image there; its name by digest."""
        named = f"{self.server}/iris:{name}"
        docker("tag", image, named)
        docker("push", "--quiet", named)
        shown = json.loads(docker("image", "inspect", named))[0]["RepoDigests"]
        found = next(str(each) for each in shown if each.startswith(self.server))
        self._names += [named, found]
        return found
