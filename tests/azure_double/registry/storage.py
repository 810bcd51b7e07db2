"""The files of docker-registry: its API can neither list untagged manifests nor remove a tag."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..settings import Settings

DIGEST = "sha256:"
IMAGES = "images"


def folder(settings: Settings, registry: str) -> Path:
    """Where everything of a registry lies, by its name."""
    return settings.folder / "registries" / registry.lower()


def storage(settings: Settings, registry: str) -> Storage:
    """The files of a registry, by its name."""
    return Storage(folder(settings, registry) / IMAGES)


@dataclass(frozen=True)
class Storage:
    """The folder of one registry process."""

    root: Path

    @property
    def _repositories(self) -> Path:
        return self.root / "docker" / "registry" / "v2" / "repositories"

    def repositories(self) -> list[str]:
        """The names of all repositories that have a manifest, in order."""
        found = self._repositories.rglob("_manifests")
        names = (str(each.parent.relative_to(self._repositories)) for each in found)
        return sorted(name for name in names if self.manifests(name))

    def tags(self, repository: str) -> dict[str, str]:
        """Tags with the digest that each names."""
        folder = self._repositories / repository / "_manifests" / "tags"
        links = sorted(folder.glob("*/current/link"))
        return {link.parent.parent.name: link.read_text() for link in links}

    def manifests(self, repository: str) -> list[str]:
        """The digests of all manifests, tagged or not."""
        folder = self._repositories / repository / "_manifests" / "revisions"
        return sorted(link.read_text() for link in folder.glob("sha256/*/link"))

    def untag(self, repository: str, tag: str) -> bool:
        """Remove a tag; False when there is none of that name. The manifest stays."""
        if tag not in self.tags(repository):
            return False
        shutil.rmtree(self._repositories / repository / "_manifests" / "tags" / tag)
        return True

    def remove(self, repository: str) -> None:
        """Remove a repository with all its tags and manifests."""
        shutil.rmtree(self._repositories / repository)

    def tag_entry(self, repository: str, tag: str) -> dict[str, Any]:
        """A tag as ACR lists it."""
        folder = self._repositories / repository / "_manifests" / "tags" / tag
        moment = _time(folder / "current" / "link")
        return {
            "name": tag,
            "digest": self.tags(repository)[tag],
            "createdTime": moment,
            "lastUpdateTime": moment,
            "signed": False,
            "changeableAttributes": _attributes(),
        }

    def manifest_entry(self, repository: str, digest: str) -> dict[str, Any]:
        """A manifest as ACR lists it, with its tags."""
        folder = self._repositories / repository / "_manifests" / "revisions" / "sha256"
        moment = _time(folder / digest.removeprefix(DIGEST) / "link")
        content = self.content(digest)
        config = content.get("config", {})
        platform = self.content(config["digest"]) if config else {}
        return {
            "digest": digest,
            "imageSize": sum(part["size"] for part in _parts(content)),
            "createdTime": moment,
            "lastUpdateTime": moment,
            "architecture": platform.get("architecture"),
            "os": platform.get("os"),
            "mediaType": content.get("mediaType"),
            "configMediaType": config.get("mediaType"),
            "tags": [tag for tag, named in self.tags(repository).items() if named == digest],
            "changeableAttributes": _attributes(),
        }

    def blob(self, digest: str) -> Path:
        """The file with the content of a layer, configuration or manifest."""
        name = digest.removeprefix(DIGEST)
        blobs = self.root / "docker" / "registry" / "v2" / "blobs" / "sha256"
        return blobs / name[:2] / name / "data"

    def adopt(self, repository: str, digest: str, file: Path) -> None:
        """Let a repository have a blob that lies elsewhere.

        Raises:
            OSError: there is no such file.
        """
        blob = self.blob(digest)
        if not blob.exists():
            blob.parent.mkdir(parents=True, exist_ok=True)
            place(file, blob)
        link = self._repositories / repository / "_layers" / "sha256"
        link /= digest.removeprefix(DIGEST) + "/link"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.write_text(digest, encoding="ascii")

    def content(self, digest: str) -> Any:
        """A manifest or configuration."""
        return json.loads(self.blob(digest).read_bytes())


def place(source: Path, target: Path) -> None:
    """Let a large file be at another place too: as a link, or copied where disks differ.

    Raises:
        OSError: there is no such file.
    """
    part = target.with_name(f"{target.name}.{uuid4().hex}")
    try:
        part.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, part)
    part.replace(target)


def _parts(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "config" in manifest:
        yield manifest["config"]
    yield from manifest.get("layers", [])
    yield from manifest.get("manifests", [])


def _attributes() -> dict[str, bool]:
    return dict.fromkeys(("deleteEnabled", "writeEnabled", "readEnabled", "listEnabled"), True)


def _time(file: Path) -> str:
    return f"{datetime.fromtimestamp(file.stat().st_mtime, UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
