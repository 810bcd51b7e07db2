"""Images and containers for the tests: made with the docker client, always put away again.

Standard library only. Every name is unique and every container carries a label, so that what a
killed run leaves behind can be found: docker ps --all --filter label=io.github.aci-ml-template.test
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
LABEL = "io.github.aci-ml-template.test"
PORT = 8000
HARDENED = (
    *("--read-only", "--tmpfs", "/tmp"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
)
"""What the README and `make run-image` use; a container group in Azure gives no more."""


def docker_client() -> str:
    """The client to use: DOCKER, else what scripts/docker_engine.sh chose, else "docker"."""
    if chosen := os.environ.get("DOCKER"):
        return chosen
    try:
        line = (REPOSITORY / "build" / "docker.env").read_text(encoding="utf-8")
    except OSError:
        return "docker"
    return line.strip().removeprefix("DOCKER=")


def docker(*arguments: str, check: bool = True, timeout: float = 120) -> str:
    """Run the client and return what it printed, both streams together.

    Raises:
        AssertionError: it failed, and ``check`` is set; with its output.
    """
    done = subprocess.run(
        [docker_client(), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}:\n{done.stdout}"
    return done.stdout.strip()


def remove_image(*tags: str) -> None:
    """Remove images, if they are there, and no layers that another test may be building upon.

    Without ``--no-prune`` the engine removes untagged parents too, also those that a build beside
    this one has just taken from the cache: "No such image: sha256:...".
    """
    docker("image", "rm", "--force", "--no-prune", *tags, check=False)


@contextmanager
def unused_image_name() -> Iterator[str]:
    """A tag that nobody else has; the image that got it, if one did, is removed at the end."""
    tag = f"aci-ml-template-test:{uuid.uuid4().hex[:12]}"
    try:
        yield tag
    finally:
        remove_image(tag)


def build_image(
    service: Path, tag: str, accelerator: str, timeout: float = 900
) -> subprocess.CompletedProcess[str]:
    """Build through the service's own `engine.deploy.image`, as `make image` does."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "engine.deploy.image",
            "build",
            "--accelerator",
            accelerator,
            "--tag",
            tag,
        ],
        cwd=service,
        env={**os.environ, "DOCKER": docker_client()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )


@contextmanager
def built_image(service: Path, accelerator: str) -> Iterator[str]:
    """An image of a service, removed at the end. Its layers stay in the builder's cache."""
    with unused_image_name() as tag:
        done = build_image(service, tag, accelerator)
        assert done.returncode == 0, done.stdout[-6000:]
        yield tag


def image_config(image: str) -> dict[str, Any]:
    """The image's configuration: user, environment, labels, command."""
    config: dict[str, Any] = json.loads(docker("image", "inspect", image))[0]["Config"]
    return config


def in_image(image: str, *command: str) -> str:
    """Run one command in an image, without network, and return what it printed."""
    return docker("run", "--rm", "--network", "none", "--label", LABEL, *HARDENED, image, *command)


def distributions(image: str) -> list[str]:
    """The names of the Python distributions in an image, in small letters, sorted."""
    program = (
        "import json; from importlib.metadata import distributions; "
        "print(json.dumps(sorted(each.name.lower() for each in distributions())))"
    )
    names: list[str] = json.loads(in_image(image, "python", "-c", program))
    return names


@dataclass(frozen=True)
class Container:
    """A container that was started; ``port`` is the service's on 127.0.0.1."""

    name: str
    port: int
    started: float

    def connect(self, timeout: float = 10) -> http.client.HTTPConnection:
        """A connection of the caller's own, kept alive between requests."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def get(self, path: str) -> tuple[int, Any]:
        """GET a JSON document: status and content."""
        return self._ask("GET", path, None)

    def post(self, path: str, content: object) -> tuple[int, Any]:
        """POST a JSON document: status and content."""
        return self._ask("POST", path, json.dumps(content))

    def seconds_until_ready(self, timeout: float = 30) -> float:
        """Wait for readiness; the time since `docker run` was typed.

        Raises:
            AssertionError: it ended, or was not ready in time; with its log.
        """
        while time.monotonic() < self.started + timeout:
            try:
                if self.get("/readyz")[0] == 200:
                    return time.monotonic() - self.started
            except (OSError, http.client.HTTPException):
                assert self.state()["Running"], f"{self.name} ended:\n{self.logs()}"
            time.sleep(0.02)
        raise AssertionError(f"{self.name} is not ready after {timeout} s:\n{self.logs()}")

    def exit_code(self, timeout: float = 30) -> int:
        """Wait for the end."""
        return int(docker("wait", self.name, timeout=timeout))

    def state(self) -> dict[str, Any]:
        """Docker's view of the process."""
        state: dict[str, Any] = json.loads(docker("inspect", self.name))[0]["State"]
        return state

    def logs(self) -> str:
        """What it printed so far."""
        return docker("logs", self.name, check=False)

    def causes(self, words: str) -> list[str]:
        """The lines of the log with these words.

        Raises:
            AssertionError: the log shows a stack, which tells the person at night nothing.
        """
        log = self.logs()
        assert "Traceback" not in log, log
        return [line for line in log.splitlines() if words in line]

    def _ask(self, method: str, path: str, body: str | None) -> tuple[int, Any]:
        connection = self.connect()
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


@contextmanager
def running(image: str, *options: str) -> Iterator[Container]:
    """A container of an image on a free port of 127.0.0.1, removed at the end."""
    name = f"aci-ml-template-test-{uuid.uuid4().hex[:12]}"
    started = time.monotonic()
    try:
        docker(
            *("run", "--detach", "--name", name, "--label", LABEL),
            *("--publish", f"127.0.0.1::{PORT}", *options, image),
        )
        # Docker knows the port only while the process lives; one that ended at once needs none.
        port = docker("port", name, str(PORT), check=False).rpartition(":")[2]
        yield Container(name, int(port) if port.isdigit() else 0, started)
    finally:
        docker("rm", "--force", "--volumes", name, check=False)
