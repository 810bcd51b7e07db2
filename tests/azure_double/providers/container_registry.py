"""Microsoft.ContainerRegistry: registries. Their images are served by `registry.front`."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterable
from typing import Any

from ..arm import ids
from ..arm.azure import Azure, Provider
from ..arm.call import Answer, Call, demand, lister, remove, show
from ..arm.errors import ArmError, not_modelled
from ..arm.routes import ResourceType, Route
from ..arm.store import Resource
from ..dockerrun import DockerRun
from ..registry import permissions, tickets
from ..registry.front import Front
from ..registry.storage import folder

NAMESPACE = "Microsoft.ContainerRegistry"
VERSIONS = frozenset({"2023-07-01", "2025-04-01", "2025-11-01", "2026-09-01-preview"})
NAME = re.compile(r"^[a-zA-Z0-9]{5,50}$")
SKUS = ("Basic", "Standard", "Premium")
LEGACY = "LegacyRegistryPermissions"
DEFAULTS: dict[str, Any] = {
    "adminUserEnabled": False,
    "anonymousPullEnabled": False,
    "dataEndpointEnabled": False,
    "publicNetworkAccess": "Enabled",
    "networkRuleBypassOptions": "AzureServices",
    "zoneRedundancy": "Disabled",
    "roleAssignmentMode": LEGACY,
}
"""What a property is when nobody sets it; only those of `SETTABLE` may be something else."""
SETTABLE = {"roleAssignmentMode": (LEGACY, permissions.ABAC), "adminUserEnabled": (False, True)}
"""The admin user can be on, to be found and turned off; its password opens nothing here."""


class ContainerRegistry(Provider):
    """Registries, each with a process and a port of its own."""

    namespace = NAMESPACE

    def __init__(self, azure: Azure) -> None:
        super().__init__(azure)
        self.registries = ResourceType(NAMESPACE, "registries", VERSIONS, on_delete=self._close)
        self._docker = DockerRun(azure.settings.run_id)
        self._fronts: dict[str, Front] = {}

    def types(self) -> Iterable[ResourceType]:
        """Registries."""
        return (self.registries,)

    def routes(self) -> Iterable[Route]:
        """Everything on the control plane; images are not its business."""
        registries = self.registries
        yield registries.put(self.put)
        yield registries.patch(self.patch)
        yield registries.get(show)
        yield registries.delete(remove)
        yield registries.list(lister(registries.name))
        yield registries.list_all(lister(registries.name))
        yield registries.in_subscription(
            "POST", "checkNameAvailability", self.check_name, "checkNameAvailability/read"
        )

    async def put(self, call: Call) -> Answer:
        """Create a registry, or change its settings."""
        name = call.values["name"]
        existing = self.azure.store.get(call.id)
        if not NAME.match(name):
            raise ArmError(
                400,
                "InvalidResourceName",
                f"Registry names may contain only alphanumeric characters and must be between 5 "
                f"and 50 characters in length; '{name}' does not.",
            )
        if existing is None and self._is_taken(name):
            raise ArmError(
                409, "AlreadyInUse", f"The registry DNS name {name.lower()}.azurecr.io is in use."
            )
        body = _checked(call.body)
        if existing:
            body["properties"] = {**existing.properties, **body["properties"]}
            return Answer(200, self.azure.store.put(call.id, body, existing.hidden).shown())
        return Answer(201, (await self._open(call, body)).shown())

    async def patch(self, call: Call) -> Answer:
        """Change the tags, or the mode of role assignments."""
        registry = call.resource()
        if unknown := set(call.body) - {"tags", "properties", "identity"}:
            raise not_modelled(f"a change of a registry's {sorted(unknown)}")
        registry.properties.update(_properties(call.body.get("properties") or {}))
        if "tags" in call.body:
            registry.body["tags"] = call.body["tags"]
        return Answer(200, registry.shown())

    async def check_name(self, call: Call) -> Answer:
        """Whether a name is free; the DNS name is the same for everyone in the world."""
        name = demand(call.body, "name")
        if not NAME.match(name):
            reason, message = "Invalid", f"The specified resource name {name} is invalid."
        elif self._is_taken(name):
            reason, message = "AlreadyExists", f"The registry {name} is already in use."
        else:
            return Answer(200, {"nameAvailable": True})
        return Answer(200, {"nameAvailable": False, "reason": reason, "message": message})

    async def reset(self) -> None:
        """End all processes and throw their images away."""
        for identifier in list(self._fronts):
            await self._end(identifier)

    def _is_taken(self, name: str) -> bool:
        wanted = name.lower()
        if self.azure.faults.take("acr.name-taken", wanted):
            return True
        return any(
            each.name.lower() == wanted for each in self.azure.store.list(self.registries.name)
        )

    async def _open(self, call: Call, body: dict[str, Any]) -> Resource:
        name = call.values["name"]
        front = Front(self.azure, folder(self.azure.settings, name))
        await front.start()
        await self._docker.remember_registry(front.login_server)
        self._fronts[ids.key(call.id)] = front
        body["properties"] |= {
            "loginServer": front.login_server,
            "provisioningState": "Succeeded",
        }
        hidden = {tickets.KEY: secrets.token_hex(32), "sent": call.body}
        registry = self.azure.store.put(call.id, body, hidden)
        front.belongs_to(registry)
        return registry

    async def _close(self, registry: Resource) -> None:
        await self._end(ids.key(registry.id))

    async def _end(self, identifier: str) -> None:
        if front := self._fronts.pop(identifier, None):
            await front.stop()
            await self._docker.forget_registry(front.login_server)
            images = folder(self.azure.settings, ids.name(identifier))
            shutil.rmtree(images, ignore_errors=True)


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    """The body that a registry is made of.

    Raises:
        ArmError: a rule is broken, or the double does not know what is asked.
    """
    if unknown := set(body) - {"location", "sku", "tags", "properties", "identity"}:
        raise not_modelled(f"{sorted(unknown)} of a registry")
    if body.get("identity"):
        raise not_modelled("the identity of a registry")
    sku = demand(body, "sku.name")
    if sku not in SKUS:
        raise ArmError(400, "InvalidSku", f"The SKU '{sku}' is none of {', '.join(SKUS)}.")
    return {
        "location": demand(body, "location"),
        "sku": {"name": sku, "tier": sku},
        "tags": body.get("tags") or {},
        "properties": {**DEFAULTS, **_properties(body.get("properties") or {})},
    }


def _properties(asked: dict[str, Any]) -> dict[str, Any]:
    """The properties that were asked for; most must be what the double has anyway."""
    given = {name: value for name, value in asked.items() if value is not None}
    for name, value in given.items():
        allowed = SETTABLE.get(name, (DEFAULTS.get(name),))
        if name not in DEFAULTS or value not in allowed:
            raise not_modelled(f"the property {name}={value!r} of a registry")
    return given
