"""Azure's answers about an endpoint and one deployment, brought to the shape of our document.

Azure shows the variables of a deployment with their values. Those of secrets are taken out here,
before anything is recorded or compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from engine.deploy.config import names
from engine.deploy.targets.base import Document
from engine.deploy.targets.compare import (
    canonical_digest,
    differing_paths,
    same_secrets,
)

APPLIED_TAG, STOPPED_TAG = "deployment", "stopped"
"""Tags by which an endpoint knows the deployment that was applied last, and that its deployments
were deleted on purpose; no rollout sees them."""
SECRETS_PROPERTY, FINGERPRINT_PROPERTY = "secrets", names.TAG_SECRETS
"""Properties of a deployment: the names of its secrets, and the fingerprint of their values."""

_Json = Mapping[str, Any]
_PROBE = ("initialDelay", "period", "timeout", "failureThreshold", "successThreshold")
_DURATION = re.compile(r"P(?:0D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.\d+)?S)?)?")
# Azure changes neither while the endpoint exists.
_FIXED = re.compile(r"location|identity\b.*|properties\.authMode")


def document_of(endpoint: _Json, deployment: _Json | None, environment: _Json | None) -> Document:
    """The document that an endpoint and a deployment were made from.

    ``environment`` is the version that the deployment names; None with no deployment.
    """
    properties = endpoint["properties"]
    own = (APPLIED_TAG, STOPPED_TAG)
    return {
        "location": re.sub(r"\s", "", endpoint["location"]).lower(),
        "tags": {k: v for k, v in (endpoint.get("tags") or {}).items() if v and k not in own},
        "identity": _identity(endpoint.get("identity") or {}),
        "properties": _pick(properties, ("authMode", "publicNetworkAccess")),
        **parts_of(deployment, environment),
    }


def differences(live: Document, wanted: Document) -> tuple[str, ...]:
    """The properties that differ, apart from the tags of a rollout."""
    return tuple(differing_paths(comparable(live), comparable(wanted)))


def blockers(live: Document, wanted: Document) -> tuple[str, ...]:
    """The differing properties that cannot change while the endpoint exists."""
    return tuple(path for path in differences(live, wanted) if _FIXED.fullmatch(path))


def config_digest(document: Document) -> str:
    """The digest of what was asked for, the tags of the rollout aside."""
    return canonical_digest(comparable(document))


def parts_of(deployment: _Json | None, environment: _Json | None) -> Document:
    """What of a document belongs to one deployment."""
    return {
        "environment": _environment(environment),
        "deployment": _deployment(deployment),
        "secrets": _secret_names(deployment),
    }


def same_release(parts: Document, document: Document) -> bool:
    """Whether a deployment with these parts is made from the document."""
    return not any(differing_paths(parts, {part: document[part] for part in parts}))


def has_secrets(deployment: _Json, values: Mapping[str, str]) -> bool:
    """Whether a deployment was made with these values of its secrets."""
    kept = deployment["properties"].get("properties") or {}
    return same_secrets(values, kept.get(FINGERPRINT_PROPERTY))


def comparable(document: Document) -> Document:
    """What has to be equal: case of ids and the tags of a rollout aside."""
    identities = document["identity"].get("userAssignedIdentities") or {}
    return {
        **document,
        "tags": {k: v for k, v in document["tags"].items() if k not in names.ROLLOUT_TAGS},
        "identity": {
            "type": document["identity"].get("type"),
            "userAssignedIdentities": sorted(each.lower() for each in identities),
        },
    }


def _identity(identity: _Json) -> dict[str, Any]:
    users = identity.get("userAssignedIdentities") or {}
    return {"type": identity.get("type"), "userAssignedIdentities": {name: {} for name in users}}


def _environment(version: _Json | None) -> dict[str, Any] | None:
    if version is None:
        return None
    properties = version["properties"]
    routes = properties.get("inferenceConfig") or {}
    return {
        "image": properties.get("image"),
        "osType": properties.get("osType"),
        "inferenceConfig": {
            name: _pick(routes[name], ("path", "port"))
            for name in ("livenessRoute", "readinessRoute", "scoringRoute")
            if routes.get(name)
        },
    }


def _secret_names(deployment: _Json | None) -> list[str]:
    """Of a deployment that others made, every variable counts as a secret: nobody can know."""
    if deployment is None:
        return []
    properties = deployment["properties"]
    kept = (properties.get("properties") or {}).get(SECRETS_PROPERTY)
    if kept is None:
        return sorted(properties.get("environmentVariables") or {})
    return sorted(filter(None, kept.split(",")))


def _deployment(deployment: _Json | None) -> dict[str, Any] | None:
    if deployment is None:
        return None
    properties, hidden = deployment["properties"], _secret_names(deployment)
    variables = properties.get("environmentVariables") or {}
    settings = properties.get("requestSettings") or {}
    return {
        "sku": _pick(deployment.get("sku") or {}, ("name", "capacity")),
        "properties": {
            **_pick(properties, ("endpointComputeType", "instanceType")),
            "environmentVariables": {
                name: value for name, value in sorted(variables.items()) if name not in hidden
            },
            "livenessProbe": _probe(properties.get("livenessProbe") or {}),
            "readinessProbe": _probe(properties.get("readinessProbe") or {}),
            "requestSettings": {
                **_pick(settings, ("maxConcurrentRequestsPerInstance",)),
                "requestTimeout": seconds(settings.get("requestTimeout")),
            },
            "scaleSettings": _pick(properties.get("scaleSettings") or {}, ("scaleType",)),
        },
    }


def _probe(probe: _Json) -> dict[str, Any]:
    return {
        key: seconds(value) if isinstance(value, str) else value
        for key, value in _pick(probe, _PROBE).items()
    }


def seconds(duration: str | None) -> str | None:
    """A duration in seconds: Azure writes PT1M where PT60S was sent."""
    found = _DURATION.fullmatch(duration or "")
    if found is None:
        return duration
    hours, minutes, seconds = (int(each or 0) for each in found.groups())
    return f"PT{hours * 3600 + minutes * 60 + seconds}S"


def _pick(source: _Json, keys: Iterable[str]) -> dict[str, Any]:
    return {key: source[key] for key in keys if source.get(key) is not None}
