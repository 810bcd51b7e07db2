"""One sentence instead of a stack where a command is started in a Python without its packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def locked_packages(target: str, command: str) -> Iterator[None]:
    """Import what a command needs.

    Args:
        target: The target of the Makefile that installs the packages.
        command: What follows `python -m`.

    Raises:
        SystemExit: A package is not installed; with the command that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] == "engine":
            raise
        sys.exit(
            f"error: {sys.executable} has no package {error.name!r}: run `make {target}`, then "
            f"`.venv/bin/python -m {command}`"
        )
