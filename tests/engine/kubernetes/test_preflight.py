"""What is refused before a deploy to a cluster begins; the cases are those of Microsoft's pages."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest
from engine.deploy.az import Az
from engine.deploy.az_error import AzError, Problem
from engine.deploy.targets.aks.client import Access, KubeClient
from engine.deploy.targets.aks.environment import AksEnvironment
from engine.deploy.targets.aks.preflight import findings
from engine.deploy.targets.aks.target import Aks
from engine.deploy.targets.base import Places

CLUSTER = {"aadProfile": {"enableAzureRbac": True}, "powerState": {"code": "Running"}}
POOL = {
    "vmSize": "Standard_NC4as_T4_v3",
    "nodeImageVersion": "AKSUbuntu-2204gen2containerd-202607.02.0",
    "nodeTaints": ["sku=gpu:NoSchedule"],
    "enableAutoScaling": True,
    "maxCount": 2,
}


class Shown:
    """`az` as far as it is asked."""

    def __init__(self, cluster: Any, pool: Any = None) -> None:
        self._cluster = cluster
        self._pool = pool

    def find(self, *arguments: str) -> Any:
        found = self._pool if "nodepool" in arguments else self._cluster
        if isinstance(found, AzError):
            raise found
        return found


def told(cluster: Any, pool: Any = None, **fields: object) -> list[str]:
    environment = AksEnvironment.model_validate(
        {"stage": "staging", "target": "aks", "region": "westeurope"}
        | {"name": "iris-staging", "resource_group": "iris", **fields}
    )
    found = findings(cast("Az", Shown(cluster, pool)), environment)
    return [f"{'' if each.fatal else 'maybe: '}{each.cause}; {each.fix}" for each in found]


def test_a_cluster_that_is_ready_passes() -> None:
    assert told(CLUSTER) == []
    assert told(CLUSTER, POOL, gpu="t4") == []
    assert told(CLUSTER, POOL | {"enableAutoScaling": False, "count": 2}, gpu="t4") == []


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        (None, "there is no cluster iris-staging-cluster in iris; .*bootstrap"),
        (CLUSTER | {"powerState": {"code": "Stopped"}}, "is stopped; az aks start --name"),
        (CLUSTER | {"aadProfile": None}, "does not ask Azure's roles .*--enable-azure-rbac"),
        (AzError(Problem("AuthorizationFailed", 403, "no"), "az aks show"), "maybe: .* Reader"),
    ],
)
def test_what_a_cluster_lacks_is_told(cluster: Any, words: str) -> None:
    (found,) = told(cluster)
    assert re.search(words, found)


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        (None, "has no node pool gpu"),
        ({"vmSize": "Standard_NV36ads_A10_v5"}, "whose driver has no CUDA 13"),
        ({"vmSize": "Standard_NC24ads_A100_v4"}, "gpu is t4, and the machines of pool gpu are"),
        (
            {"nodeImageVersion": "AKSUbuntu-2204gen2containerd-202512.18.0"},
            "too old for CUDA 13; az aks nodepool upgrade .*--node-image-only",
        ),
        ({"nodeTaints": None}, "maybe: .*the taint sku=gpu:NoSchedule"),
        ({"maxCount": 1}, "would wait for a GPU for ever.*max-count to 2.*replace: true"),
        ({"enableAutoScaling": False, "count": 1}, "would wait for a GPU for ever"),
    ],
)
def test_a_pool_that_cannot_take_a_deploy_is_refused(pool: Any, words: str) -> None:
    (found,) = told(CLUSTER, None if pool is None else POOL | pool, gpu="t4")
    assert re.search(words, found)


def test_the_gpus_of_a_machine_are_counted() -> None:
    four = POOL | {"vmSize": "Standard_NC64as_T4_v3", "maxCount": 1}
    assert told(CLUSTER, four, gpu="t4", replicas={"max": 2}) == []
    assert told(CLUSTER, four, gpu="t4", gpu_count=2) == []
    (found,) = told(CLUSTER, four, gpu="t4", replicas={"max": 3})
    assert "at most 1 machines, and a deploy needs 2" in found
    (found,) = told(CLUSTER, POOL, gpu="t4", gpu_count=2)
    assert "gpu_count is 2, and a machine of pool gpu, a Standard_NC4as_T4_v3, has 1" in found


def test_a_cluster_that_is_not_there_holds_nothing() -> None:
    """So the plan says that bootstrap makes it, and no command ends with an error of az."""

    def access() -> Access:
        raise AzError(Problem("ResourceNotFound", 404, "no cluster"), "az aks get-credentials")

    environment = AksEnvironment.model_validate(
        {"stage": "staging", "target": "aks", "region": "westeurope", "name": "iris"}
        | {"resource_group": "iris"}
    )
    client = KubeClient(access, environment.own_namespace)
    assert Aks(environment, Places("s", "r", "i"), client).read() is None


def test_one_gpu_is_enough_for_who_accepts_a_gap() -> None:
    assert told(CLUSTER, POOL | {"maxCount": 1}, gpu="t4", replace=True) == []
