"""Ask Python code that lives in an environment of its own: the rendered service's, or Azure's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any


def run(python: Path, folder: Path, code: str, given: object) -> Any:
    """What a program prints as JSON, given JSON on its standard input.

    Args:
        python: the interpreter of its environment.
        folder: where it runs.
        code: the program.
        given: what it reads.

    Raises:
        AssertionError: it failed; with the end of what it said.
    """
    done = subprocess.run(
        [str(python), "-c", code],
        cwd=folder,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)
