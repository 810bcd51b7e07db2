"""The checkers of workflows, in the versions that are locked; installed once, into build/."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = REPOSITORY / "build"
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
ACT = "github.com/nektos/act@v0.2.89"


def python_tools(service: Path) -> Path:
    """The folder of programs of the service's requirements/ci.txt, kept by the lock's hash."""
    lock = service / "requirements" / "ci.txt"
    key = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    venv = BUILD / f"ci-venv-{key}"
    if not (venv / ".complete").exists():
        uv = Path(sys.executable).parent / "uv"
        subprocess.run([uv, "venv", "--quiet", "--clear", "-p", sys.executable, venv], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "-p", venv, "--require-hashes", "-r", lock],
            check=True,
        )
        (venv / ".complete").touch()
    return venv / "bin"


def go_tool(module: str) -> Path | None:
    """A program built from a Go module at a fixed version, whose hash Go itself verifies.

    None where Go is missing; a machine that must run everything (CI is set) has it.
    """
    name = module.rpartition("@")[0].rpartition("/")[2]
    folder = BUILD / "go" / module.rpartition("@")[2]
    program = folder / name
    if not program.exists():
        go = shutil.which("go")
        if go is None:
            return None
        environment = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-trimpath"}
        subprocess.run([go, "install", module], check=True, env=environment)
    return program
