"""Microsoft.ContainerService: clusters, their node pools, and what their API servers ask.

The control plane itself is not here: a test connects a real one (``aks.connect``), whose webhook
asks for the owner of a token (``aks.principal``) and for what its roles allow (``aks.allows``).
Sent properties are kept as they are; az makes them from the service's own models.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from ..arm.access import Principal
from ..arm.azure import Azure, ControlHandler, Provider
from ..arm.call import Answer, Call, demand, lister, remove, show
from ..arm.errors import ArmError
from ..arm.routes import ResourceType, Route
from ..arm.store import Resource

NAMESPACE = "Microsoft.ContainerService"
VERSIONS = frozenset({"2026-06-01"})
AUDIENCE = "6dae42f8-4368-4678-94ff-3960e28e3630"
"""The application of all API servers (Microsoft's page on kubelogin)."""
MAKING_SECONDS = 1.0
"""Five to ten minutes in Azure."""


class ContainerService(Provider):
    """Clusters with Entra; their identity for machines is a principal of the tenant."""

    namespace = NAMESPACE

    def __init__(self, azure: Azure) -> None:
        super().__init__(azure)
        self.clusters = ResourceType(NAMESPACE, "managedClusters", VERSIONS, on_delete=self._forget)
        self.pools = ResourceType(NAMESPACE, "managedClusters/agentPools", VERSIONS)
        self._planes: dict[str, dict[str, str]] = {}

    def types(self) -> Iterable[ResourceType]:
        """Clusters and their pools."""
        return self.clusters, self.pools

    def routes(self) -> Iterable[Route]:
        """What `az aks create`, `show`, `update`, `nodepool` and `get-credentials` call."""
        clusters, pools = self.clusters, self.pools
        yield clusters.put(self.put)
        yield clusters.get(show)
        yield clusters.delete(remove)
        yield clusters.list(lister(clusters.name))
        yield clusters.list_all(lister(clusters.name))
        yield clusters.post("listClusterUserCredential", self.credentials)
        yield pools.put(self.put_pool)
        yield pools.get(show)
        yield pools.delete(remove)
        yield pools.list(lister(pools.name))

    def control(self) -> Mapping[str, ControlHandler]:
        """``aks.connect``: server and authority of a cluster that is made or will be; by its name.
        ``aks.principal`` and ``aks.allows``: see above.
        """
        return {
            "aks.connect": self._connect,
            "aks.principal": self._principal,
            "aks.allows": self._allows,
        }

    async def reset(self) -> None:
        """No cluster is connected."""
        self._planes.clear()

    async def put(self, call: Call) -> Answer:
        """Make a cluster, or change it."""
        location = demand(call.body, "location")
        sent = copy.deepcopy(call.body.get("properties") or {})
        existing = self.azure.store.get(call.id)
        name = call.values["name"]
        properties: dict[str, Any] = {
            "kubernetesVersion": "1.37",
            "currentKubernetesVersion": "1.37.2",
            "fqdn": f"{name}-dns.hcp.{location}.azmk8s.io",
            "nodeResourceGroup": f"MC_{call.values['group']}_{name}_{location}",
            **(existing.properties if existing else {}),
            **sent,
            "provisioningState": "Succeeded" if existing else "Creating",
        }
        if existing is None:
            principal = self.azure.principals.add(
                Principal(f"{name}-agentpool", str(uuid.uuid4()), str(uuid.uuid4()))
            )
            properties["identityProfile"] = {
                "kubeletidentity": {
                    "resourceId": f"{call.id}/agentpool",
                    "clientId": principal.client_id,
                    "objectId": principal.object_id,
                }
            }
        body = {**call.body, "properties": properties}
        resource = self.azure.store.put(call.id, body)
        for pool in sent.get("agentPoolProfiles") or []:
            self._pool(f"{call.id}/agentPools/{pool['name']}", pool)
        if existing is None:
            self._done_later(resource)
        return Answer(200 if existing else 201, resource.shown())

    async def put_pool(self, call: Call) -> Answer:
        """Make a pool, or change it."""
        existing = self.azure.store.get(call.id)
        resource = self._pool(call.id, call.body.get("properties") or {})
        return Answer(200 if existing else 201, resource.shown())

    async def credentials(self, call: Call) -> Answer:
        """A kubeconfig for kubelogin; without Entra it would hold a certificate of the admin."""
        cluster = call.resource()
        plane = self._planes.get(call.values["name"].lower())
        if plane is None:
            raise ArmError(400, "ResourceNotReady", "The cluster has no API server yet.")
        name = call.values["name"]
        authority = base64.b64encode(plane["authority"].encode()).decode()
        user: dict[str, Any] = {
            "exec": {
                "apiVersion": "client.authentication.k8s.io/v1beta1",
                "command": "kubelogin",
                "args": ["get-token", "--login", "devicecode", "--server-id", AUDIENCE],
                "provideClusterInfo": False,
            }
        }
        if not (cluster.properties.get("aadProfile") or {}).get("managed"):
            user = {"client-certificate-data": "", "client-key-data": ""}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": name,
                    "cluster": {
                        "server": plane["server"],
                        "certificate-authority-data": authority,
                    },
                }
            ],
            "users": [{"name": f"clusterUser_{call.values['group']}_{name}", "user": user}],
            "contexts": [
                {
                    "name": name,
                    "context": {
                        "cluster": name,
                        "user": f"clusterUser_{call.values['group']}_{name}",
                    },
                }
            ],
            "current-context": name,
        }
        value = base64.b64encode(yaml.safe_dump(config).encode()).decode()
        return Answer(200, {"kubeconfigs": [{"name": "clusterUser", "value": value}]})

    def _pool(self, identifier: str, sent: Mapping[str, Any]) -> Resource:
        known = {key: value for key, value in sent.items() if key != "name"}
        properties = {
            "currentOrchestratorVersion": "1.37.2",
            "nodeImageVersion": "AKSUbuntu-2204gen2containerd-202607.02.0",
            **known,
            "provisioningState": "Succeeded",
        }
        return self.azure.store.put(identifier, {"properties": properties})

    def _done_later(self, resource: Resource) -> None:
        async def done() -> None:
            await asyncio.sleep(MAKING_SECONDS)
            resource.properties["provisioningState"] = "Succeeded"

        self.azure.operations.start(done)

    async def _forget(self, cluster: Resource) -> None:
        identity = cluster.properties["identityProfile"]["kubeletidentity"]
        self.azure.principals.remove(identity["clientId"])

    async def _connect(self, values: dict[str, Any]) -> Any:
        self._planes[values["name"].lower()] = values
        return {}

    async def _principal(self, values: dict[str, Any]) -> Any:
        try:
            found = self.azure.tokens.principal(values["token"], AUDIENCE)
        except ArmError:
            return None
        return found.object_id

    async def _allows(self, values: dict[str, Any]) -> Any:
        """Roles hold on the cluster, or on one namespace of it."""
        (cluster,) = [
            each
            for each in self.azure.store.list(self.clusters.name)
            if each.name.lower() == values["name"].lower()
        ]
        scope = f"{cluster.id}/namespaces/{values['namespace']}"
        if not values["namespace"]:
            scope = cluster.id
        action = f"{self.clusters.name}/{values['action']}"
        return self.azure.access.allows_data(values["principal"], action, scope)
