"""A command in a Python without the locked packages says how to install them."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMANDS = {
    "engine.serving": ".venv/.serve",
    "engine.packaging": ".venv/.train",
    "engine.deploy": ".venv/.deploy",
    "engine.load": ".venv/.dev",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_missing_is_said_in_one_sentence(command: str) -> None:
    """Python's option -S leaves out what is installed."""
    done = subprocess.run(
        [sys.executable, "-S", "-m", command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {sys.executable} has no package ")
    assert line.endswith(f"run `make {COMMANDS[command]}`, then `.venv/bin/python -m {command}`")
