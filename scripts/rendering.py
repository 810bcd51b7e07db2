"""Render the template for a script, which has words of its own for what comes next."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def render(output: str | Path, **answers: str) -> Path:
    """The folder of a new project with these answers, in a folder without other projects.

    Raises:
        SystemExit: cookiecutter failed, with its output.
    """
    before = set(Path(output).iterdir())
    command = [sys.executable, "-m", "cookiecutter", "--no-input", "--output-dir", str(output)]
    command += [str(ROOT), *(f"{name}={value}" for name, value in answers.items())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: cookiecutter failed\n{done.stdout}{done.stderr}")
    (project,) = set(Path(output).iterdir()) - before
    return project
