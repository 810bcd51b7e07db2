"""Commands in a Python that has none of the project's packages."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.engine.project import ROOT


@pytest.mark.parametrize(
    ("command", "environment"),
    [
        ("engine.deploy", ".deploy"),
        ("engine.deploy.image", ".deploy"),
        ("engine.load", ".dev"),
        ("engine.packaging", ".train"),
        ("engine.packaging.archive", ".train"),
        ("engine.packaging.versions", ".serve"),
        ("engine.serving", ".serve"),
    ],
)
def test_a_command_says_which_environment_it_needs(command: str, environment: str) -> None:
    # -S leaves out the packages that were installed, as in the Python of the system.
    done = subprocess.run(
        [sys.executable, "-S", "-m", command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    [line] = done.stderr.splitlines()
    assert f"run `make .venv/{environment}`, then `.venv/bin/python -m {command}`" in line
