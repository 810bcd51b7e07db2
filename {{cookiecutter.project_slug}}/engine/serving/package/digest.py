"""Digests of model packages. Standard library only: a build asks for them before installing."""

from __future__ import annotations

import hashlib
from pathlib import Path

from engine.serving.errors import PackageError

MANIFEST = "model.yaml"


def find_packages(models_dir: Path) -> list[Path]:
    """The folders that hold a manifest, sorted by name.

    Raises:
        PackageError: there is no such folder, or none in it is a package.
    """
    try:
        found = sorted(path.parent for path in models_dir.glob(f"*/{MANIFEST}"))
    except OSError as error:
        raise PackageError(f"{models_dir}: cannot be read: {error.strerror}") from None
    if not found:
        raise PackageError(
            f"no model package in {models_dir.resolve()}: expected <name>/{MANIFEST}; "
            "set MODELS_DIR, or make one with `make train`"
        )
    return found


def package_digest(directory: Path) -> str:
    """The sha256 of the manifest, which holds the sha256 of every other file."""
    return file_sha256(directory / MANIFEST)


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def models_digest(models_dir: Path) -> str:
    """One sha256 over all packages of a folder; two equal digests mean equal models.

    Raises:
        PackageError: there is no package.
    """
    return digest_of(find_packages(models_dir))


def digest_of(packages: list[Path]) -> str:
    """One sha256 over packages that were found, wherever they lie."""
    lines = [f"{package_digest(path)}  {path.name}\n" for path in packages]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
