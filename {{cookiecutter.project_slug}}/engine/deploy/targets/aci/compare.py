"""Is the container group in Azure the one that is wanted? Decided property by property."""

from __future__ import annotations

import re

from engine.deploy.config import names
from engine.deploy.targets.aci.shape import restorable
from engine.deploy.targets.base import Document
from engine.deploy.targets.compare import canonical_digest, differing_paths

# What Azure refuses to change in place ("you must delete it first"), and the set of containers,
# for the size of the group follows from it. Azure docs: updating container groups.
_FIXED = re.compile(
    r"location|zones.*|properties\.(osType|restartPolicy|sku|priority|subnetIds.*|networkProfile.*"
    r"|ipAddress\.type|diagnostics.*|containers\[[^]]*\](\.properties\.resources.*)?)"
)


def comparable(document: Document) -> Document:
    """``restorable`` without the tags of a rollout, which differ between equal groups."""
    shaped = restorable(document)
    tags = {name: value for name, value in shaped["tags"].items() if name not in names.ROLLOUT_TAGS}
    return shaped | {"tags": tags}


def differences(live: Document, wanted: Document) -> tuple[str, ...]:
    """The properties that differ; those under ``tags.`` can be changed without a restart.

    Either side is a rendered document or Azure's answer.
    """
    return tuple(differing_paths(comparable(live), comparable(wanted)))


def blockers(live: Document, wanted: Document) -> tuple[str, ...]:
    """The differing properties that Azure cannot change in place: delete and create instead."""
    return tuple(path for path in differences(live, wanted) if _FIXED.fullmatch(path))


def config_digest(document: Document) -> str:
    """The digest of what was asked for, secrets and the tags of the rollout aside."""
    return canonical_digest(comparable(document))
