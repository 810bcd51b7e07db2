"""Identities of a container group, and the right to pull its images."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ..arm import ids
from ..arm.azure import Azure
from ..arm.call import Call
from ..arm.errors import ArmError, not_modelled
from ..engine import Engine
from ..registry import pulls
from . import networks

ASSIGN = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"


def check_identities(call: Call) -> None:
    """Refuse identities that do not exist or that the caller may not attach.

    Raises:
        ArmError: 400 FailedIdentityOperation, 403 LinkedAuthorizationFailed.
    """
    identity = call.body.get("identity") or {}
    kind = identity.get("type") or "None"
    if kind not in ("None", "UserAssigned"):
        raise not_modelled(f"an identity of type {kind} of a container group")
    attached = attached_identities(call.body)
    if bool(attached) != (kind == "UserAssigned"):
        raise ArmError(
            400,
            "InvalidIdentityValues",
            f"Invalid value for the identities '{','.join(attached)}' with the type '{kind}'.",
        )
    for each in attached:
        call.require_linked(ASSIGN, each)
        if call.azure.principals.by_resource(each) is None:
            raise ArmError(
                400,
                "FailedIdentityOperation",
                f"Identity operation for resource '{call.id}' failed with error 'Failed to "
                f"perform resource identity operation. Resource '{each}' was not found.'.",
            )


def attached_identities(document: dict[str, Any]) -> list[str]:
    """The identifiers of the user-assigned identities of a group."""
    return list((document.get("identity") or {}).get("userAssignedIdentities") or {})


def check_image(azure: Azure, name: str, document: dict[str, Any]) -> None:
    """Refuse images that the group's credentials do not open.

    Raises:
        ArmError: 400 InvalidImageRegistryIdentity or InaccessibleImage.
    """
    attached = {ids.key(each) for each in attached_identities(document)}
    for credential in document["properties"].get("imageRegistryCredentials") or []:
        if credential.get("username") or credential.get("password"):
            raise not_modelled("the admin user of a registry")
        if ids.key(credential.get("identity") or "") not in attached:
            raise ArmError(
                400,
                "InvalidImageRegistryIdentity",
                f"The identity in the 'imageRegistryCredentials' of container group '{name}' not "
                "found in container group identity list",
            )
    for container in document["properties"]["containers"]:
        image = container["properties"]["image"]
        principal = _principal(azure, document, image)
        if principal is None or not pulls.may_pull(azure, image, principal):
            raise ArmError(
                400,
                "InaccessibleImage",
                f"The image '{image}' in container group '{name}' is not accessible. Please check "
                "the image and registry credential.",
            )


def puller(
    azure: Azure, engine: Engine, document: dict[str, Any]
) -> Callable[[str], Awaitable[None]]:
    """What fetches the images of a group, with the roles that its identity has at that moment."""

    async def pull(image: str) -> None:
        if not networks.way_out(azure, document):
            server = pulls.server_of(image)
            raise pulls.PullRefused(f'Get "https://{server}/v2/": dial tcp: i/o timeout')
        principal = _principal(azure, document, image)
        if principal is None:
            raise pulls.PullRefused("unauthorized: authentication required")
        await pulls.pull(azure, engine, image, principal)

    return pull


def _principal(azure: Azure, document: dict[str, Any], image: str) -> Any:
    """Who pulls an image: the identity of the credential for its server; None without one."""
    for credential in document["properties"].get("imageRegistryCredentials") or []:
        if credential["server"].lower() == pulls.server_of(image):
            return azure.principals.by_resource(credential["identity"])
    return None
