"""Render a service and run the tests of its machinery there: `python -m tests.engine ARGUMENT...`.

The arguments are pytest's. The tests run in the environment of the rendered project's development
lock, which is kept in build/, and in its folder; none of them reads the project's models.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

from tests.once import installed

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]


def main(arguments: list[str]) -> int:
    """Run them; the exit code of pytest."""
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        project = cookiecutter(str(REPOSITORY), no_input=True, output_dir=folder)
        python = installed("service-venv", Path(project) / "requirements" / "dev.txt") / "python"
        # The conftest.py of the folders above need the environment of the template.
        where = ["-c", REPOSITORY / "pyproject.toml", "--confcutdir", HERE, HERE]
        command = [python, "-m", "pytest", "-p", "no:cacheprovider", *where, *arguments]
        return subprocess.run(command, cwd=project, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
