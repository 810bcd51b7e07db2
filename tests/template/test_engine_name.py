"""`engine` is an import name of the generated project alone: no locked package brings one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

FOUND = """
import importlib.util, json
print(json.dumps([name for name in ("engine", "yaml") if importlib.util.find_spec(name)]))
"""


def found(python: Path, folder: Path) -> list[str]:
    """Which of some modules an environment has, seen from an empty folder."""
    command: list[str | Path] = [python, "-c", FOUND]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    names: list[str] = json.loads(done.stdout)
    return names


def test_no_locked_package_has_a_module_of_that_name(service_python: Path, tmp_path: Path) -> None:
    """dev.txt holds what serves, trains, deploys and checks workflows."""
    names = found(service_python, tmp_path)
    assert "yaml" in names
    assert "engine" not in names
