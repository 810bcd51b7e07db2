"""The tags by which a rollout is known on the resource itself.

They travel in its document. On a container group they say for what it was asked for, and only the
journal says whether it was kept: no request is sent to change them.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.deploy.config import names
from engine.deploy.targets.base import Release

VERIFYING, RESTORING, KEPT = "verifying", "restoring", "kept"


def state(tags: Mapping[str, str]) -> str:
    """The state of the rollout; what no rollout made counts as kept."""
    return tags.get(names.TAG_STATE, KEPT)


def rollout(tags: Mapping[str, str]) -> str | None:
    """The id of the rollout that made it what it is."""
    return tags.get(names.TAG_ROLLOUT)


def under_way(tags: Mapping[str, str], rollout_id: str, to: str) -> dict[str, str]:
    """The tags of what a rollout asks for. ``to``: VERIFYING or RESTORING."""
    return {**tags, names.TAG_ROLLOUT: rollout_id, names.TAG_STATE: to}


def kept(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags when its rollout is done."""
    # Earlier versions wrote their signs of life into a tag.
    left = {name: value for name, value in tags.items() if name != names.TAG_HEARTBEAT}
    return {**left, names.TAG_STATE: KEPT}


def release(tags: Mapping[str, str]) -> Release | None:
    """The release that the tags tell of; None where they do not."""
    try:
        return Release(
            image=tags[names.TAG_IMAGE],
            revision=tags[names.TAG_REVISION],
            model_digest=tags[names.TAG_MODEL],
        )
    except KeyError:
        return None
