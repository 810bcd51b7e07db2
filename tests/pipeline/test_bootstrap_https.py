"""`python -m engine.deploy bootstrap` where environments need storage, with the real `az`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.azure_double.client import AzureDouble

from .bootstrap_world import SLUG, Bootstrap, changes, copied
from .commands import Azure

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]
GROUP = f"{SLUG}-staging"


def test_the_shares_are_made_once_and_its_key_let_in_again(
    double: AzureDouble, rendered_service: Path, deploy_python: Path, tmp_path: Path
) -> None:
    service = copied(rendered_service, tmp_path)
    with (service / "deploy" / "environments" / "staging.yaml").open("a") as file:
        zone = "{name: example.org, resource_group: dns}"
        file.write(f"https: {{email: ops@example.org, domains: [a.example.org], zone: {zone}}}\n")
        file.write("volumes: [{share: models, path: /models}]\n")
    bootstrap = Bootstrap(double, service, deploy_python)
    env = {**bootstrap.env(double.owner), "GH": "/nowhere/gh"}
    az = Azure(double, env)
    double.register("Microsoft.Network")
    az("group", "create", "--name", "dns", "--location", "westeurope")
    zone_id = az("network", "dns", "zone", "create", "-g", "dns", "-n", "example.org")["id"]
    made = bootstrap("--without-github", env=env)
    assert made.code == 0, made.err
    assert f'role "{SLUG} certificates"' in made.out + made.err
    (given,) = az("role", "assignment", "list", "--scope", zone_id)
    assert given["roleDefinitionName"] == f"{SLUG} own names"
    (account,) = az("storage", "account", "list", "--resource-group", GROUP)
    assert account["minimumTlsVersion"] == "TLS1_2"
    share = ("--resource-group", GROUP, "--storage-account", account["name"])
    assert az("storage", "share-rm", "show", *share, "--name", "certificates")["shareQuota"] == 1
    assert az("storage", "share-rm", "show", *share, "--name", "models")["shareQuota"] == 100

    before = changes(double)
    again = bootstrap("--without-github", env=env)
    assert again.code == 0, again.err
    assert changes(double) == before

    name = ("--name", account["name"], "--resource-group", GROUP)
    az("storage", "account", "update", *name, "--allow-shared-key-access", "false")
    repaired = bootstrap("--without-github", env=env)
    assert repaired.code == 0, repaired.err
    (account,) = az("storage", "account", "list", "--resource-group", GROUP)
    assert account["allowSharedKeyAccess"] is True


def test_a_container_for_captured_requests_is_made_once_and_the_service_may_write_to_it_alone(
    double: AzureDouble, rendered_service: Path, deploy_python: Path, tmp_path: Path
) -> None:
    service = copied(rendered_service, tmp_path)
    staging = service / "deploy" / "environments" / "staging.yaml"
    place = "https://iriscaptured.blob.core.windows.net/staging"
    content = yaml.safe_load(staging.read_text(encoding="utf-8"))
    content["variables"] = {**content.get("variables", {}), "CAPTURE": place}
    staging.write_text(yaml.safe_dump(content), encoding="utf-8")
    bootstrap = Bootstrap(double, service, deploy_python)
    env = {**bootstrap.env(double.owner), "GH": "/nowhere/gh"}
    planned = bootstrap("--dry-run", "--only", "staging", env=env)
    assert planned.code == 0, planned.err
    assert "az storage container-rm create" in planned.out
    assert changes(double) == []

    made = bootstrap("--only", "staging", env=env)
    assert made.code == 0, made.err
    az, shared = Azure(double, env), ("--resource-group", f"{SLUG}-shared")
    (account,) = az("storage", "account", "list", *shared)
    # No key opens it, and nobody without a role.
    seen = (account["allowSharedKeyAccess"], account["allowBlobPublicAccess"])
    assert (account["name"], *seen) == ("iriscaptured", False, False)
    named = ("--storage-account", "iriscaptured", "--name", "staging")
    container = az("storage", "container-rm", "show", *shared, *named)
    runtime = az("identity", "show", *shared, "--name", f"{SLUG}-runtime")["principalId"]
    given = {
        each["scope"]: each["roleDefinitionName"]
        for each in az("role", "assignment", "list", "--all")
        if each["principalId"] == runtime
    }
    assert given.pop(container["id"]) == "Storage Blob Data Contributor"
    assert set(given.values()) == {"AcrPull"}

    before = changes(double)
    again = bootstrap("--only", "staging", env=env)
    assert again.code == 0, again.err
    assert changes(double) == before

    down = bootstrap.deploy(env, "down", "staging", "--yes")
    assert down.code == 0, down.err
    assert az("storage", "account", "list", *shared) == [account]
