"""Digests of model packages and `service.py`, which together decide what is answered.

Standard library only: a build asks for them before installing.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from engine.serving.errors import PackageError

MANIFEST = "model.yaml"
SERVICE_FILE = Path(__file__).resolve().parents[3] / "service.py"


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
    """``digest_of`` all packages of a folder.

    Raises:
        PackageError: there is no package.
    """
    return digest_of(find_packages(models_dir))


def digest_of(packages: list[Path], service_file: Path = SERVICE_FILE) -> str:
    """One sha256 over packages, wherever they lie, and `service.py`, if there is one.

    Two equal digests mean equal answers.
    """
    lines = [f"{package_digest(path)}  {path.name}\n" for path in packages]
    if service_file.exists():
        lines.append(f"{text_sha256(service_file)}  {service_file.name}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def text_sha256(path: Path) -> str:
    """The sha256 of a text, the same for the line ends of every system."""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
