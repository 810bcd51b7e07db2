"""Files of a model's own, such as that of a tokenizer: ``model_code.py`` reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from engine.serving.errors import PackageError

_FILES: ContextVar[Mapping[str, Path] | None] = ContextVar("files of the package", default=None)


def package_file(name: str) -> Path:
    """The path of a file of the package: `package_file("tokenizer.json")`.

    It is for the code outside the functions of ``model_code.py``, which runs once, when the model
    is loaded. At that moment the file has been compared with the manifest.

    Args:
        name: of a file that `--file` put into the package, without folders.

    Raises:
        PackageError: the package has no such file, or no package is being loaded.
    """
    files = _FILES.get()
    if files is None:
        raise PackageError(
            f"package_file({name!r}) is called in a function or outside a package; call it at the "
            "top of model_code.py, and keep what is read in a variable"
        )
    if name not in files:
        raise PackageError(
            f"package_file({name!r}): the package has no such file; package the model with "
            f"--file {name}, as often as there are files"
        )
    return files[name]


@contextmanager
def readable(files: Mapping[str, Path]) -> Iterator[None]:
    """Let ``package_file`` find these files, by name."""
    token = _FILES.set(files)
    try:
        yield
    finally:
        _FILES.reset(token)
