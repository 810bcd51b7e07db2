"""Microsoft's parser of Kusto, installed from a lock with hashes and kept in build/."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.once import BUILD, once

HERE = Path(__file__).resolve().parent
LOCKED = ("package.json", "package-lock.json")
PACKAGE = Path("node_modules", "@kusto", "language-service-next")
SECONDS = 300

Tables = Mapping[str, str]
Judge = Callable[[Sequence[Tables], Mapping[str, str]], list[dict[str, Any]]]


@pytest.fixture(scope="session")
def parser() -> Path:
    """The folder of the parser; it is installed when it is not there, or another one."""
    if os.environ.get("ACI_ML_AZURE_TOOLS") == "absent":
        pytest.skip("npm cannot be had on this machine: see the log above")
    if not shutil.which("npm"):
        pytest.fail("no npm: run `scripts/azure_tools.sh install`, or install Node.js", False)
    lock = (HERE / "package-lock.json").read_bytes()
    folder = BUILD / f"kusto-{hashlib.sha256(lock).hexdigest()[:12]}"
    with once(folder) as missing:
        if missing:
            folder.mkdir(exist_ok=True)
            for name in LOCKED:
                shutil.copy(HERE / name, folder / name)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
            subprocess.run(command, cwd=folder, check=True, timeout=SECONDS)
    return folder / PACKAGE


@pytest.fixture(scope="session")
def judge(parser: Path) -> Judge:
    """Asks about queries in workspaces with these tables, one answer for each workspace: by query
    its ``diagnostics`` and its result's ``columns``.
    """

    def ask(workspaces: Sequence[Tables], queries: Mapping[str, str]) -> list[dict[str, Any]]:
        cases = [{"tables": dict(each), "queries": dict(queries)} for each in workspaces]
        done = subprocess.run(
            ["node", str(HERE / "check.js"), str(parser)],
            input=json.dumps(cases),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        answers: list[dict[str, Any]] = json.loads(done.stdout)
        return answers

    return ask
