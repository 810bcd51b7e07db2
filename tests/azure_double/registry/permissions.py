"""What a principal may do with the images of a registry, by its role assignments."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..arm.access import Access
from ..arm.store import Resource

NAMESPACE = "Microsoft.ContainerRegistry/registries"
ABAC = "AbacRepositoryPermissions"
PULL, PUSH, DELETE = "pull", "push", "delete"
METADATA_READ, METADATA_WRITE = "metadata_read", "metadata_write"
CATALOG = "catalog"

BY_ACTION = {
    PULL: "pull/read",
    PUSH: "push/write",
    DELETE: "artifacts/delete",
    METADATA_READ: "pull/read",
    METADATA_WRITE: "push/write",
    CATALOG: "pull/read",
}
BY_DATA_ACTION = {
    PULL: "repositories/content/read",
    PUSH: "repositories/content/write",
    DELETE: "repositories/content/delete",
    METADATA_READ: "repositories/metadata/read",
    METADATA_WRITE: "repositories/metadata/write",
    CATALOG: "catalog/read",
}


def granted(access: Access, object_id: str, registry: Resource, wanted: Iterable[str]) -> list[str]:
    """Which of the wanted permissions a principal has now.

    A registry in ABAC mode honours only data actions, so AcrPull, AcrPush and AcrDelete mean
    nothing there (Azure docs: "ABAC repository permissions").
    """
    if registry.properties.get("roleAssignmentMode") == ABAC:
        rules: dict[str, str] = BY_DATA_ACTION
        allows: Callable[[str, str, str], bool] = access.allows_data
    else:
        rules, allows = BY_ACTION, access.allows
    return [
        each
        for each in wanted
        if each in rules and allows(object_id, f"{NAMESPACE}/{rules[each]}", registry.id)
    ]
