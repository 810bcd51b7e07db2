"""Microsoft's parser of Kusto, installed from a lock with hashes and kept in build/."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import BUILD

HERE = Path(__file__).resolve().parent
LOCKED = ("package.json", "package-lock.json")
PACKAGE = Path("node_modules", "@kusto", "language-service-next")
SECONDS = 300

Judge = Callable[[Mapping[str, str], Mapping[str, str]], dict[str, Any]]


@pytest.fixture(scope="session")
def parser() -> Path:
    """The folder of the parser; it is installed when it is not there, or another one."""
    if os.environ.get("ACI_ML_AZURE_TOOLS") == "absent":
        pytest.skip("npm cannot be had on this machine: see the log above")
    if not shutil.which("npm"):
        pytest.fail("no npm: run `scripts/azure_tools.sh install`, or install Node.js", False)
    lock = (HERE / "package-lock.json").read_bytes()
    folder = BUILD / f"kusto-{hashlib.sha256(lock).hexdigest()[:12]}"
    stamp = folder / ".complete"
    if not stamp.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in LOCKED:
            shutil.copy(HERE / name, folder / name)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        subprocess.run(command, cwd=folder, check=True, timeout=SECONDS)
        stamp.touch()
    return folder / PACKAGE


@pytest.fixture(scope="session")
def judge(parser: Path) -> Judge:
    """Asks about queries over tables: by query its ``diagnostics`` and its result's ``columns``."""

    def ask(tables: Mapping[str, str], queries: Mapping[str, str]) -> dict[str, Any]:
        done = subprocess.run(
            ["node", str(HERE / "check.js"), str(parser)],
            input=json.dumps({"tables": dict(tables), "queries": dict(queries)}),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        answers: dict[str, Any] = json.loads(done.stdout)
        return answers

    return ask
