"""Ids and names of Azure's own, the same in every subscription."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

ACR_PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
"""The role AcrPull: lets an identity pull from a registry."""

REPOSITORY_READER = "b93aa761-3e63-49ed-ac28-beffa264f7ac"
"""The role Container Registry Repository Reader: AcrPull's successor in registries under ABAC."""

PULLING_ROLES = frozenset(
    {
        ACR_PULL,
        "8311e382-0749-4cb8-b61a-304f252e45ec",  # AcrPush
        "b24988ac-6180-42a0-ab88-20f7382dd24c",  # Contributor
        "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",  # Owner
        "acdd72a7-3385-48ef-bd42-f606fba81ae7",  # Reader
    }
)
"""The roles of which each one lets an identity pull from a registry that is not under ABAC."""


def plain(word: object) -> str:
    """One spelling of what Azure spells as it likes: ids, names, types, locations, words of state.

    Resource Manager compares them without regard to case and gives back whichever spelling it
    keeps; a location comes as "West Europe" and as "westeurope".
    """
    return re.sub(r"\s+", "", str(word)).rstrip("/").lower()


def same(one: object, other: object) -> bool:
    """Whether two names of Azure's mean the same; None is no name."""
    return one is not None and other is not None and plain(one) == plain(other)


def one_of(word: object, words: Iterable[object]) -> bool:
    """Whether a name is among others."""
    return any(same(word, each) for each in words)


def member(document: Mapping[str, Any], name: str) -> Any:
    """The member of a JSON object, whichever case its name comes in; None where there is none."""
    if name in document:
        return document[name]
    return next((value for key, value in document.items() if same(key, name)), None)


def is_abac(registry: Mapping[str, Any]) -> bool:
    """Whether a registry, as `az acr show` shows it, decides by attributes who may pull."""
    return plain(registry.get("roleAssignmentMode")).startswith("abac")


def honoured_roles(*, abac: bool | None) -> frozenset[str]:
    """The roles that let an identity pull from a registry."""
    return frozenset({REPOSITORY_READER}) if abac else PULLING_ROLES


def is_registered(provider: Mapping[str, Any]) -> bool:
    """Whether a subscription may use a resource provider, as `az provider show` shows it.

    Azure asks not to wait for the end of a registration that has begun.
    """
    return one_of(provider.get("registrationState", "Registered"), ("Registered", "Registering"))


def roles_of(identity: Mapping[str, Any], assignments: Iterable[Mapping[str, Any]]) -> set[str]:
    """The ids of an identity's roles, from what `az role assignment list` shows."""
    return {
        plain(each["roleDefinitionId"]).rpartition("/")[2]
        for each in assignments
        if same(each["principalId"], identity["principalId"])
    }
