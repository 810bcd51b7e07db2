"""Objects as the cluster shows them, brought to the shape of our document.

Only fields that a deploy has set are read back: the cluster and its policies add many more, and on
AKS Automatic change some. Which are ours, Kubernetes itself keeps in ``managedFields``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from engine.deploy.config import names
from engine.deploy.targets.aks.client import MANAGER
from engine.deploy.targets.aks.document import (
    Object,
    live_service,
    of_release,
    renamed,
    tags_of,
)
from engine.deploy.targets.base import Document
from engine.deploy.targets.compare import canonical_digest, differing_paths

_Json = Mapping[str, Any]
# These name the release itself, and so differ between equal ones.
_RELEASE: Final = "RELEASE"


def own_part(found: Object) -> Object:
    """What a deploy has set of an object, with the values that it has now."""
    entries = [
        each["fieldsV1"]
        for each in found["metadata"].get("managedFields") or []
        if each["manager"] == MANAGER and not each.get("subresource")
    ]
    part: Object = {"apiVersion": found["apiVersion"], "kind": found["kind"]}
    for fields in entries:
        _merge(part, _picked(found, fields))
    metadata = part.setdefault("metadata", {})
    metadata["name"] = found["metadata"]["name"]
    metadata["namespace"] = found["metadata"]["namespace"]
    if found["kind"] == "Secret":
        part.pop("data", None)
        part["stringData"] = dict.fromkeys(sorted(found.get("data") or {}))
    return part


def _picked(value: Any, fields: _Json) -> Any:
    """The part of a value that a tree of ``FieldsV1`` names; see Kubernetes' type of that name."""
    if isinstance(value, list):
        return [
            _picked(item, below)
            for item in value
            for key, below in fields.items()
            if key.startswith("k:") and _has(item, json.loads(key[2:]))
        ] or list(value)
    if not isinstance(value, dict):
        return value
    below = {key[2:]: tree for key, tree in fields.items() if key.startswith("f:")}
    if not below:
        return value
    return {key: _picked(value[key], tree) for key, tree in below.items() if key in value}


def _has(item: Any, keys: _Json) -> bool:
    return isinstance(item, dict) and all(item.get(key) == value for key, value in keys.items())


def _merge(one: Object, other: Any) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(one.get(key), dict):
            _merge(one[key], value)
        else:
            one[key] = value


def document_of(service: Object, release: Iterable[Object]) -> Document:
    """The document that a release was made from, with the tags that it has now."""
    live = own_part(service)
    return {"apiVersion": "v1", "kind": "List", "items": [live, *map(own_part, release)]}


def comparable(document: Document) -> Document:
    """A document, rendered or read, in the one form that equal documents share.

    Names of releases and the tags of a rollout differ between equal documents.
    """
    plain = renamed(document, _RELEASE)
    return {
        "service": {"ports": live_service(plain)["spec"].get("ports")},
        "tags": {k: v for k, v in tags_of(plain).items() if k not in names.ROLLOUT_TAGS},
        "objects": {each["kind"]: each for each in of_release(plain)},
    }


def differences(live: Document, wanted: Document) -> tuple[str, ...]:
    """The properties that differ, apart from the tags of a rollout.

    How many pods there are is none where that is an autoscaler's, or while it is stopped.
    """
    shown, asked = comparable(live), comparable(wanted)
    specs = [each["objects"].get("Deployment", {}).get("spec", {}) for each in (shown, asked)]
    if not all(spec.get("replicas") for spec in specs):
        for spec in specs:
            spec.pop("replicas", None)
    return tuple(differing_paths(shown, asked))


def config_digest(document: Document) -> str:
    """The digest of what was asked for, the tags of the rollout aside."""
    return canonical_digest(comparable(document))
