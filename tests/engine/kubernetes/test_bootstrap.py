"""The bootstrap of a cluster: Azure is pretended, Kubernetes is a real control plane."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from engine.deploy.az import Az
from engine.deploy.bootstrap import resources
from engine.deploy.bootstrap.inputs import Account, Inputs
from engine.deploy.bootstrap.looks import Clock, Tool
from engine.deploy.bootstrap.runner import MADE, THERE, Result, Runner
from engine.deploy.bootstrap.step import Step
from engine.deploy.config.project import Project
from engine.deploy.say import Say
from engine.deploy.targets.aks.access import access_of
from engine.deploy.targets.aks.bootstrap import steps
from engine.deploy.targets.aks.client import KubeClient, KubeError
from engine.deploy.targets.aks.environment import AksEnvironment
from engine.deploy.targets.aks.kubectl import Kubectl
from engine.errors import EngineError

from tests.engine.bootstrap_world import PretendedAzure
from tests.engine.kubernetes.conftest import DEPLOYER, NOBODY, OWNER
from tests.engine.kubernetes.control_plane import ControlPlane
from tests.engine.kubernetes.definitions import GATEWAY_API, define

STAGES = ("boot-staging", "boot-production")
CLUSTER = {"name": "iris", "resource_group": "iris-cluster"}


class Cloud(PretendedAzure):
    """Azure with one cluster, which is the real control plane; ``who`` is logged in."""

    def __init__(self, plane: ControlPlane, planned: tuple[Step, ...], who: str = OWNER) -> None:
        super().__init__(planned)
        self.say = Say()
        self.dry_run = False
        self._plane = plane
        self._who = who
        # So that commands with this id are known.
        self._made["login to cluster iris"] = {"status": {"userInfo": {"extra": {"oid": [who]}}}}

    def text(self, *arguments: str) -> str:
        """`az aks get-credentials`, as it writes it for a cluster with Entra."""
        assert arguments[:2] == ("aks", "get-credentials")
        authority = base64.b64encode(self._plane.authority.encode()).decode()
        cluster = {"server": self._plane.server, "certificate-authority-data": authority}
        user = {"exec": {"command": "kubelogin"}}
        return yaml.safe_dump({"clusters": [{"cluster": cluster}], "users": [{"user": user}]})

    def json(self, *arguments: str) -> Any:
        """`az account get-access-token`."""
        assert arguments[:2] == ("account", "get-access-token")
        return {"accessToken": f"token-of-{self._who}"}

    def _thing(self, step: Step) -> dict[str, Any]:
        thing = super()._thing(step)
        if step.key == "cluster iris":
            thing["identityProfile"] = {"kubeletidentity": {"objectId": "kubelet"}}
        return thing


def inputs(**fields: Any) -> Inputs:
    """Two environments in one cluster."""
    project = Project(
        name="iris-service",
        title="Iris",
        owner="octo-org",
        accelerator="cpu",
        registry="irisservice",
        region="westeurope",
        shared_resource_group="iris-shared",
    )
    environments = {
        stage: AksEnvironment.model_validate(
            {"stage": stage, "target": "aci", "region": "westeurope", "name": stage}
            | {"resource_group": stage, "cluster": CLUSTER, **fields}
        )
        for stage in STAGES
    }
    return Inputs(project, environments, Account("s", "Pay", "t", "ann"), None, None)


def planned(found: Inputs) -> tuple[Step, ...]:
    """The steps of both environments, and the identities that they give rights to."""
    own = [each for stage, it in found.environments.items() for each in _of(found, stage, it)]
    return (*resources.identities(found), *own)


def _of(found: Inputs, stage: str, environment: Any) -> tuple[Step, ...]:
    return steps(found, stage, cast("AksEnvironment", environment))


def kubectl(cloud: Cloud, found: Inputs) -> Kubectl:
    clusters = {
        it.own_cluster.name: it.own_cluster for it in cast("Any", found.environments).values()
    }
    pauses: list[float] = []
    return Kubectl(cast("Az", cloud), clusters, sleep=pauses.append, clock=lambda: sum(pauses))


def run(cloud: Cloud, found: Inputs) -> tuple[Result, ...]:
    tools: dict[str, Tool] = {"az": cloud, "kubectl": kubectl(cloud, found)}
    pauses: list[float] = []
    clock = Clock(now=lambda: sum(pauses), pause=pauses.append)
    return Runner(tools, Say(), clock=clock).run(planned(found))


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The cluster, with the Gateway API."""
    define(control_plane, GATEWAY_API)
    yield control_plane


def client(cloud: Cloud, who: str, namespace: str) -> KubeClient:
    access = access_of(
        cast("Az", SimpleNamespace(text=cloud.text, json=cloud.json, say=Say())),
        cast("Any", SimpleNamespace(**CLUSTER)),
    )
    return KubeClient(lambda: access, namespace, sleep=lambda _: None)


def test_what_is_missing_is_made_once_and_found_again(plane: ControlPlane) -> None:
    found = inputs()
    cloud = Cloud(plane, planned(found))
    first = run(cloud, found)
    whoami = "your login to cluster iris"
    assert {each.outcome for each in first if each.step.what != whoami} == {MADE}
    changes = len(cloud.changes)
    assert {each.outcome for each in run(cloud, found)} == {THERE}
    assert len(cloud.changes) == changes
    made = [each.step.what for each in first]
    assert len(made) == len(set(made)), "what two environments share is made once"
    scopes = [each[each.index("--scope") + 1] for each in cloud.changes if "--scope" in each]
    inside = [each for each in scopes if "/namespaces/" in each]
    assert [each.rpartition("/")[2] for each in inside] == list(STAGES)


def test_a_namespace_refuses_pods_with_privileges_and_is_put_right(plane: ControlPlane) -> None:
    found = inputs()
    cloud = Cloud(plane, planned(found))
    run(cloud, found)
    stage = STAGES[0]
    name = "pod-security.kubernetes.io/enforce"
    owner = client(cloud, OWNER, "")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "rooted", "namespace": stage},
        "spec": {"containers": [{"name": "x", "image": "x"}]},
    }
    inside = client(cloud, OWNER, stage)
    with pytest.raises(KubeError, match='violates PodSecurity "restricted'):
        inside.apply(pod)
    owner.merge("Namespace", stage, {"metadata": {"labels": {name: "privileged"}}})
    outcomes = {each.step.what: each.outcome for each in run(cloud, found)}
    assert outcomes[f"Namespace {stage} in cluster iris"] == "repaired"
    with pytest.raises(KubeError, match='violates PodSecurity "restricted'):
        inside.apply(pod)


def test_the_route_is_what_the_gateway_api_allows(plane: ControlPlane) -> None:
    """The API server checks both against the schemas of the Gateway API, unknown fields too."""
    found = inputs()
    cloud = Cloud(plane, planned(found))
    run(cloud, found)
    stage = STAGES[1]
    inside = client(cloud, OWNER, stage)
    gateway, route = inside.get("Gateway", stage), inside.get("HTTPRoute", stage)
    assert gateway is not None
    assert route is not None
    assert gateway["spec"]["gatewayClassName"] == "approuting-istio"
    backend = route["spec"]["rules"][0]["backendRefs"][0]
    assert (backend["kind"], backend["name"], backend["port"]) == ("Service", stage, 80)
    with pytest.raises(KubeError, match=r"unknown field|not declared"):
        inside.apply({**route, "spec": {**route["spec"], "parents": []}, "metadata": {"name": "x"}})


def test_who_has_no_right_in_the_cluster_is_told_the_role(plane: ControlPlane) -> None:
    found = inputs(name="other", namespace="boot-other")
    cloud = Cloud(plane, planned(found), NOBODY)
    with pytest.raises(EngineError, match="does not let this login") as raised:
        run(cloud, found)
    assert "RBAC Cluster Admin" in raised.value.fix


def test_a_deploy_may_not_make_what_only_the_bootstrap_makes(plane: ControlPlane) -> None:
    found = inputs()
    cloud = Cloud(plane, planned(found))
    run(cloud, found)
    stage = STAGES[0]
    owner = client(cloud, OWNER, stage)
    route = owner.get("HTTPRoute", stage)
    assert route is not None
    deployer = client(Cloud(plane, (), DEPLOYER), DEPLOYER, stage)
    for kind in ("HTTPRoute", "Gateway"):
        with pytest.raises(KubeError) as raised:
            deployer.merge(kind, stage, {"metadata": {"labels": {"a": "b"}}})
        assert raised.value.status == 403
