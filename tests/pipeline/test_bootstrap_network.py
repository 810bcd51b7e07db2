"""`python -m engine.deploy bootstrap` where an environment is private, with the real `az`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.azure_double.client import AzureDouble

from .bootstrap_world import SLUG, Bootstrap, changes, copied
from .commands import Azure

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]
GROUP = f"{SLUG}-staging"
IN_GROUP = ("--resource-group", GROUP)


def test_the_network_is_made_once_repaired_and_removed(
    double: AzureDouble, rendered_service: Path, deploy_python: Path, tmp_path: Path
) -> None:
    service = copied(rendered_service, tmp_path)
    staging = service / "deploy" / "environments" / "staging.yaml"
    content = yaml.safe_load(staging.read_text(encoding="utf-8"))
    del content["dns"]
    content["alerts"]["outside_check_minutes"] = 0
    staging.write_text(yaml.safe_dump({**content, "network": {}}), encoding="utf-8")
    name = content["name"]
    bootstrap = Bootstrap(double, service, deploy_python)
    env = {**bootstrap.env(double.owner), "GH": "/nowhere/gh"}
    planned = bootstrap("--dry-run", "--only", "staging", env=env)
    assert planned.code == 0, planned.err
    assert "az network nat gateway create" in planned.out
    assert changes(double) == []

    made = bootstrap("--only", "staging", env=env)
    assert made.code == 0, made.err
    assert "about $32.85 a month" in made.out + made.err
    az = Azure(double, env)
    where = (*IN_GROUP, "--vnet-name", name, "--name", "containers")
    subnet = az("network", "vnet", "subnet", "show", *where)
    assert subnet["addressPrefix"] == "10.20.0.0/24"
    assert subnet["delegations"][0]["serviceName"] == "Microsoft.ContainerInstance/containerGroups"
    assert subnet["natGateway"]["id"].endswith(f"/natGateways/{name}")
    (given,) = az("role", "assignment", "list", "--scope", subnet["id"])
    assert given["roleDefinitionName"] == f"{SLUG} subnet"
    (role,) = az("role", "definition", "list", "--name", f"{SLUG} subnet")
    subnets = "Microsoft.Network/virtualNetworks/subnets"
    assert role["permissions"][0]["actions"] == [f"{subnets}/read", f"{subnets}/join/action"]

    before = changes(double)
    again = bootstrap("--only", "staging", env=env)
    assert again.code == 0, again.err
    assert changes(double) == before

    # A subnet that lost its delegation is found by a plan, and put right by the bootstrap.
    az("network", "vnet", "subnet", "update", *where, "--remove", "delegations")
    refused = bootstrap.deploy(env, "plan", "staging")
    assert f"the subnet {name}/containers is not delegated to" in refused.err
    repaired = bootstrap("--only", "staging", env=env)
    assert repaired.code == 0, repaired.err
    assert az("network", "vnet", "subnet", "show", *where)["delegations"]

    plan = bootstrap.deploy(env, "plan", "staging")
    assert "the network $36.50 a month, stopped or not" in plan.out, plan.err
    down = bootstrap.deploy(env, "down", "staging", "--yes")
    assert down.code == 0, down.err
    assert not [each for each in double.resources() if "/virtualnetworks" in each.lower()]
