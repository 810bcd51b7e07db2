"""Ids and names of Azure's own, the same in every subscription."""

from __future__ import annotations

ACR_PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
"""The role AcrPull: lets an identity pull from a registry."""

REPOSITORY_READER = "b93aa761-3e63-49ed-ac28-beffa264f7ac"
"""The role Container Registry Repository Reader: AcrPull's successor in registries under ABAC."""

PROVIDERS = {"aci": "Microsoft.ContainerInstance", "containerapps": "Microsoft.App"}
"""Target to the resource provider that a subscription has to be registered for."""
