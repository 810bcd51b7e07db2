"""What a pickle says about its versions, read without unpickling it.

Unpickling runs code, and a pickle of another scikit-learn may load and answer wrongly. Every fitted
estimator writes its library's version into its state, as plain text in the stream.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zlib
from pathlib import Path
from typing import Any

import sklearn

from engine.serving.errors import PackageError
from engine.serving.package.lock import place_of
from engine.serving.runtimes.joblib_runtime import why_not_loaded

LFS_POINTER = b"version https://git-lfs"
VERSION = re.compile(rb"_sklearn_version.{1,12}?(\d+\.\d+(?:\.\w+)*)", re.DOTALL)
OPENERS = (
    (b"\x1f\x8b", gzip.decompress),
    (b"BZh", bz2.decompress),
    (b"\xfd7zXZ", lzma.decompress),
    (b"\x78", zlib.decompress),
)
PARTS = 2


def read_pickle(path: Path) -> bytes:
    """The bytes of a pickle or joblib file, checked as far as that goes without running it.

    Raises:
        PackageError: missing, a Git LFS pointer, no pickle, or made by another scikit-learn.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PackageError(f"{path}: cannot be read: {error.strerror}") from None
    if content.startswith(LFS_POINTER):
        raise PackageError(f"{path}: is a Git LFS pointer, not the model; run `git lfs pull`")
    plain = _decompressed(content, path)
    if plain[:1] != b"\x80" or plain[-1:] != b".":
        raise PackageError(f"{path}: is not a pickle, or is truncated")
    check_version(sklearn_version(plain), path)
    return content


def sklearn_version(plain: bytes) -> str | None:
    """The scikit-learn that pickled an estimator; None where the stream does not tell."""
    match = VERSION.search(plain)
    return match[1].decode() if match else None


def check_version(version: str | None, path: Path) -> None:
    """Refuse a pickle of another minor version of scikit-learn; None is not known.

    Raises:
        PackageError: it names both versions and the way out.
    """
    if version is None or version.split(".")[:PARTS] == sklearn.__version__.split(".")[:PARTS]:
        return
    raise PackageError(
        f"{path}: was pickled by scikit-learn {version} and this environment has "
        f"{sklearn.__version__}, so it is not unpickled; put scikit-learn=={version} into "
        f"{place_of('scikit-learn')} and run `make lock`, or train again"
    )


def unpickle(path: Path) -> Any:
    """Unpickle a file that ``read_pickle`` has accepted. It runs the code that the file holds.

    Raises:
        PackageError: it needs code that is not here, or is damaged.
    """
    import joblib

    try:
        return joblib.load(path)
    except AttributeError as error:
        # The attribute of the error itself is empty where pickle raises it.
        named = re.search(r"attribute '([^']+)'", str(error))
        raise PackageError(
            f"{path}: needs {named[1] if named else 'code'!r}, which it does not hold; what a "
            "notebook or a script defines is pickled by name only: write it into a file "
            "(%%writefile my_steps.py), import it from there, train again, and package with "
            "--module my_steps.py"
        ) from None
    except Exception as error:  # noqa: BLE001 - unpickling can raise anything
        raise PackageError(f"{path}: {why_not_loaded(error)}") from None


def _decompressed(content: bytes, path: Path) -> bytes:
    for magic, opener in OPENERS:
        if content.startswith(magic):
            try:
                return opener(content)
            except (OSError, EOFError, lzma.LZMAError, zlib.error):
                raise PackageError(f"{path}: is compressed and damaged, or truncated") from None
    return content
