"""Where a cluster's API server is, and a token for it: `az` alone, no kubelogin and no kubectl."""

from __future__ import annotations

import base64
from typing import Any, Final

import yaml

from engine.deploy.az import Az
from engine.deploy.targets.aks.client import Access
from engine.deploy.targets.aks.environment import Cluster
from engine.errors import EngineError

AUDIENCE: Final = "6dae42f8-4368-4678-94ff-3960e28e3630"
"""The application of all API servers of AKS (Microsoft's page on kubelogin)."""


def access_of(az: Az, cluster: Cluster) -> Access:
    """Ask Azure for them.

    Raises:
        AzError: there is no such cluster, or this login may not use it.
        EngineError: the cluster cannot be asked with a token of Entra.
    """
    place = ("--name", cluster.name, "--resource-group", cluster.resource_group)
    shown = yaml.safe_load(az.text("aks", "get-credentials", *place, "--file", "-"))
    try:
        found: dict[str, Any] = shown["clusters"][0]["cluster"]
        authority = base64.b64decode(found["certificate-authority-data"]).decode()
        server = str(found["server"])
        user = shown["users"][0]["user"]
    except (TypeError, KeyError, IndexError, ValueError):
        raise EngineError(
            f"the credentials of cluster {cluster.name} have no server and certificate",
            f"look at them: `az aks get-credentials {' '.join(place)} --file -`",
        ) from None
    if "client-certificate-data" in user:
        raise EngineError(
            f"cluster {cluster.name} lets local accounts in and knows no Entra",
            f"turn Entra on: `az aks update {' '.join(place)} --enable-aad --enable-azure-rbac`, "
            f"then `az aks update {' '.join(place)} --disable-local-accounts`",
        )
    answer = az.json("account", "get-access-token", "--resource", AUDIENCE)
    token = str(answer["accessToken"])
    az.say.hide([token])
    return Access(server, authority, token)
