"""A container group as Azure takes it: pure functions, from configuration and release to JSON.

The document is complete, because Azure gives every property that is left out its default back, at
an update too. It is sent as JSON, in which every text is quoted: ``az container create --file``
makes booleans and numbers of what YAML leaves unquoted, and its own variables' values of
``${NAME}``. Only top-level keys that az passes on are used; ``sku`` is in ``properties``, for
az fails on it at the top. Azure docs: the YAML reference of container groups.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from engine.deploy.config import names
from engine.deploy.config.environment import Probe
from engine.deploy.config.volumes import CERTIFICATES
from engine.deploy.targets.aci import edge, network
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.base import (
    LOGS_KEY,
    STORAGE_KEY,
    Document,
    Places,
    Release,
    check_image,
    release_tags,
)
from engine.errors import EngineError

API_VERSION = "2023-05-01"
"""The oldest stable version with all that is used here. Without one, az 2.91 takes a preview."""


def render(
    environment: GroupEnvironment, release: Release, places: Places, tags: Mapping[str, str]
) -> Document:
    """The complete document; every secret is there by name, with None in place of its value.

    Args:
        tags: of the rollout; they and those of the release win over the configured ones.

    Raises:
        EngineError: the image is not named by its digest, or not in the registry of ``places``.
    """
    check_image(release.image, places.registry_server)
    return {
        "apiVersion": API_VERSION,
        "name": environment.name,
        "location": environment.region,
        "tags": {**environment.tags, **release_tags(release), **tags},
        "identity": {
            "type": "UserAssigned",
            "userAssignedIdentities": {places.pull_identity: {}},
        },
        "properties": {
            "sku": "Standard",
            "osType": "Linux",
            "restartPolicy": environment.restart_policy,
            "imageRegistryCredentials": [
                {"server": places.registry_server, "identity": places.pull_identity}
            ],
            "ipAddress": _address(environment),
            **network.subnet_ids(environment, places.subscription),
            "containers": [
                {"name": names.CONTAINER, "properties": _container(environment, release)},
                *edge.containers(environment, places),
            ],
            **_volumes(environment, places),
            **_diagnostics(environment, places),
        },
    }


def secret_names(document: Document) -> tuple[str, ...]:
    """The names of the secrets in a document, sorted."""
    return tuple(sorted({name for name, _, _ in _secrets(document)}))


def with_secrets(document: Document, values: Mapping[str, str]) -> Document:
    """The same document with the values of its secrets: for Azure only, never for a file or log.

    Raises:
        EngineError: a value is missing; the message names them all.
    """
    missing = [name for name in secret_names(document) if not values.get(name)]
    if missing:
        raise EngineError(
            f"no value for the secret(s) {', '.join(missing)}",
            "set them as environment variables of this command; in GitHub, as secrets of the "
            "environment that the workflow passes on",
        )
    filled = copy.deepcopy(document)
    for name, holder, key in _secrets(filled):
        holder[key] = values[name]
    return filled


def file_for_az(document: Document) -> str:
    """The text for ``az container create --file``, which reads it as YAML 1.1.

    JSON, in ASCII: every text is quoted, whatever encoding az opens files with. Beyond U+FFFF it
    is written as YAML does, for YAML would take JSON's pairs of escapes for two characters.
    """
    text = json.dumps(document, ensure_ascii=False)
    return re.sub(r"[^ -~]", lambda found: _escaped(ord(found[0])), text)


def _escaped(code: int) -> str:
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _container(environment: GroupEnvironment, release: Release) -> dict[str, Any]:
    size: dict[str, Any] = {"cpu": environment.cpu, "memoryInGB": environment.memory_gb}
    requests = size | _gpu(environment)
    return {
        "image": release.image,
        "ports": [_port(environment)],
        "environmentVariables": _variables(environment),
        "resources": {"requests": requests, "limits": copy.deepcopy(requests)},
        "volumeMounts": [
            {"name": each.share, "mountPath": each.path, "readOnly": True}
            for each in environment.volumes
        ],
        "livenessProbe": _probe(environment.probes.liveness, environment.port),
        "readinessProbe": _probe(environment.probes.readiness, environment.port),
    }


def _gpu(environment: GroupEnvironment) -> dict[str, Any]:
    # Refused by the rules unless asked for by name; what Azure says then is Azure's answer.
    if environment.gpu == "none" or not environment.allow_retired_gpu:
        return {}
    return {"gpu": {"count": environment.gpu_count, "sku": environment.gpu.upper()}}


def _address(environment: GroupEnvironment) -> dict[str, Any]:
    if environment.network is not None:
        return {"type": "Private", "ports": [_port(environment)]}
    return {
        "type": "Public",
        "dnsNameLabel": environment.dns_label,
        "autoGeneratedDomainNameLabelScope": environment.dns.reuse,
        "ports": edge.PORTS if environment.https else [_port(environment)],
    }


def _port(environment: GroupEnvironment) -> dict[str, Any]:
    return {"port": environment.port, "protocol": "TCP"}


def _variables(environment: GroupEnvironment) -> list[dict[str, Any]]:
    plain = environment.settings
    variables: list[dict[str, Any]] = [{"name": n, "value": v} for n, v in plain.items()]
    variables += [{"name": name, "secureValue": None} for name in environment.secret_settings]
    return sorted(variables, key=lambda variable: str(variable["name"]))


def _probe(probe: Probe, port: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": probe.path, "port": port, "scheme": "http"},
        "initialDelaySeconds": probe.initial_delay_seconds,
        "periodSeconds": probe.period_seconds,
        "timeoutSeconds": probe.timeout_seconds,
        "failureThreshold": probe.failure_threshold,
        "successThreshold": 1,
    }


def _volumes(environment: GroupEnvironment, places: Places) -> dict[str, Any]:
    """The shares that are mounted, as a property of the group; the key of each is a secret."""
    account = names.storage_account(places.subscription, environment.resource_group)
    place = {"storageAccountName": account, "storageAccountKey": None}
    shares = [{"shareName": each.share, "readOnly": True} for each in environment.volumes]
    if environment.https:
        shares.append({"shareName": CERTIFICATES})
    listed = [{"name": each["shareName"], "azureFile": {**each, **place}} for each in shares]
    return {"volumes": listed} if listed else {}


def _diagnostics(environment: GroupEnvironment, places: Places) -> dict[str, Any]:
    """Where Azure sends what the container writes, from its first line on.

    A diagnostic setting would need no key; but it is a resource of its own, restarts the group
    when it is applied, and is lost with every group that is deleted to be made anew.
    """
    if not environment.container_logs:
        return {}
    if places.workspace is None:
        raise EngineError(
            f"there is no Log Analytics workspace for the log of {environment.name}",
            "`.venv/bin/python -m engine.deploy bootstrap` makes it; or write container_logs: "
            "false",
        )
    workspace = {"workspaceId": places.workspace, "workspaceKey": None}
    return {"diagnostics": {"logAnalytics": workspace}}


def _secrets(document: Document) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Each secret's name, and the object and the key where its value belongs."""
    properties = document["properties"]
    workspace = (properties.get("diagnostics") or {}).get("logAnalytics") or {}
    if "workspaceKey" in workspace:
        yield LOGS_KEY, workspace, "workspaceKey"
    for volume in properties.get("volumes") or []:
        if "storageAccountKey" in (share := volume.get("azureFile") or {}):
            yield STORAGE_KEY, share, "storageAccountKey"
    for container in [*properties["containers"], *properties.get("initContainers", [])]:
        for variable in container["properties"].get("environmentVariables", []):
            if "secureValue" in variable:
                yield variable["name"], variable, "secureValue"
