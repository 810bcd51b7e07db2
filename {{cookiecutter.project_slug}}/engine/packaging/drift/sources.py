"""The places whose versions are compared: lock, this environment, image."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.deploy.docker import DockerError, client
from engine.serving.environment import Environment

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)")
IMAGE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Lock:
    """Locked versions; a package may have several, for different versions of Python."""

    path: Path
    python: str
    pins: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def one_each(self) -> dict[str, str]:
        """A version for each package, the newest where there are several."""
        return {name: max(versions) for name, versions in self.pins.items()}


def read_lock(path: Path, python_file: Path) -> Lock:
    """Read the pins of a lock, and the Python that the image will have."""
    pins: dict[str, set[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        match = PIN.match(line)
        if match:
            pins.setdefault(match[1].lower().replace("_", "-"), set()).add(match[2])
    python = python_file.read_text(encoding="utf-8").strip() if python_file.exists() else ""
    return Lock(path, python, {name: frozenset(versions) for name, versions in pins.items()})


def image_environment(image: str) -> Environment:
    """What an image holds, asked inside of it.

    Raises:
        DockerError: docker or the image is missing, or the image does not answer.
    """
    command = [client(), "run", "--rm", "--network", "none", "--entrypoint", "python", image]
    command += ["-m", "engine.serving.environment"]
    try:
        done = subprocess.run(  # noqa: S603 - arguments as a list
            command, capture_output=True, text=True, timeout=IMAGE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise DockerError(f"{image}: does not answer within {IMAGE_SECONDS} s") from None
    if done.returncode != 0:
        words = done.stderr.strip().splitlines()
        raise DockerError(f"{image}: cannot be asked: {words[-1] if words else 'no answer'}")
    return Environment(**json.loads(done.stdout))
