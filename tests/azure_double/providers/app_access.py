"""Identities of an app, and the images that they may pull."""

from __future__ import annotations

from typing import Any

from ..arm import ids
from ..arm.azure import Azure
from ..arm.call import Call
from ..arm.errors import ArmError, not_modelled
from ..engine import Engine
from ..registry import pulls
from .app_document import identities
from .app_rules import refuse

ASSIGN = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
JOIN = "Microsoft.App/managedEnvironments/join/action"


def check_identities(call: Call, document: dict[str, Any]) -> None:
    """Refuse identities that do not exist or that the caller may not attach.

    Raises:
        ArmError: 400 FailedIdentityOperation, 403 LinkedAuthorizationFailed.
    """
    kind = (document.get("identity") or {}).get("type") or "None"
    if kind not in ("None", "UserAssigned"):
        raise not_modelled(f"an identity of type {kind} of a container app")
    for each in identities(document):
        call.require_linked(ASSIGN, each)
        if call.azure.principals.by_resource(each) is None:
            raise refuse(
                "FailedIdentityOperation",
                f"Identity operation for resource '{call.id}' failed with error 'Failed to perform "
                f"resource identity operation. Resource '{each}' was not found.'.",
            )


def check_registries(document: dict[str, Any]) -> None:
    """Refuse credentials that name an identity which the app does not have.

    Raises:
        ArmError: 400.
    """
    configuration = document["properties"]["configuration"]
    attached = {ids.key(each) for each in identities(document)}
    named = [each.get("identity") for each in configuration.get("registries") or []]
    named += [each.get("identity") for each in configuration.get("identitySettings") or []]
    if any(not each or each == "system" for each in named):
        raise not_modelled("a registry with a password or a system-assigned identity")
    for each in named:
        if ids.key(each) not in attached:
            raise refuse(
                "ContainerAppRegistryIdentityNotAssigned",
                f"The identity '{each}' is not assigned to the container app.",
            )


class Images:
    """What an app pulls, as whom."""

    def __init__(self, azure: Azure, engine: Engine, document: dict[str, Any]) -> None:
        self._azure = azure
        self._engine = engine
        self._registries = document["properties"]["configuration"].get("registries") or []

    async def check(self, container: dict[str, Any]) -> None:
        """Azure looks at the image before it accepts a revision.

        Raises:
            ArmError: 400 InvalidParameterValueInContainerTemplate, with the registry's answer.
        """
        try:
            await self.pull(container["image"])
        except pulls.PullRefused as problem:
            raise ArmError(
                400,
                "InvalidParameterValueInContainerTemplate",
                "The following field(s) are either invalid or missing. Field "
                f"'template.containers.{container['name']}.image' is invalid with details: "
                f"'Invalid value: \"{container['image']}\": {self._reason(container, problem)}';.",
            ) from problem

    async def pull(self, image: str) -> None:
        """Fetch an image with the roles that the identity has now.

        Raises:
            PullRefused: no credential, no role, or no such image.
        """
        identity = self._identity(image)
        principal = self._azure.principals.by_resource(identity) if identity else None
        if principal is None:
            raise pulls.PullRefused("UNAUTHORIZED: authentication required")
        await pulls.pull(self._azure, self._engine, image, principal)

    def _identity(self, image: str) -> str:
        for each in self._registries:
            if each["server"].lower() == pulls.server_of(image):
                return str(each["identity"])
        return ""

    def _reason(self, container: dict[str, Any], problem: pulls.PullRefused) -> str:
        identity, server = self._identity(container["image"]), pulls.server_of(container["image"])
        if "unauthorized" in str(problem).lower() and identity:
            return f"unable to pull image using Managed identity {identity} for registry {server}"
        return f"GET https:: {problem}"
