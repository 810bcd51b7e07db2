"""One sentence instead of a stack where a command is started in a Python without its packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def locked_packages(target: str) -> Iterator[None]:
    """Import what a command needs.

    Args:
        target: The target of the Makefile that installs the packages.

    Raises:
        SystemExit: A package of a command is not installed; with what installs it.
        ModuleNotFoundError: The same where no command of the engine runs, as in a notebook.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        command = spec.name.removesuffix(".__main__") if spec else ""
        if not command.startswith("engine."):
            raise
        sys.exit(
            f"error: {sys.executable} has no package {error.name!r}: run `make {target}`, then "
            f"`.venv/bin/python -m {command}`"
        )
