"""Read a model package from disk and verify it, before any of it is interpreted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.serving.errors import PackageError
from engine.serving.package.digest import file_sha256, package_digest
from engine.serving.package.golden import Golden, read_golden
from engine.serving.package.manifest import Manifest, read_manifest


@dataclass(frozen=True, slots=True)
class Package:
    """A verified package. ``digest`` is the manifest's sha256, which covers every file's."""

    directory: Path
    manifest: Manifest
    golden: Golden
    digest: str

    @property
    def model_path(self) -> Path:
        """The model file."""
        return self.directory / self.manifest.model_file


def read_package(directory: Path) -> Package:
    """Read one package; nothing in it has been loaded or unpickled yet.

    Raises:
        PackageError: a file is missing, truncated or altered, or the manifest is wrong.
    """
    manifest = read_manifest(directory)
    for name, entry in manifest.files.items():
        _verify(directory / name, entry.sha256, entry.bytes)
    golden = read_golden(directory, manifest)
    return Package(directory, manifest, golden, package_digest(directory))


def _verify(path: Path, sha256: str, size: int) -> None:
    try:
        actual_size = path.stat().st_size
        actual = file_sha256(path)
    except OSError as error:
        raise PackageError(f"{path}: cannot be read: {error.strerror}") from None
    if actual_size != size:
        raise PackageError(
            f"{path}: has {actual_size} bytes and the manifest says {size}; copy it again "
            "(with Git LFS: `git lfs pull`)"
        )
    if actual != sha256:
        raise PackageError(
            f"{path}: its sha256 is {actual[:12]}… and the manifest says {sha256[:12]}…; the "
            "file was altered: restore it, or package the model again"
        )
