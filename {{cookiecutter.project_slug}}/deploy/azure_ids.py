"""Ids and names of Azure's own, the same in every subscription."""

from __future__ import annotations

import re
from collections.abc import Iterable

ACR_PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
"""The role AcrPull: lets an identity pull from a registry."""

REPOSITORY_READER = "b93aa761-3e63-49ed-ac28-beffa264f7ac"
"""The role Container Registry Repository Reader: AcrPull's successor in registries under ABAC."""

PROVIDERS = {"aci": "Microsoft.ContainerInstance", "containerapps": "Microsoft.App"}
"""Target to the resource provider that a subscription has to be registered for."""


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
