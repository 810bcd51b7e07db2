"""File shares of Azure Files that the service reads: data that is too large for the image."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from engine.deploy.config.kinds import Section, matching
from engine.deploy.config.rules.rule import Broken

CERTIFICATES = "certificates"
"""The share with the certificates of HTTPS."""
MOST = 10
_TAKEN = ("/bin", "/dev", "/etc", "/lib", "/opt", "/proc", "/run", "/sbin", "/service", "/sys")
_RESERVED = (*_TAKEN, "/tmp", "/usr", "/var")  # noqa: S108

ShareName = Annotated[
    str,
    matching(
        r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*",
        "must be 3 to 63 lower-case letters, digits and single hyphens inside",
        "models",
    ),
]
MountPath = Annotated[
    str,
    matching(
        r"(/[A-Za-z0-9_.-]+)+",
        "must be an absolute path of letters, digits, _ . - and /, without / at its end",
        "/models",
    ),
]


class Volume(Section):
    """A share of the environment's storage account, mounted read-only."""

    share: ShareName = Field(description="Name of the file share; bootstrap makes a missing one.")
    path: MountPath = Field(description="Folder of the container that shows the share.")


Volumes = Annotated[tuple[Volume, ...], Field(strict=False)]


def broken(volumes: tuple[Volume, ...]) -> Iterator[Broken]:
    """The rules across volumes that an environment file breaks."""
    if len(volumes) > MOST:
        yield Broken(("volumes",), f"at most {MOST} shares are mounted", "put more into one share")
    for position, volume in enumerate(volumes):
        before = volumes[:position]
        if volume.share == CERTIFICATES:
            at = ("volumes", position, "share")
            yield Broken(
                at, "is the share that keeps the certificates of HTTPS", "rename the share"
            )
        elif volume.share in {each.share for each in before}:
            yield Broken(("volumes", position, "share"), "is there twice", "remove one")
        at = ("volumes", position, "path")
        if posixpath.normpath(volume.path) != volume.path:
            yield Broken(at, "must not contain . or .. as a folder", "write the folder itself")
        elif taken := next((each for each in _RESERVED if _meet(each, volume.path)), None):
            yield Broken(at, f"{taken} belongs to the image", "write for example /models")
        elif other := next((each for each in before if _meet(each.path, volume.path)), None):
            yield Broken(at, f"is inside {other.path}, or the reverse", "mount them side by side")


def _meet(one: str, other: str) -> bool:
    """Whether two paths are the same, or one is inside the other."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
