"""What is made once and kept in build/, also when several test processes ask for it together."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUILD = Path(__file__).resolve().parents[1] / "build"
UV = str(Path(sys.executable).parent / "uv")


@contextmanager
def once(folder: Path) -> Iterator[bool]:
    """Whether the folder has to be made now, which the caller then does.

    Another process that asks meanwhile waits. A folder that was not finished is made anew.
    """
    stamp = folder / ".complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = not stamp.exists()
        yield missing
        if missing:
            stamp.touch()


def installed(name: str, *locks: Path) -> Path:
    """The folder of programs of an environment with these locks installed, kept by their hash."""
    content = b"".join(lock.read_bytes() for lock in locks) + sys.version.encode()
    venv = BUILD / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}"
    with once(venv) as missing:
        if missing:
            make = [UV, "venv", "--quiet", "--clear", "--python", sys.executable, str(venv)]
            subprocess.run(make, check=True)
            install("--python", str(venv), *locked(*locks))
    return venv / "bin"


def install(*arguments: str) -> None:
    """Install wheels whose hashes a lock holds."""
    options = ["--quiet", "--compile-bytecode", "--require-hashes", "--only-binary", ":all:"]
    subprocess.run([UV, "pip", "install", *options, *arguments], check=True)


def locked(*locks: Path) -> list[str]:
    """Locks as arguments of ``install``."""
    return [argument for lock in locks for argument in ("-r", str(lock))]
