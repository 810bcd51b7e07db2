"""Where everything runs: the service rendered from the working tree, one environment per lock."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
UV = Path(sys.executable).parent / "uv"
INSTALL_SECONDS = 600


class CannotInstallError(Exception):
    """An environment cannot be made here; the message says why."""


def render_service(output: Path, template: Path = ROOT) -> Path:
    """Render the service with the default answers, as the template's working tree has it now."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "cookiecutter", "--no-input", "--output-dir"]
    # Next steps for a user, which the hook prints, are not for this one.
    subprocess.run([*command, output, template], check=True, stdout=subprocess.DEVNULL)
    (service,) = output.iterdir()
    return service


def environment(name: str, lock: Path) -> Path:
    """The folder of an environment with a lock installed; kept in build/ by the lock's hash.

    Raises:
        CannotInstallError: the packages cannot be installed on this machine.
    """
    key = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    venv = BUILD / f"{name}-{key}"
    stamp = venv / ".complete"
    if not stamp.exists():
        print(f"bench: installing {name} ({pinned(lock)} locked packages)", flush=True)
        _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(venv))
        install = ["pip", "install", "--quiet", "--python", str(venv), "--require-hashes"]
        _uv(*install, "--only-binary", ":all:", "-r", str(lock))
        stamp.touch()
    return venv


def pinned(lock: Path, package: str = "") -> str:
    """The version of a package in a lock; without a name, the number of packages."""
    pins = dict(
        line.split(" ")[0].split("==")
        for line in lock.read_text(encoding="utf-8").splitlines()
        if "==" in line and not line.startswith((" ", "#"))
    )
    return pins[package] if package else str(len(pins))


def installed_megabytes(venv: Path) -> float:
    """Size of what a lock installs, in MB (10**6 bytes), without the byte code of first use."""
    files = (path for path in (venv / "lib").rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if path.suffix != ".pyc") / 1e6


def _uv(*arguments: str) -> None:
    try:
        done = subprocess.run(
            [UV, *arguments], capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotInstallError(str(error)) from None
    if done.returncode != 0:
        raise CannotInstallError(done.stderr.strip())
