"""A cluster from nothing, with the real `az` and a real control plane of Kubernetes: `bootstrap`
makes all of it, and the deploy identity may do what a deploy does there and nothing else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.azure_double.client import AzureDouble, Person
from tests.engine.kubernetes.control_plane import ControlPlane
from tests.engine.kubernetes.definitions import GATEWAY_API, define
from tests.engine.kubernetes.docker_node import DockerNode
from tests.engine.kubernetes.guard import Guard
from tests.service.containers import docker_client

from .bootstrap_world import SLUG, Bootstrap, Ran, changes, copied
from .commands import Azure

pytestmark = pytest.mark.slow
STAGE = f"{SLUG}-staging"
CLUSTER = f"{STAGE}-cluster"


@pytest.fixture
def plane(double: AzureDouble, tmp_path: Path) -> Iterator[ControlPlane]:
    """The API server of the cluster that will be made; its webhook asks the double."""
    if shutil.which("go") is None:
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say("Go is not installed; it builds Kubernetes: https://go.dev/doc/install")

    def principal(token: str) -> str | None:
        found: str | None = double.ask("aks.principal", {"token": token})
        return found

    def allows(user: str, namespace: str, action: str) -> bool:
        asked = {"principal": user, "namespace": namespace, "action": action, "name": CLUSTER}
        return bool(double.ask("aks.allows", asked))

    with Guard(principal, allows) as guard, ControlPlane(tmp_path / "plane", guard.address) as it:
        define(it, GATEWAY_API)
        known = {"name": CLUSTER, "server": it.server, "authority": it.authority}
        double.ask("aks.connect", known)
        yield it


@pytest.fixture
def service(rendered_service: Path, tmp_path: Path) -> Path:
    """The repository, with staging on a cluster and without production."""
    folder = copied(rendered_service, tmp_path / "repository")
    environments = folder / "deploy" / "environments"
    (environments / "production.yaml").unlink()
    file = environments / "staging.yaml"
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    for field in ("copies", "switch", "dns", "container_logs"):
        del content[field]
    file.write_text(yaml.safe_dump({**content, "target": "aks"}), encoding="utf-8")
    _commit(folder)
    return folder


def test_a_cluster_is_made_once_with_the_fewest_rights(
    double: AzureDouble, plane: ControlPlane, service: Path, deploy_python: Path
) -> None:
    bootstrap = Bootstrap(double, service, deploy_python)
    env = {**bootstrap.env(double.owner), "GH": "/nowhere/gh"}
    dry = bootstrap("--without-github", "--dry-run", env=env)
    assert dry.code == 0, dry.err
    assert f"kubectl --context {CLUSTER} apply --server-side" in dry.out
    assert changes(double) == []
    made = bootstrap("--without-github", env=env)
    assert made.code == 0, made.err
    az = Azure(double, env)
    cluster = az("aks", "show", "--name", CLUSTER, "--resource-group", STAGE)
    assert cluster["disableLocalAccounts"] is True
    assert cluster["aadProfile"]["enableAzureRbac"] is True
    given = az("role", "assignment", "list", "--scope", cluster["id"])
    names = {each["roleDefinitionName"] for each in given}
    assert {"Reader", "Azure Kubernetes Service Cluster User Role"} < names
    within = f"{cluster['id']}/namespaces/{STAGE}"
    (writer,) = az("role", "assignment", "list", "--scope", within)
    assert writer["roleDefinitionName"] == "Azure Kubernetes Service RBAC Writer"
    route = f"/apis/gateway.networking.k8s.io/v1/namespaces/{STAGE}/httproutes/{STAGE}"
    assert plane.ask("GET", route)["spec"]["rules"][0]["backendRefs"][0]["name"] == STAGE

    before = changes(double)
    again = bootstrap("--without-github", env=env)
    assert again.code == 0, again.err
    assert changes(double) == before


@pytest.mark.exhaustive
def test_the_daily_commands_on_a_cluster(
    double: AzureDouble,
    plane: ControlPlane,
    service: Path,
    deploy_python: Path,
    tmp_path: Path,
) -> None:
    """As the identity that bootstrap gave its roles; pods run on Docker."""
    bootstrap = Bootstrap(double, service, deploy_python)
    owner = {**bootstrap.env(double.owner), "GH": "/nowhere/gh", "DOCKER": docker_client()}
    made = bootstrap("--without-github", env=owner)
    assert made.code == 0, made.err
    deployer = {**bootstrap.env(_deployer(double, owner)), "DOCKER": docker_client()}

    def run(*command: str, env: dict[str, str] = deployer, code: int = 0) -> Ran:
        done = bootstrap.deploy(env, *command)
        assert done.code == code, done.err + done.out
        return done

    with DockerNode(plane, "docker-0", tmp_path):
        run("push", env=owner)
        first = run("up", "staging")
        assert "answers: as in training" in first.err
        assert "staging: deployed" in first.err
        again = run("up", "staging")
        assert "nothing to change" in again.err
        assert "kept" in run("status", "staging").out
        assert '"ready"' in run("logs", "staging").out
        assert "is healthy" in run("doctor", "staging").out

        _more(service, "LOG_LEVEL", "debug")
        run("push", env=owner)
        second = run("up", "staging")
        assert "staging: deployed" in second.err
        back = run("rollback", "staging")
        assert "staging: deployed" in back.err
        run("stop", "staging")
        assert "stopped" in run("status", "staging").out
        run("start", "staging")
        assert "kept" in run("status", "staging").out
        pruned = run("prune", "--keep", "0", "--dry-run", env=owner)
        assert "nothing" in pruned.out + pruned.err or pruned.code == 0
        left = run("down", "staging", "--yes", env=owner)
        assert "nothing of it bills" in left.err


def _deployer(double: AzureDouble, owner: dict[str, str]) -> Person:
    """Somebody with the roles of the deploy identity, and a secret to log in with."""
    az = Azure(double, owner)
    identity = az("identity", "show", "-n", f"{SLUG}-deploy-staging", "-g", f"{SLUG}-shared")
    listed = az("role", "assignment", "list", "--all", "--assignee", identity["principalId"])
    roles = [(each["roleDefinitionName"], each["scope"]) for each in listed]
    assert len(roles) == 8, roles
    return double.principal("deploy", *roles)


def _more(service: Path, name: str, value: str) -> None:
    """A commit with another setting."""
    file = service / "deploy" / "environments" / "staging.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content["variables"][name] = value
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    _commit(service)


def _commit(service: Path) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *who, "commit", "--quiet", "-am", "change"], cwd=service, check=True)
