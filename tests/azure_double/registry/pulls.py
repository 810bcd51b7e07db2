"""Pulls by managed identity: what Container Instances and Container Apps do to get an image."""

from __future__ import annotations

from ..arm.access import Principal
from ..arm.azure import Azure
from ..arm.store import Resource
from ..engine import Engine, EngineError
from . import permissions, tickets
from .storage import storage

TYPE = "Microsoft.ContainerRegistry/registries"


class PullRefused(Exception):
    """The image cannot be had; the message is the registry's."""


def server_of(image: str) -> str:
    """The login server in an image's name; "" when it names none."""
    first, found, _ = image.partition("/")
    return first if found and ("." in first or ":" in first or first == "localhost") else ""


def repository_of(image: str) -> str:
    """The repository in an image's name, without server, tag and digest."""
    name = image.removeprefix(server_of(image)).lstrip("/").partition("@")[0]
    return name.partition(":")[0]


def registry_of(azure: Azure, server: str) -> Resource | None:
    """The registry with this login server, in whatever group."""
    for registry in azure.store.list(TYPE):
        if registry.properties["loginServer"] == server.lower():
            return registry
    return None


def may_pull(azure: Azure, image: str, principal: Principal) -> bool:
    """Whether the principal has, now, a role that lets it pull the image."""
    registry = registry_of(azure, server_of(image))
    if registry is None:
        return False
    wanted = [permissions.PULL]
    return bool(permissions.granted(azure.access, principal.object_id, registry, wanted))


async def pull(azure: Azure, engine: Engine, image: str, principal: Principal) -> None:
    """Fetch an image from its registry with a token for the principal.

    Raises:
        PullRefused: no registry, no role, or no such image.
    """
    registry = registry_of(azure, server_of(image))
    if registry is None:
        raise PullRefused(f"no registry at {server_of(image) or image}")
    if not may_pull(azure, image, principal):
        raise PullRefused("unauthorized: authentication required")
    _require_manifest(azure, registry, image)
    scope = tickets.Scope("repository", repository_of(image), (permissions.PULL,))
    try:
        await engine.pull(image, tickets.access(registry, principal.object_id, [scope]))
    except EngineError as problem:
        raise PullRefused(str(problem)) from problem


def _require_manifest(azure: Azure, registry: Resource, image: str) -> None:
    """Docker does not ask the registry for a digest that it has seen before; Azure does."""
    digest = image.partition("@")[2]
    images = storage(azure.settings, registry.name)
    if digest and digest not in images.manifests(repository_of(image)):
        raise PullRefused(f"manifest for {image} not found: manifest unknown")
