"""What a cluster needs once: itself, its rights, and what only an administrator of Kubernetes may
make. One cluster may hold several environments.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from engine.deploy.bootstrap.inputs import Inputs
from engine.deploy.bootstrap.price import Cost
from engine.deploy.bootstrap.role import Role
from engine.deploy.bootstrap.roles import ACR_PULL, READER, RoleScope, assignment
from engine.deploy.bootstrap.step import Command, Rule, Step, always, az
from engine.deploy.targets.aks.document import GPU_TAINT, NAME_LABEL, Object
from engine.deploy.targets.aks.environment import AksEnvironment, Cluster
from engine.deploy.targets.aks.rules import GPUS

# Their ids are those of Microsoft's list of built-in roles for containers.
CLUSTER_USER: Final = Role(
    "Azure Kubernetes Service Cluster User Role", "4abbcc35-e782-43d8-92c5-2d3f1bd2253f"
)
WRITER: Final = Role("Azure Kubernetes Service RBAC Writer", "a7ffa36f-339b-4b5c-8bdf-e2c188b2c0eb")
CLUSTER_ADMIN: Final = Role(
    "Azure Kubernetes Service RBAC Cluster Admin", "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b"
)

MACHINE: Final = "Standard_D4s_v5"
GATEWAY_CLASS: Final = "approuting-istio"
RESTRICTED: Final = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")
}
PLUGIN: Final = "nvidia-device-plugin"
PLUGIN_NAMESPACE: Final = "gpu-resources"
_PLUGIN_IMAGE: Final = "nvcr.io/nvidia/k8s-device-plugin:v0.18.0"
_MACHINES = Cost(0.0, f"1 to 3 machines {MACHINE}, a load balancer and an address, used or not")
_POOL = Cost(0.0, "free while nothing runs on it; then its machines")


def steps(inputs: Inputs, stage: str, environment: AksEnvironment) -> tuple[Step, ...]:
    """All steps of one environment; those of the cluster come with the first one that is on it."""
    cluster = environment.own_cluster
    first = next(each for each, it in inputs.environments.items() if _on(it, cluster))
    return (
        *(_of_cluster(inputs, environment) if stage == first else ()),
        *_pool(environment),
        *_objects(environment),
        *_rights(inputs, stage, environment),
    )


def cluster_id(inputs: Inputs, cluster: Cluster) -> str:
    """Azure's id."""
    group = inputs.group_id(cluster.resource_group)
    return f"{group}/providers/Microsoft.ContainerService/managedClusters/{cluster.name}"


def _on(environment: object, cluster: Cluster) -> bool:
    return isinstance(environment, AksEnvironment) and environment.own_cluster == cluster


def _key(cluster: Cluster) -> str:
    return f"cluster {cluster.name}"


def _place(cluster: Cluster) -> tuple[str, ...]:
    return ("--name", cluster.name, "--resource-group", cluster.resource_group)


def _of_cluster(inputs: Inputs, environment: AksEnvironment) -> Iterator[Step]:
    cluster = environment.own_cluster
    scope = RoleScope(_key(cluster), cluster_id(inputs, cluster))
    registry = RoleScope(f"registry {inputs.project.registry}", inputs.registry_id())
    yield _cluster(inputs, environment)
    yield assignment(
        *(inputs, _key(cluster), ACR_PULL, registry, "lets the cluster's machines pull the image"),
        principal="identityProfile.kubeletidentity.objectId",
    )
    who = f"login to {_key(cluster)}"
    yield Step(
        key=who,
        what=f"your login to {_key(cluster)}",
        purpose="makes the objects of Kubernetes that a deploy may not make",
        look=_kubectl(cluster, "auth", "whoami", "--output", "json"),
        make=(),
    )
    yield assignment(
        *(inputs, who, CLUSTER_ADMIN, scope, "lets you make namespaces and gateways"),
        principal="status.userInfo.extra.oid.0",
        # A person, or a service principal: Azure finds out.
        kind=(),
    )


def _cluster(inputs: Inputs, environment: AksEnvironment) -> Step:
    cluster = environment.own_cluster
    place = _place(cluster)
    return Step(
        key=_key(cluster),
        what=_key(cluster),
        purpose="is the machines that run the service, and what watches over them",
        look=az("aks", "show", *place),
        make=(
            az(
                *("aks", "create", *place, "--location", environment.region, "--no-wait"),
                *("--sku", "base", "--tier", "free", "--no-ssh-key"),
                *("--enable-aad", "--enable-azure-rbac", "--disable-local-accounts"),
                *("--enable-oidc-issuer", "--enable-workload-identity"),
                *("--enable-gateway-api", "--enable-app-routing-istio"),
                *("--node-vm-size", MACHINE, "--node-count", "1"),
                *("--enable-cluster-autoscaler", "--min-count", "1", "--max-count", "3"),
                *("--auto-upgrade-channel", "stable", "--node-os-upgrade-channel", "NodeImage"),
                *("--tags", f"project={inputs.project.name}"),
            ),
        ),
        state="provisioningState",
        rules=(
            Rule(
                path="aadProfile.enableAzureRbac",
                wanted=True,
                wrong="does not ask Azure's roles who may do what in it",
                repair=always(az("aks", "update", *place, "--enable-aad", "--enable-azure-rbac")),
            ),
            Rule(
                path="disableLocalAccounts",
                wanted=True,
                wrong="lets local accounts in, which no role of Azure limits",
                fix=f"az aks update {' '.join(place)} --disable-local-accounts, once nobody uses "
                "one",
            ),
        ),
        cost=_MACHINES,
    )


def _pool(environment: AksEnvironment) -> Iterator[Step]:
    """Machines with GPUs, of which there are none while nothing asks for one."""
    if environment.gpu not in GPUS:
        return
    cluster = environment.own_cluster
    place = (
        *("--name", environment.gpu_pool, "--cluster-name", cluster.name),
        *("--resource-group", cluster.resource_group),
    )
    replicas = environment.replicas.max * (1 if environment.replace else 2)
    yield Step(
        key=f"pool {environment.gpu_pool} of {_key(cluster)}",
        what=f"node pool {environment.gpu_pool} of {_key(cluster)}",
        purpose=f"gives {environment.stage} a {environment.gpu.upper()} while it runs",
        look=az("aks", "nodepool", "show", *place),
        make=(
            az(
                *("aks", "nodepool", "add", *place, "--mode", "User", "--no-wait"),
                *("--node-vm-size", GPUS[environment.gpu][0], "--os-sku", "Ubuntu"),
                *("--node-taints", f"{GPU_TAINT}=gpu:NoSchedule", "--gpu-driver", "Install"),
                *("--enable-cluster-autoscaler", "--node-count", "0", "--min-count", "0"),
                *("--max-count", str(replicas)),
            ),
        ),
        state="provisioningState",
        rules=(
            Rule(
                path="nodeTaints",
                wanted=(f"{GPU_TAINT}=gpu:NoSchedule",),
                wrong="has other taints than the service tolerates",
                fix=f"az aks nodepool update {' '.join(place)} --node-taints "
                f"{GPU_TAINT}=gpu:NoSchedule",
            ),
        ),
        cost=_POOL,
    )
    yield _object(cluster, "the driver of a GPU offers it to pods", _plugin_namespace())
    yield _object(cluster, "lets pods ask for a GPU", _plugin())


def _objects(environment: AksEnvironment) -> Iterator[Step]:
    cluster, name = environment.own_cluster, environment.name
    within = {"namespace": environment.own_namespace, "labels": {NAME_LABEL: name}}
    namespace = {"name": environment.own_namespace, "labels": {NAME_LABEL: name, **RESTRICTED}}
    yield _object(
        cluster,
        f"holds all of {environment.stage}, and lets in only pods without privileges",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": namespace},
        Rule(
            path=lambda found: found["metadata"]["labels"].get(next(iter(RESTRICTED))),
            wanted="restricted",
            wrong="lets pods with privileges in",
            repair=always(_apply(cluster, {"kind": "Namespace", "metadata": namespace})),
        ),
    )
    yield _object(
        cluster,
        "is who the pods are, with no right in the cluster",
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, **within},
            "automountServiceAccountToken": False,
        },
    )
    yield _object(
        cluster,
        "has the address of the service",
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": name, **within},
            "spec": {
                "gatewayClassName": GATEWAY_CLASS,
                "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
            },
        },
    )
    yield _object(
        cluster,
        "leads from the address to the release that serves",
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": name, **within},
            "spec": {
                "parentRefs": [{"name": name}],
                "rules": [{"backendRefs": [{"name": name, "port": 80}]}],
            },
        },
    )


def _rights(inputs: Inputs, stage: str, environment: AksEnvironment) -> Iterator[Step]:
    """Of the deploy: to know the cluster, and to write in one namespace."""
    who, cluster = f"identity deploy {stage}", environment.own_cluster
    whole = RoleScope(_key(cluster), cluster_id(inputs, cluster))
    inside = RoleScope(
        f"namespace {environment.own_namespace}",
        f"{whole.id}/namespaces/{environment.own_namespace}",
    )
    yield assignment(inputs, who, CLUSTER_USER, whole, "lets the deploy find the cluster")
    yield assignment(inputs, who, READER, whole, "lets the deploy see whether a release will fit")
    yield assignment(inputs, who, WRITER, inside, f"lets the deploy run containers in {stage}")


def _object(cluster: Cluster, purpose: str, wanted: Object, *rules: Rule) -> Step:
    kind, metadata = wanted["kind"], wanted["metadata"]
    namespace = metadata.get("namespace")
    within = f" of namespace {namespace}" if namespace else ""
    look = ("get", kind, metadata["name"], *(("--namespace", namespace) if namespace else ()))
    return Step(
        key=f"{kind} {metadata['name']}{within} in {_key(cluster)}",
        what=f"{kind} {metadata['name']} in {_key(cluster)}",
        purpose=purpose,
        look=_kubectl(cluster, *look, "--ignore-not-found", "--output", "json"),
        make=(_apply(cluster, wanted),),
        rules=rules,
    )


def _apply(cluster: Cluster, wanted: Mapping[str, Any]) -> Command:
    command = _kubectl(cluster, "apply", "--server-side", "--force-conflicts", "--filename", "-")
    return Command("kubectl", command.arguments, json.dumps({"apiVersion": "v1", **wanted}))


def _kubectl(cluster: Cluster, *arguments: str) -> Command:
    return Command("kubectl", ("--context", cluster.name, *arguments))


def _plugin_namespace() -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PLUGIN_NAMESPACE}}


def _plugin() -> Object:
    """NVIDIA's own, on machines with the pool's taint (Microsoft's page on GPUs of AKS)."""
    labels = {"name": PLUGIN}
    folder = {"name": "device-plugin", "mountPath": "/var/lib/kubelet/device-plugins"}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": PLUGIN, "namespace": PLUGIN_NAMESPACE, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "tolerations": [
                        {"key": GPU_TAINT, "operator": "Equal", "value": "gpu"}
                        | {"effect": "NoSchedule"}
                    ],
                    "nodeSelector": {"kubernetes.azure.com/accelerator": "nvidia"},
                    "containers": [
                        {
                            "name": PLUGIN,
                            "image": _PLUGIN_IMAGE,
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "volumeMounts": [folder],
                        }
                    ],
                    "volumes": [
                        {"name": folder["name"], "hostPath": {"path": folder["mountPath"]}}
                    ],
                },
            },
        },
    }
