"""The checkers of workflows, in the versions that are locked; installed once, into build/."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.once import BUILD, installed, once

ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
ACT = "github.com/nektos/act@v0.2.89"


def python_tools(service: Path) -> Path:
    """The folder of programs of the service's requirements/dev.txt, kept by the lock's hash."""
    return installed("service-venv", service / "requirements" / "dev.txt")


def go_tool(module: str) -> Path | None:
    """A program built from a Go module at a fixed version, whose hash Go itself verifies.

    None where Go is missing; a machine that must run everything (CI is set) has it.
    """
    name = module.rpartition("@")[0].rpartition("/")[2]
    go = shutil.which("go")
    if go is None:
        return None
    folder = BUILD / "go" / f"{name}-{module.rpartition('@')[2]}"
    with once(folder) as missing:
        if missing:
            variables = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-trimpath"}
            subprocess.run([go, "install", module], check=True, env=variables)
    return folder / name
