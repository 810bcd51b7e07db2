"""From configuration and release to the complete document of an online endpoint. Pure.

A document has three parts, which Azure keeps as three resources: the ``environment`` names the
image and its routes, the ``deployment`` says on what it runs, and the rest is the endpoint. An
environment's version never changes, so its name follows from what is in it. A deployment is made
anew for each release.

The scoring route is ``/``: what stands behind the address of the endpoint is then the container's
own path, for every method, as in Microsoft's examples of Triton in a container of one's own. The
release is so verified by the same requests as everywhere.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from engine.deploy.config.environment import Probe
from engine.deploy.targets.azureml.environment import EndpointEnvironment
from engine.deploy.targets.azureml.sizes import size_of
from engine.deploy.targets.base import Document, Places, Release, check_image, release_tags
from engine.deploy.targets.compare import canonical_digest

API_VERSION = "2025-12-01"
SCORING_PATH = "/"
_VERSION_DIGITS = 32


def render(
    environment: EndpointEnvironment, release: Release, places: Places, tags: Mapping[str, str]
) -> Document:
    """The complete document; secrets are there by name.

    Args:
        tags: of the rollout; they and those of the release win over the configured ones.

    Raises:
        EngineError: the image is not named by its digest, or is not in the registry of ``places``.
    """
    check_image(release.image, places.registry_server)
    size = size_of(environment)
    return {
        "location": environment.region,
        "tags": {**environment.tags, **release_tags(release), **tags},
        "identity": {
            "type": "UserAssigned",
            "userAssignedIdentities": {places.pull_identity: {}},
        },
        "properties": {"authMode": "Key", "publicNetworkAccess": "Enabled"},
        "environment": _environment(environment, release),
        "deployment": {
            "sku": {"name": "Default", "capacity": environment.instances},
            "properties": {
                "endpointComputeType": "Managed",
                "instanceType": size.name if size else environment.instance_type,
                "environmentVariables": dict(sorted(environment.settings.items())),
                "livenessProbe": _probe(environment.probes.liveness),
                "readinessProbe": _probe(environment.probes.readiness),
                "requestSettings": {
                    "requestTimeout": f"PT{environment.request_seconds}S",
                    "maxConcurrentRequestsPerInstance": environment.concurrent_requests,
                },
                "scaleSettings": {"scaleType": "Default"},
            },
        },
        "secrets": sorted(environment.secret_settings),
    }


def with_tags(document: Document, tags: Mapping[str, str]) -> Document:
    """The same document with exactly these tags."""
    return {**copy.deepcopy(document), "tags": dict(tags)}


def version_of(environment: Mapping[str, Any]) -> str:
    """The version of an environment, which follows from what is in it."""
    return canonical_digest(environment).removeprefix("sha256:")[:_VERSION_DIGITS]


def _environment(environment: EndpointEnvironment, release: Release) -> dict[str, Any]:
    port, probes = environment.port, environment.probes
    return {
        "image": release.image,
        "osType": "Linux",
        "inferenceConfig": {
            "livenessRoute": {"path": probes.liveness.path, "port": port},
            "readinessRoute": {"path": probes.readiness.path, "port": port},
            "scoringRoute": {"path": SCORING_PATH, "port": port},
        },
    }


def _probe(probe: Probe) -> dict[str, Any]:
    return {
        # No document says that Azure takes 0.
        "initialDelay": _duration(max(1, probe.initial_delay_seconds)),
        "period": _duration(probe.period_seconds),
        "timeout": _duration(probe.timeout_seconds),
        "failureThreshold": probe.failure_threshold,
        "successThreshold": 1,
    }


def _duration(seconds: int) -> str:
    return f"PT{seconds}S"
