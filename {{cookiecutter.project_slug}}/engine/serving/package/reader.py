"""Read a model package from disk and verify it, before any of it is interpreted."""

from __future__ import annotations

from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

from engine.serving.errors import PackageError
from engine.serving.package.digest import MANIFEST, file_sha256, package_digest
from engine.serving.package.golden import Golden, read_golden
from engine.serving.package.manifest import Manifest, read_manifest
from engine.serving.reference.document import REFERENCE, Reference, read_reference


@dataclass(frozen=True, slots=True)
class Package:
    """A verified package. ``digest`` is the manifest's sha256, which covers every file's."""

    directory: Path
    manifest: Manifest
    golden: Golden
    digest: str
    reference: Reference | None = None

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
    _refuse_unlisted(directory, manifest)
    golden = read_golden(directory, manifest)
    reference = read_reference(directory) if REFERENCE in manifest.files else None
    return Package(directory, manifest, golden, package_digest(directory), reference)


def _refuse_unlisted(directory: Path, manifest: Manifest) -> None:
    """A model may keep its weights in other files, and names them: those count as its own.

    Whatever lies beside it unlisted is fine as long as the model does not name it.
    """
    if manifest.format != "onnx":
        return
    model = directory / manifest.model_file
    listed = {directory / name for name in (MANIFEST, *manifest.files)}
    others = [each for each in directory.rglob("*") if each not in listed and not _is_plain(each)]
    if not others or not model.stat().st_size:
        return
    with model.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        for each in sorted(others):
            if content.find(each.name.encode()) >= 0:
                raise PackageError(
                    f"{each}: the model names this file and the manifest does not list it, so "
                    "nobody would notice a change; package the model again"
                )


def _is_plain(path: Path) -> bool:
    """A folder, and no link to one."""
    return path.is_dir() and not path.is_symlink()


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
