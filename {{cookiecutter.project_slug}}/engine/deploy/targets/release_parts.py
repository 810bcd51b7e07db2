"""What every target's document says of a release: its tags, and an image that cannot change."""

from __future__ import annotations

import re

from engine.deploy.azure_ids import same
from engine.deploy.config import names
from engine.deploy.targets.base import Release
from engine.errors import EngineError

_BY_DIGEST = re.compile(r"[a-z0-9][a-z0-9.:-]*/[a-z0-9][a-z0-9._/-]*@sha256:[0-9a-f]{64}")


def release_tags(release: Release) -> dict[str, str]:
    """The tags that say what runs."""
    return {
        names.TAG_REVISION: release.revision,
        names.TAG_IMAGE: release.image.partition("@")[2],
        names.TAG_MODEL: release.model_digest,
    }


def check_image(image: str, server: str) -> None:
    """Refuse an image that could change or that could not be pulled.

    Raises:
        EngineError: it is not named by its digest, or not in the registry ``server``.
    """
    if _BY_DIGEST.fullmatch(image) is None:
        raise EngineError(
            f"the image {image!r} is not named by its digest",
            "name it REGISTRY/NAME@sha256:DIGEST, as `.venv/bin/python -m engine.deploy push` "
            "prints it: a tag can be moved, and then a rollback would bring back something else",
        )
    if not same(image.partition("/")[0], server):
        raise EngineError(
            f"the image {image!r} is not in the registry {server!r}",
            "push it there (`.venv/bin/python -m engine.deploy push`): the identity of the "
            "service may pull from that registry only",
        )
