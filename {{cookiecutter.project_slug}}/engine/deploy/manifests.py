"""The manifests of a repository: which of them are images, and what belongs to an image.

OCI image specification 1.1: an index lists its parts under ``manifests``, and a signature, an
attestation or a bill of materials names its ``subject``. cosign before version 3 and registries
without the referrers API use a tag for the latter: sha256-<digest>, with .sig, .att or .sbom.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

_ATTACHED = re.compile(r"sha256-([0-9a-f]{64})(\.[\w.-]+)?")
_INDEXES = frozenset(
    {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)
_CONFIGS = frozenset(
    {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    }
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One manifest: what the registry lists about it, and its content."""

    listed: Mapping[str, Any]
    content: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """What names it."""
        return str(self.listed["digest"])

    @property
    def parts(self) -> tuple[str, ...]:
        """The digests of an index's manifests, one for each platform or attestation."""
        return tuple(str(each["digest"]) for each in self.content.get("manifests") or [])

    @property
    def subjects(self) -> tuple[str, ...]:
        """The digests of what it is about."""
        subject = self.content.get("subject") or {}
        named = [str(subject["digest"])] if subject.get("digest") else []
        tags = (_ATTACHED.fullmatch(str(tag)) for tag in self.listed.get("tags") or [])
        named += [f"sha256:{found[1]}" for found in tags if found]
        return tuple(each for each in named if each != self.digest)

    @property
    def is_image(self) -> bool:
        """It can be run, and is about nothing else. What is not known is no image."""
        if self.subjects or self.content.get("artifactType"):
            return False
        if self.content.get("mediaType", self.listed.get("mediaType")) in _INDEXES:
            return True
        return (self.content.get("config") or {}).get("mediaType") in _CONFIGS


def removable(manifests: Sequence[Manifest], needed: Iterable[str], keep: int) -> list[Manifest]:
    """What may go, in an order in which nothing that is left refers to what is gone.

    These are the images, of those given newest first, that are neither needed nor among the
    ``keep`` newest, each with its parts and with what is about it. All else stays, also what
    belongs to no image.
    """
    by_digest = {each.digest: each for each in manifests}
    about: dict[str, list[str]] = {}
    for each in manifests:
        for subject in each.subjects:
            about.setdefault(subject, []).append(each.digest)

    def whole(digest: str) -> set[str]:
        """A manifest, its parts, and what is about any of these."""
        found: set[str] = set()
        ahead = [digest]
        while ahead:
            digest = ahead.pop()
            if digest in by_digest and digest not in found:
                found.add(digest)
                ahead += [*by_digest[digest].parts, *about.get(digest, ())]
        return found

    parts = {part for each in manifests for part in each.parts}
    images = [each.digest for each in manifests if each.is_image and each.digest not in parts]
    of_image = {digest: whole(digest) for digest in images}
    kept = set(images[: max(keep, 0)])
    kept |= {digest for digest in images if not of_image[digest].isdisjoint(needed)}
    stays = set[str]().union(*(of_image[digest] for digest in kept))
    of_images = set[str]().union(*of_image.values())
    goes = [each.digest for each in manifests if each.digest in of_images - stays]
    order: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(goes, ()))
    for digest in goes:
        for named in (*by_digest[digest].parts, *by_digest[digest].subjects):
            if named in goes:
                order.add(named, digest)
    return [by_digest[digest] for digest in order.static_order()]
