"""Documents of container groups: what is shown of one, and which changes Azure refuses."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from ..arm.azure import Azure
from ..arm.errors import ArmError
from ..arm.store import Resource
from . import aci_rules
from .aci_access import attached_identities

SECRET_KEYS = ("secureValue", "workspaceKey", "password", "storageAccountKey")
"""Azure takes them and never gives them back."""


def shown(sent: dict[str, Any], azure: Azure) -> dict[str, Any]:
    """What a GET answers of a document that was sent: no secret, and Azure's own values."""
    body: dict[str, Any] = _without_secrets(copy.deepcopy(sent))
    properties = body["properties"]
    properties.setdefault("restartPolicy", "Always")
    properties.setdefault("sku", "Standard")
    properties.setdefault("initContainers", [])
    properties["isCustomProvisioningTimeout"] = False
    properties["provisioningTimeoutInSeconds"] = 1800
    properties["provisioningState"] = "Pending"
    body.setdefault("tags", {})
    identities = {}
    for identifier in attached_identities(sent):
        principal = azure.principals.by_resource(identifier)
        if principal:
            identities[identifier] = {
                "principalId": principal.object_id,
                "clientId": principal.client_id,
            }
    if identities:
        body["identity"]["userAssignedIdentities"] = identities
    return body


def check_update(name: str, old: dict[str, Any], new: dict[str, Any], state: str) -> None:
    """Refuse a change that needs the group to be deleted first.

    Raises:
        ArmError: 400 InvalidContainerGroupUpdate, 409 InvalidResourceLocation.
    """
    if old["location"] != new["location"]:
        raise ArmError(
            409,
            "InvalidResourceLocation",
            f"The resource '{name}' already exists in location '{old['location']}'. A resource "
            f"with the same name cannot be created in location '{new['location']}'. Please select "
            "a new resource name.",
        )
    if state in ("Succeeded", "Failed"):
        raise ArmError(
            400,
            "InvalidContainerGroupUpdate",
            f"The container group '{name}' has terminated and cannot be updated; it must be "
            "deleted and created again.",
        )
    if list(_fixed(old["properties"])) != list(_fixed(new["properties"])):
        raise ArmError(
            400,
            "InvalidContainerGroupUpdate",
            f"The updates on container group '{name}' are invalid. If you are going to update the "
            "os type, restart policy, network profile, CPU, memory or GPU resources for a "
            "container group, you must delete it first and then create a new one.",
        )


def check_gpu(resource: Resource) -> None:
    """Fail a group that asks for a GPU: retired on 14 July 2025, and still accepted by the schema
    (Azure docs: "Deploy container instances that use GPU resources", and its troubleshooting).

    Raises:
        ArmError: ServiceUnavailable.
    """
    for container in resource.properties["containers"]:
        resources = container["properties"]["resources"]
        if resources["requests"].get("gpu") or (resources.get("limits") or {}).get("gpu"):
            raise aci_rules.not_available(resource.body["location"], resource.properties)


def _fixed(properties: dict[str, Any]) -> Iterator[Any]:
    """What cannot change while a group exists, in comparable form."""
    yield properties["osType"]
    yield [each["id"].lower() for each in properties.get("subnetIds") or []]
    yield properties.get("restartPolicy", "Always")
    for container in properties["containers"]:
        requests = container["properties"]["resources"]["requests"]
        limits = container["properties"]["resources"].get("limits") or {}
        for values in (requests, limits):
            yield values.get("cpu"), values.get("memoryInGB"), values.get("gpu")


def _without_secrets(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    if isinstance(value, dict):
        return {
            name: _without_secrets(item) for name, item in value.items() if name not in SECRET_KEYS
        }
    return value
