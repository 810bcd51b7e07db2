"""Adds a file to a package that is in its place."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import yaml

from engine.packaging.write import HEADER, file_entry
from engine.serving.package.digest import MANIFEST
from engine.serving.package.reader import read_package


def put_file(folder: Path, name: str, content: bytes) -> Path:
    """Add the file, or replace it, in a copy of the package that then takes its place.

    Returns:
        The folder.

    Raises:
        PackageError: the package would not be right; nothing has changed.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as scratch:
        fresh = Path(scratch) / folder.name
        shutil.copytree(folder, fresh, copy_function=_link)
        for each in (name, MANIFEST):
            (fresh / each).unlink(missing_ok=True)
        (fresh / name).write_bytes(content)
        manifest = yaml.safe_load((folder / MANIFEST).read_text(encoding="utf-8"))
        manifest["files"][name] = file_entry(fresh / name)
        text = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=100)
        (fresh / MANIFEST).write_text(HEADER + text, encoding="utf-8")
        read_package(fresh)
        old = Path(scratch) / "old"
        folder.rename(old)
        try:
            fresh.rename(folder)
        except OSError:
            old.rename(folder)
            raise
    return folder


def _link(source: str, target: str) -> None:
    """The same file under another name, where the file system has that."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
