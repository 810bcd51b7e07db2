"""The lock of what is served: the versions that the image will have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
REQUIREMENTS = ROOT / "requirements"
SERVE_LOCK = REQUIREMENTS / "serve-cpu.txt"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)")


@dataclass(frozen=True, slots=True)
class Lock:
    """Locked versions; a package may have several, for different versions of Python."""

    path: Path
    python: str
    pins: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def one_each(self) -> dict[str, str]:
        """A version for each package, the newest where there are several."""
        return {name: max(versions) for name, versions in self.pins.items()}


def read_lock(path: Path = SERVE_LOCK, python_file: Path = ROOT / ".python-version") -> Lock:
    """Read the pins of a lock, and the Python that the image will have.

    Raises:
        OSError: the lock cannot be read.
    """
    pins: dict[str, set[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        match = PIN.match(line)
        if match:
            pins.setdefault(match[1].lower().replace("_", "-"), set()).add(match[2])
    python = python_file.read_text(encoding="utf-8").strip() if python_file.exists() else ""
    return Lock(path, python, {name: frozenset(versions) for name, versions in pins.items()})


def serving_lock() -> Lock | None:
    """The lock of this repository's service; None in an image, which has only what is in it."""
    return read_lock() if SERVE_LOCK.exists() else None


def place_of(package: str, requirements: Path = REQUIREMENTS) -> str:
    """The file where a version of a package is pinned for training.

    The training lock takes the versions of the serving lock, so what is served is pinned there.
    """
    try:
        served = read_lock(requirements / SERVE_LOCK.name).pins
    except OSError:
        served = {}
    return f"requirements/{'serve-cpu' if package in served else 'train'}.in"
