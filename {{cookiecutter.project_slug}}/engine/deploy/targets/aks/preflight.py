"""What only Azure knows about a cluster, asked before anything is changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from engine.deploy.az import Az, AzError
from engine.deploy.azure_ids import same
from engine.deploy.finding import Certainty, Finding
from engine.deploy.targets.aks.document import GPU_TAINT
from engine.deploy.targets.aks.environment import AksEnvironment

_BOOTSTRAP: Final = "`.venv/bin/python -m engine.deploy bootstrap` makes it"
# Families of machines by their names: which GPU they have.
FAMILIES: Final = {
    "t4": re.compile(r"Standard_NC\d+as_T4_v3", re.IGNORECASE),
    "a100": re.compile(r"Standard_N[CD]\d+\w*_A100_v4", re.IGNORECASE),
}
MORE_THAN_ONE: Final = (
    (re.compile(r"Standard_NC64as_T4_v3", re.IGNORECASE), 4),
    (re.compile(r"Standard_NC48\w*_A100_v4", re.IGNORECASE), 2),
    (re.compile(r"Standard_NC96\w*_A100_v4", re.IGNORECASE), 4),
    (re.compile(r"Standard_ND96\w*_A100_v4", re.IGNORECASE), 8),
)
"""Machines with several GPUs (Microsoft's pages on sizes); others of these families have one."""
GRID: Final = re.compile(r"Standard_N[VC]\w*_A10_v[45]", re.IGNORECASE)
"""Their driver is NVIDIA's GRID 570, which has no CUDA 13 (Azure/aks-gpu, issues 154 and 189)."""
OLDEST_IMAGE: Final = "202601.13"
"""The first node image with a driver of the 580 series, which CUDA 13 needs (release notes of
AKS' node images).
"""
_IMAGE = re.compile(r"-(\d{6}\.\d{2})(\.\d+)?$")


def findings(az: Az, environment: AksEnvironment) -> list[Finding]:
    """Is the cluster there and started, and has it machines for the pods of two releases?"""
    cluster = environment.own_cluster
    place = ("--resource-group", cluster.resource_group)
    try:
        found = az.find("aks", "show", "--name", cluster.name, *place)
        pool = None
        if found is not None and environment.gpu != "none":
            named = ("--cluster-name", cluster.name, "--name", environment.gpu_pool)
            pool = az.find("aks", "nodepool", "show", *place, *named)
    except AzError as error:
        if not error.forbidden:
            raise
        cause = f"the cluster {cluster.name} could not be looked at: {error.message}"
        fix = "give the identity the role Reader on it, as bootstrap does"
        return [Finding("not-visible", cause, fix, Certainty.POSSIBLE)]
    if found is None:
        cause = f"there is no cluster {cluster.name} in {cluster.resource_group}"
        return [Finding("missing", cause, _BOOTSTRAP)]
    listed = [*_cluster(found, environment)]
    if environment.gpu != "none":
        listed += _pool(pool, environment)
    return listed


def _cluster(found: dict[str, Any], environment: AksEnvironment) -> Iterator[Finding]:
    cluster = environment.own_cluster
    place = f"--name {cluster.name} --resource-group {cluster.resource_group}"
    if same((found.get("powerState") or {}).get("code"), "Stopped"):
        cause = f"the cluster {cluster.name} is stopped"
        yield Finding("cluster", cause, f"az aks start {place}")
    if not (found.get("aadProfile") or {}).get("enableAzureRbac"):
        cause = f"the cluster {cluster.name} does not ask Azure's roles who may do what in it"
        yield Finding("cluster", cause, f"az aks update {place} --enable-aad --enable-azure-rbac")


def _pool(pool: dict[str, Any] | None, environment: AksEnvironment) -> Iterator[Finding]:
    name, gpu = environment.gpu_pool, environment.gpu
    if pool is None:
        cause = f"the cluster {environment.own_cluster.name} has no node pool {name}"
        yield Finding("gpu-pool", cause, f"{_BOOTSTRAP}, or write its name as gpu_pool")
        return
    size = str(pool.get("vmSize") or "")
    if GRID.fullmatch(size):
        cause = f"the machines of pool {name} are {size}, whose driver has no CUDA 13"
        yield Finding(
            "gpu-pool", cause, "make a pool with a T4 or an A100, and name it as gpu_pool"
        )
    elif gpu in FAMILIES and FAMILIES[gpu].fullmatch(size) is None:
        cause = f"gpu is {gpu}, and the machines of pool {name} are {size}"
        yield Finding("gpu-pool", cause, "change gpu, or name another pool as gpu_pool")
    image = _IMAGE.search(str(pool.get("nodeImageVersion") or ""))
    if image is not None and image[1] < OLDEST_IMAGE:
        cause = (
            f"the machines of pool {name} have the image {pool['nodeImageVersion']}, whose driver "
            "is too old for CUDA 13"
        )
        cluster = environment.own_cluster
        fix = (
            f"az aks nodepool upgrade --name {name} --cluster-name {cluster.name} "
            f"--resource-group {cluster.resource_group} --node-image-only"
        )
        yield Finding("gpu-pool", cause, fix)
    if f"{GPU_TAINT}=gpu:NoSchedule" not in (pool.get("nodeTaints") or []):
        cause = f"pool {name} lets other pods onto its machines with GPUs"
        fix = (
            f"give it the taint {GPU_TAINT}=gpu:NoSchedule, so that they stay free for the service"
        )
        yield Finding("gpu-pool", cause, fix, Certainty.POSSIBLE)
    yield from _room(pool, environment)


def _room(pool: dict[str, Any], environment: AksEnvironment) -> Iterator[Finding]:
    """A release is made beside the one that serves, so both need their GPUs at the same time."""
    name, wanted = environment.gpu_pool, environment.gpu_count
    size = str(pool.get("vmSize") or "")
    each = next((gpus for pattern, gpus in MORE_THAN_ONE if pattern.fullmatch(size)), 1)
    if wanted > each:
        cause = f"gpu_count is {wanted}, and a machine of pool {name}, a {size}, has {each}"
        yield Finding("gpu-pool", cause, f"write gpu_count: {each}, or name another pool")
        return
    most = pool.get("maxCount") if pool.get("enableAutoScaling") else pool.get("count")
    pods = environment.replicas.max * (1 if environment.replace else 2)
    needed = -(-pods // (each // wanted))
    if most is None or most >= needed:
        return
    cause = (
        f"pool {name} has at most {most} machines, and a deploy needs {needed}: the new pods would "
        "wait for a GPU for ever, while the old ones serve"
    )
    yield Finding(
        "gpu-pool",
        cause,
        f"raise its max-count to {needed}, with quota for it, or write replace: true, with which "
        "nothing answers during a deploy",
    )
