"""Test the machinery in a rendered service: `python -m scripts.test_engine ARGUMENT...`.

The arguments are pytest's. The tests run in the environment of the rendered project's development
lock, which is kept in build/, and in its folder; none of them reads the project's models.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.rendering import render
from tests.once import installed

REPOSITORY = Path(__file__).resolve().parents[1]
TESTS = REPOSITORY / "tests" / "engine"


def main(arguments: list[str]) -> int:
    """Run them; the exit code of pytest."""
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        project = render(folder)
        python = installed("service-venv", project / "requirements" / "dev.txt") / "python"
        # The conftest.py of the folders above need the environment of the template.
        where: list[str | Path] = [
            "-c",
            REPOSITORY / "pyproject.toml",
            "--confcutdir",
            TESTS,
            TESTS,
        ]
        command = [python, "-m", "pytest", "-p", "no:cacheprovider", *where, *arguments]
        return subprocess.run(command, cwd=project, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
