"""Deployments as records, workspaces, Application Insights, tags: through the real `az`."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from .commands import Azure, CommandError
from .test_double_rules import rest

pytestmark = pytest.mark.slow

SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
VERSION = "api-version=2021-04-01"


def record(az: Azure, name: str, value: Any, kind: str = "object", **template: Any) -> Any:
    body = {
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "resources": [],
        "outputs": {"record": {"type": kind, "value": value}},
        **template,
    }
    path = f"{az.group('rg')}/providers/Microsoft.Resources/deployments/{name}?{VERSION}"
    return rest(az, "put", path, {"properties": {"mode": "Incremental", "template": body}})


def test_a_deployment_without_resources_keeps_its_outputs(az: Azure) -> None:
    made = record(az, "iris-1", {"phase": "started", "list": [1, "[[literal]"]})
    assert made["properties"]["provisioningState"] == "Accepted"
    assert "outputs" not in made["properties"]
    time.sleep(0.5)
    shown = az("deployment", "group", "show", "--resource-group", "rg", "--name", "iris-1")
    assert shown["properties"]["provisioningState"] == "Succeeded"
    assert shown["properties"]["outputs"] == {
        "record": {"type": "Object", "value": {"phase": "started", "list": [1, "[literal]"]}}
    }
    az("deployment", "group", "delete", "--resource-group", "rg", "--name", "iris-1")
    assert az("deployment", "group", "list", "--resource-group", "rg") == []


def test_az_deployment_creates_one_from_a_file(az: Azure, tmp_path: Any) -> None:
    az.group("rg")
    template = tmp_path / "template.json"
    outputs = {"answer": {"type": "int", "value": 42}}
    body = {"$schema": SCHEMA, "contentVersion": "1.0.0.0", "resources": [], "outputs": outputs}
    template.write_text(f"// a comment is legal here\n{json.dumps(body)}")
    made = az(
        *("deployment", "group", "create", "--resource-group", "rg", "--name", "d"),
        *("--template-file", str(template)),
    )
    assert made["properties"]["outputs"]["answer"]["value"] == 42


def test_a_deployment_that_runs_is_not_replaced(az: Azure) -> None:
    az.double.inject(point="deployments.slow", where="*/iris-1", detail={"seconds": 3600})
    record(az, "iris-1", {"number": 1})
    with pytest.raises(CommandError, match="DeploymentActive"):
        record(az, "iris-1", {"number": 2})
    with pytest.raises(CommandError, match="DeploymentActive"):
        az("deployment", "group", "delete", "--resource-group", "rg", "--name", "iris-1")


@pytest.mark.parametrize(
    ("value", "kind", "template", "message"),
    [
        ("[resourceGroup().id]", "string", {}, "does not model expressions"),
        ({}, "array", {}, "not of type 'array'"),
        ({}, "object", {"resources": [{"type": "x"}]}, "does not model deployments"),
    ],
)
def test_templates_that_do_more_are_refused(
    az: Azure, value: Any, kind: str, template: dict[str, Any], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        record(az, "iris-1", value, kind, **template)


def test_a_workspace_keeps_its_keys_to_those_who_may_act(az: Azure) -> None:
    scope = az.group("rg")
    name = ("--resource-group", "rg", "--workspace-name", "iris-logs")
    made = az("monitor", "log-analytics", "workspace", "create", *name, "--location", "westeurope")
    keys = az("monitor", "log-analytics", "workspace", "get-shared-keys", *name)
    again = az("monitor", "log-analytics", "workspace", "create", *name, "--location", "westeurope")
    assert again["customerId"] == made["customerId"]
    stored = az.double.resource(made["id"])
    assert stored is not None
    assert stored["hidden"]["primary"] == keys["primarySharedKey"]
    assert keys["primarySharedKey"] not in json.dumps(stored["body"])
    reader = Azure(az.double, az.double.env(az.double.principal("x", ("Reader", scope))))
    with pytest.raises(CommandError, match=r"AuthorizationFailed.*sharedKeys/action"):
        reader("monitor", "log-analytics", "workspace", "get-shared-keys", *name)


def test_application_insights_belongs_to_a_workspace(az: Azure) -> None:
    scope = az.group("rg")
    workspace = f"{scope}/providers/Microsoft.OperationalInsights/workspaces/iris-logs"
    properties = {"Application_Type": "web", "WorkspaceResourceId": workspace}
    whole = {"location": "westeurope", "kind": "web", "properties": properties}
    create = ["resource", "create", "--resource-group", "rg", "--name", "iris-insights"]
    create += ["--resource-type", "Microsoft.Insights/components", "--is-full-object"]
    create += ["--api-version", "2020-02-02", "--properties", json.dumps(whole)]
    with pytest.raises(CommandError, match="InvalidWorkspace"):
        az(*create)
    name = ("--resource-group", "rg", "--workspace-name", "iris-logs")
    az("monitor", "log-analytics", "workspace", "create", *name, "--location", "westeurope")
    made = az(*create)
    assert made["properties"]["ConnectionString"].startswith("InstrumentationKey=")
    listed = az("resource", "list", "--resource-group", "rg")
    assert {each["name"] for each in listed} == {"iris-logs", "iris-insights"}
    az(
        *("monitor", "diagnostic-settings", "create", "--name", "logs", "--resource", made["id"]),
        *("--workspace", workspace, "--logs", '[{"category":"x","enabled":true}]'),
    )
    shown = az("monitor", "diagnostic-settings", "show", "--name", "logs", "--resource", made["id"])
    assert shown["workspaceId"] == workspace


def test_tags_are_merged(az: Azure) -> None:
    az.group("rg")
    identity = az.identity("rg", "one")
    change = ("tag", "update", "--resource-id", identity["id"], "--operation")
    az(*change, "Merge", "--tags", "a=1", "b=2")
    az(*change, "Merge", "--tags", "b=3")
    az(*change, "Delete", "--tags", "a=1")
    assert az("identity", "show", "--ids", identity["id"])["tags"] == {"b": "3"}
