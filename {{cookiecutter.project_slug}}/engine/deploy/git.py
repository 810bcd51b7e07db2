"""git, asked about the checkout."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from engine.errors import EngineError

_ABSENT = ("not a git repository", "No such remote")
_WAY_OUT = "git config --global --add safe.directory"


class NothingThere(Exception):
    """There is no git, no repository, or not what was asked for in it."""


def ask(root: Path, *arguments: str) -> str:
    """Return what git prints, without white space at its ends.

    Raises:
        NothingThere: no git program, no repository, or git has no answer.
        EngineError: git refuses to work here, in git's own words.
    """
    try:
        done = subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607 - git of PATH
            cwd=root,
            # Messages are recognised in English.
            env={**os.environ, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        raise NothingThere from None
    if done.returncode == 0:
        return done.stdout.strip()
    words = done.stderr.strip().splitlines()
    if not words or any(each in done.stderr for each in _ABSENT):
        raise NothingThere
    fix = next((line.strip() for line in words if _WAY_OUT in line), "see what `git status` says")
    raise EngineError(f"git: {words[0].removeprefix('fatal: ')}", fix)
