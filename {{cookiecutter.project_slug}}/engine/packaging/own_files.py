"""Files that code of the model's own reads: `--file tokenizer.json`."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from engine.serving.errors import PackageError
from engine.serving.package.manifest import FileName

# Each start reads and compares all of them.
MOST_FILES = 100
MOST_BYTES = 2**31
NAME = TypeAdapter(FileName)


def collect(paths: Iterable[Path], taken: Iterable[str]) -> dict[str, Path]:
    """The files by their names in the package.

    Args:
        paths: of files.
        taken: names that the package has already.

    Raises:
        PackageError: no file, one that is too large, or a name that cannot be used.
    """
    found: dict[str, Path] = {}
    # Not every file system tells upper and lower case apart.
    names = {name.lower() for name in taken}
    for path in paths:
        fault = _fault(path, names)
        if len(found) == MOST_FILES:
            fault = f"is one more than the {MOST_FILES} files that a package may have of its own"
        if fault:
            raise PackageError(f"--file {path}: {fault}")
        found[path.name] = path
        names.add(path.name.lower())
    return found


def _fault(path: Path, names: set[str]) -> str:
    try:
        status = path.stat()
        NAME.validate_python(path.name)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValidationError:
        return (
            "its name must have letters, digits, '.', '_' and '-' only, and begin with a letter, a "
            "digit or '_'; rename it"
        )
    if not stat.S_ISREG(status.st_mode):
        return "is not a file; give each file of a folder with a --file of its own"
    if status.st_size > MOST_BYTES:
        return f"has {status.st_size} bytes, and a package takes files up to {MOST_BYTES}"
    if path.name.lower() in names:
        return "the package has another file of this name; rename one of them"
    return ""
