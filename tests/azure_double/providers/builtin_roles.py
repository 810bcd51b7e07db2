"""Built-in roles that a deployment may use, with the actions that decide here.

Azure's published role tables, shortened to the namespaces that the double knows. Where the tables
and reports from the field differ, the narrower reading is taken: what passes here passes there.
"""

from __future__ import annotations

from dataclasses import dataclass

READ_ROLES = "Microsoft.Authorization/*/read"
READ_GROUPS = "Microsoft.Resources/subscriptions/resourceGroups/read"
DEPLOYMENTS = "Microsoft.Resources/deployments/*"
REGISTRIES = "Microsoft.ContainerRegistry/registries"
CONTAINERS = "Microsoft.Storage/storageAccounts/blobServices/containers"
IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"

CLUSTERS = "Microsoft.ContainerService/managedClusters"
_READ_IN_NAMESPACE = (
    *("apps/replicasets", "events", "namespaces", "discovery.k8s.io/endpointslices"),
    *("metrics.k8s.io/pods", "resourcequotas"),
)
_WRITTEN_IN_NAMESPACE = (
    *("apps/deployments", "services", "pods", "secrets", "configmaps", "serviceaccounts"),
    *("autoscaling/horizontalpodautoscalers", "policy/poddisruptionbudgets", "batch/jobs"),
    *("networking.k8s.io/ingresses", "networking.k8s.io/networkpolicies"),
)


@dataclass(frozen=True)
class Role:
    """One role definition; ``id`` is the same GUID in every tenant."""

    name: str
    id: str
    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()


def _repositories(*verbs: str) -> tuple[str, ...]:
    return tuple(
        f"{REGISTRIES}/repositories/{part}/{verb}"
        for verb in verbs
        for part in ("metadata", "content")
    )


ROLES = (
    Role("Owner", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", ("*",)),
    Role(
        "Contributor",
        "b24988ac-6180-42a0-ab88-20f7382dd24c",
        ("*",),
        (
            "Microsoft.Authorization/*/Delete",
            "Microsoft.Authorization/*/Write",
            "Microsoft.Authorization/elevateAccess/Action",
        ),
    ),
    Role("Reader", "acdd72a7-3385-48ef-bd42-f606fba81ae7", ("*/read",)),
    Role(
        "User Access Administrator",
        "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
        ("*/read", "Microsoft.Authorization/*"),
    ),
    Role(
        "Role Based Access Control Administrator",
        "f58310d9-a9f6-439a-9e8d-f62e7b41a168",
        (
            "Microsoft.Authorization/roleAssignments/write",
            "Microsoft.Authorization/roleAssignments/delete",
            "*/read",
        ),
    ),
    Role(
        "Storage Blob Data Contributor",
        "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
        tuple(f"{CONTAINERS}/{verb}" for verb in ("delete", "read", "write")),
        data_actions=tuple(f"{CONTAINERS}/blobs/{verb}" for verb in ("delete", "read", "write")),
    ),
    Role("AcrPull", "7f951dda-4ed3-4680-a7ca-43fe172d538d", (f"{REGISTRIES}/pull/read",)),
    Role(
        "AcrPush",
        "8311e382-0749-4cb8-b61a-304f252e45ec",
        (f"{REGISTRIES}/pull/read", f"{REGISTRIES}/push/write"),
    ),
    Role("AcrDelete", "c2f4ef07-c644-48eb-af81-4b1b4947fb11", (f"{REGISTRIES}/artifacts/delete",)),
    Role(
        "Container Registry Repository Reader",
        "b93aa761-3e63-49ed-ac28-beffa264f7ac",
        data_actions=_repositories("read"),
    ),
    Role(
        "Container Registry Repository Writer",
        "2a1e307c-b015-4ebd-883e-5b7698a07328",
        data_actions=_repositories("read", "write"),
    ),
    Role(
        "Container Registry Repository Contributor",
        "2efddaa5-3f1f-4df3-97df-af3f13818f4c",
        data_actions=_repositories("read", "write", "delete"),
    ),
    Role(
        "Managed Identity Operator",
        "f1a07417-d97a-45cb-824c-7a7467783830",
        (
            f"{IDENTITIES}/*/read",
            f"{IDENTITIES}/*/assign/action",
            f"{IDENTITIES}/read",
            f"{IDENTITIES}/assign/action",
            READ_ROLES,
            READ_GROUPS,
            DEPLOYMENTS,
        ),
    ),
    Role(
        "Managed Identity Contributor",
        "e40ec5ca-96e0-45a2-b4ff-59039f2c2b59",
        (
            f"{IDENTITIES}/read",
            f"{IDENTITIES}/write",
            f"{IDENTITIES}/delete",
            f"{IDENTITIES}/federatedIdentityCredentials/*",
            READ_ROLES,
            READ_GROUPS,
            DEPLOYMENTS,
        ),
    ),
    Role(
        "Azure Kubernetes Service Cluster User Role",
        "4abbcc35-e782-43d8-92c5-2d3f1bd2253f",
        (f"{CLUSTERS}/listClusterUserCredential/action", f"{CLUSTERS}/read"),
    ),
    # As far as a deploy needs it; what the table withholds (nodes, roles, custom resources) is not
    # here.
    Role(
        "Azure Kubernetes Service RBAC Writer",
        "a7ffa36f-339b-4b5c-8bdf-e2c188b2c0eb",
        (READ_ROLES, READ_GROUPS, DEPLOYMENTS),
        data_actions=(
            *(f"{CLUSTERS}/{each}/read" for each in _READ_IN_NAMESPACE),
            *(f"{CLUSTERS}/{each}/*" for each in _WRITTEN_IN_NAMESPACE),
        ),
    ),
    Role(
        "Azure Kubernetes Service RBAC Cluster Admin",
        "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b",
        (READ_ROLES, READ_GROUPS, DEPLOYMENTS, f"{CLUSTERS}/listClusterUserCredential/action"),
        data_actions=(f"{CLUSTERS}/*",),
    ),
    Role(
        "Azure Container Instances Contributor Role",
        "5d977122-f97e-4b4d-a52f-6b43003ddb4d",
        ("Microsoft.ContainerInstance/containerGroups/*", READ_ROLES, READ_GROUPS),
    ),
    # Its patterns have a star between type and verb and do not match "containerApps/write" itself,
    # nor does it hold managedEnvironments/join/action: a custom role is needed to deploy an app.
    Role(
        "Container Apps Contributor",
        "358470bc-b998-42bd-ab17-a7e34c199c0f",
        (
            "Microsoft.App/containerApps/*/read",
            "Microsoft.App/containerApps/*/write",
            "Microsoft.App/containerApps/*/delete",
            "Microsoft.App/containerApps/*/action",
            "Microsoft.App/managedEnvironments/read",
            "Microsoft.App/managedEnvironments/*/read",
            READ_ROLES,
            READ_GROUPS,
            DEPLOYMENTS,
        ),
    ),
    Role(
        "Container Apps ManagedEnvironments Contributor",
        "57cc5028-e6a7-4284-868d-0611c5923f8d",
        (
            "Microsoft.App/managedEnvironments/*/read",
            "Microsoft.App/managedEnvironments/*/write",
            "Microsoft.App/managedEnvironments/*/delete",
            "Microsoft.App/managedEnvironments/*/action",
            READ_ROLES,
            READ_GROUPS,
            DEPLOYMENTS,
        ),
    ),
    Role(
        "Traffic Manager Contributor",
        "a4b10055-b0c7-44c2-b00f-c7b5b3550cf7",
        ("Microsoft.Network/trafficManagerProfiles/*", READ_ROLES, READ_GROUPS, DEPLOYMENTS),
    ),
    Role(
        "Log Analytics Contributor",
        "92aaf0da-9dab-42b6-94a3-d43ce8d16293",
        ("*/read", "Microsoft.OperationalInsights/*", READ_GROUPS, DEPLOYMENTS),
    ),
    Role(
        "Log Analytics Reader",
        "73c42c96-874c-492b-b04d-ab87d138a893",
        ("*/read", "Microsoft.OperationalInsights/workspaces/analytics/query/action"),
        ("Microsoft.OperationalInsights/workspaces/sharedKeys/read",),
    ),
)
