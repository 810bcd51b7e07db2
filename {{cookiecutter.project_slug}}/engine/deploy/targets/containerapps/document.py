"""From configuration and release to the complete document of a container app. Pure.

The document says what shall be. What changes with every rollout is added on the way to Azure by
``containerapps_request``: the revision's suffix, the full names of secrets and their values, and
who receives which share of the traffic.

It is sent through `az rest`. ``az containerapp create --yaml`` would alter it on the way: it turns
the underscores of keys into camel case, those in the id of an identity too, asks for rights on the
subscription, and takes whatever API version its release has.

Graphics processors are had here only: Microsoft retired those of Azure Container Instances on
2025-07-14.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from engine.deploy.config import names
from engine.deploy.config.environment import Probe
from engine.deploy.targets.base import Document, Places, Release, check_image, release_tags
from engine.deploy.targets.containerapps.environment import AppEnvironment
from engine.deploy.targets.containerapps.rules import profile_of, secret_name
from engine.errors import EngineError
from engine.serving.package.download import IDENTITY, needs_identity

API_VERSION = "2025-07-01"
"""A stable one with all that is used here; `az` 2.91 takes the same for its own commands."""

HTTP_RULE = "http"
_MOST_INACTIVE = 10
_STARTUP_FAILURES = 10  # the most that Azure takes: with a period of 10 s, 100 s


def render(
    environment: AppEnvironment, release: Release, places: Places, tags: Mapping[str, str]
) -> Document:
    """The complete document; every secret is there by name, with None in place of its value.

    Args:
        tags: of the rollout; they and those of the release win over the configured ones.

    Raises:
        EngineError: the image is not named by its digest, or is not in the registry of ``places``,
            or there is no Container Apps environment.
    """
    check_image(release.image, places.registry_server)
    if places.apps_environment is None:
        raise EngineError(
            f"there is no Container Apps environment for {environment.name}",
            "`.venv/bin/python -m engine.deploy bootstrap` makes it",
        )
    return {
        "location": environment.region,
        "tags": {**environment.tags, **release_tags(release), **tags},
        "identity": {
            "type": "UserAssigned",
            "userAssignedIdentities": {places.pull_identity: {}},
        },
        "properties": {
            "environmentId": places.apps_environment,
            "workloadProfileName": profile_of(environment).name,
            "configuration": _configuration(environment, places),
            "template": _template(environment, release, places),
        },
    }


def secret_variables(document: Document) -> dict[str, str]:
    """The environment variables that are secrets, each with the name of its secret."""
    return {
        variable["name"]: variable["secretRef"]
        for container in document["properties"]["template"]["containers"]
        for variable in container["env"]
        if "secretRef" in variable
    }


def shares(document: Document) -> tuple[str, ...]:
    """The file shares that a document mounts."""
    listed = document["properties"]["template"].get("volumes") or []
    return tuple(str(each["storageName"]) for each in listed)


def with_tags(document: Document, tags: Mapping[str, str]) -> Document:
    """The same document with exactly these tags."""
    return {**copy.deepcopy(document), "tags": dict(tags)}


def _configuration(environment: AppEnvironment, places: Places) -> dict[str, Any]:
    """What holds for all revisions."""
    return {
        # Multiple: a new revision starts beside the serving one instead of in its place.
        "activeRevisionsMode": "Multiple",
        "maxInactiveRevisions": _MOST_INACTIVE,
        "ingress": {
            "external": True,
            "targetPort": environment.port,
            "transport": "http",
            # Plain HTTP is answered with a redirect to HTTPS.
            "allowInsecure": False,
        },
        "registries": [{"server": places.registry_server, "identity": places.pull_identity}],
        # The identity pulls the image; code in the container gets it only where it reads blobs.
        "identitySettings": [
            {
                "identity": places.pull_identity,
                "lifecycle": "Main" if _reads_blobs(environment) else "None",
            }
        ],
        "secrets": [
            {"name": secret_name(name), "value": None}
            for name in sorted(environment.secret_settings)
        ],
    }


def _reads_blobs(environment: AppEnvironment) -> bool:
    """Whether a setting names blobs that the container's identity has to be asked for."""
    named = {name.upper(): value for name, value in environment.settings.items()}
    places = [*named.get("MODEL_URI", "").split(","), named.get("CAPTURE", "")]
    return any(needs_identity(each.strip()) for each in places)


def _template(environment: AppEnvironment, release: Release, places: Places) -> dict[str, Any]:
    """What makes a revision: a change of anything here starts a new one."""
    replicas = environment.replicas
    container: dict[str, Any] = {
        "name": names.CONTAINER,
        "image": release.image,
        "resources": {"cpu": environment.cpu, "memory": f"{environment.memory_gb:g}Gi"},
        "env": _variables(environment, places),
        "probes": _probes(environment),
    }
    volumes = environment.volumes
    if volumes:
        container["volumeMounts"] = [
            {"volumeName": each.share, "mountPath": each.path} for each in volumes
        ]
    metadata = {"concurrentRequests": str(replicas.concurrent_requests)}
    return {
        "containers": [container],
        "scale": {
            "minReplicas": replicas.min,
            "maxReplicas": replicas.max,
            "rules": [{"name": HTTP_RULE, "http": {"metadata": metadata}}],
        },
        **({"volumes": [_volume(each.share) for each in volumes]} if volumes else {}),
    }


def _volume(share: str) -> dict[str, str]:
    """A share; the storage of the Container Apps environment has its name too."""
    return {"name": share, "storageName": share, "storageType": "AzureFile"}


def _variables(environment: AppEnvironment, places: Places) -> list[dict[str, str]]:
    own = {IDENTITY: places.pull_identity} if _reads_blobs(environment) else {}
    plain = {**own, **environment.settings}
    secrets = environment.secret_settings
    variables = [{"name": name, "value": value} for name, value in plain.items()]
    variables += [{"name": name, "secretRef": secret_name(name)} for name in secrets]
    return sorted(variables, key=lambda variable: variable["name"])


def _probes(environment: AppEnvironment) -> list[dict[str, Any]]:
    """Startup asks what liveness asks, patiently: the machine may be new to the image.

    A model that loads slowly, or never becomes right, fails readiness only: it gets no request,
    and is not killed again and again.
    """
    live, ready, port = environment.probes.liveness, environment.probes.readiness, environment.port
    patience = {"periodSeconds": 10, "failureThreshold": _STARTUP_FAILURES}
    startup = _probe("Startup", live, port) | patience
    startup.pop("initialDelaySeconds", None)
    return [_probe("Liveness", live, port), _probe("Readiness", ready, port), startup]


def _probe(kind: str, probe: Probe, port: int) -> dict[str, Any]:
    made = {
        "type": kind,
        "httpGet": {"path": probe.path, "port": port, "scheme": "HTTP"},
        "periodSeconds": probe.period_seconds,
        "timeoutSeconds": probe.timeout_seconds,
        "failureThreshold": probe.failure_threshold,
        "successThreshold": 1,
    }
    if probe.initial_delay_seconds:  # Azure takes 1 to 60; no delay is said by leaving it out
        made["initialDelaySeconds"] = probe.initial_delay_seconds
    return made
