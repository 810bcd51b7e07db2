"""A service that can be seen: telemetry, logs, alerts, workbook, budget, figures; the real `az`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.azure_double.client import AzureDouble
from tests.service.conftest import docker_engine

from .bootstrap_world import SLUG, Ran
from .commands import Azure
from .monitoring_world import EMAILS, GROUP, NAME, SHARED, STAGE, Watched, watched

__all__ = ["docker_engine"]
pytestmark = pytest.mark.slow

ACI = f"Microsoft.ContainerInstance/containerGroups/{NAME}"
WORKSPACE = f"Microsoft.OperationalInsights/workspaces/{SLUG}-logs"
LOG_RULES = {
    "NotReady",
    "ErrorRatioHigh",
    "LatencyHigh",
    "Overloaded",
    "GoldenCheckFailed",
    "Drifted",
    "AccuracyLow",
    "Restarting",
}
Change = tuple[Ran, list[str]]


@dataclass
class Story:
    """What was done, in this order."""

    world: Watched
    too_early: Change
    up: Ran
    up_again: Change
    status: Ran
    dry: Change
    first: Change
    again: Change


@pytest.fixture(scope="module")
def story(
    running_double: AzureDouble,
    docker_engine: None,
    rendered_service: Path,
    deploy_python: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Story]:
    """Bootstrap, deploy twice, look, set up what watches it, twice."""
    folder = tmp_path_factory.mktemp("monitoring")
    world = watched(running_double, rendered_service, deploy_python, folder)
    too_early = world.changed_by("monitoring", STAGE)
    up = world("up", STAGE, "--image", world.image, "--verbose", env=world.job)
    up_again = world.changed_by("up", STAGE, "--image", world.image, "--verbose", env=world.job)
    world.double.ask("insights.metrics", {"CpuUsage": 420, "MemoryUsage": 3e8})
    status = world("status", STAGE, "--verbose")
    dry = world.changed_by("monitoring", STAGE, "--dry-run")
    first = world.changed_by("monitoring", STAGE, "--verbose")
    again = world.changed_by("monitoring", STAGE, "--verbose")
    yield Story(world, too_early, up, up_again, status, dry, first, again)
    world.end()
    running_double.reset()


def test_a_deploy_tells_the_service_where_telemetry_and_logs_go(story: Story) -> None:
    assert story.up.code == 0, story.up.err
    group = story.world.kept(ACI)
    assert group is not None
    sent = group["hidden"]["sent"]["properties"]
    connection, _, key, _ = story.world.secrets()
    variables = sent["containers"][0]["properties"]["environmentVariables"]
    given = {each["name"]: each for each in variables}
    assert given["APPLICATIONINSIGHTS_CONNECTION_STRING"]["secureValue"] == connection
    assert given["OTEL_SERVICE_NAME"]["value"] == NAME
    workspace = story.world.body(WORKSPACE, SHARED)["properties"]["customerId"]
    assert sent["diagnostics"] == {"logAnalytics": {"workspaceId": workspace, "workspaceKey": key}}


def test_a_second_deploy_changes_nothing(story: Story) -> None:
    ran, changed = story.up_again
    assert ran.code == 0, ran.err
    assert "serves already" in ran.err
    assert changed == []


def test_no_secret_is_ever_printed(story: Story) -> None:
    said = "\n".join(story.world.said)
    assert "az rest" in said
    for secret in story.world.secrets():
        assert secret not in said


def test_there_is_nothing_to_watch_before_the_first_deploy(story: Story) -> None:
    ran, changed = story.too_early
    assert ran.code == 1
    assert "deploy first" in ran.err
    assert changed == []


def test_status_shows_the_figures(story: Story) -> None:
    assert story.status.code == 0, story.status.err
    head, row = story.status.out.strip().splitlines()[-2:]
    shown = dict(zip(re.split(r"  +", head), re.split(r"  +", row), strict=True))
    assert shown["environment"] == STAGE
    assert shown["ready"] == "yes"
    assert shown["errors"] == "0.0%"
    assert float(shown["requests/s"]) >= 0
    assert shown["p95"].endswith(" ms")
    assert re.match(r"\d+ MB \(\d+%\)", shown["memory"])
    assert shown["cpu"] == "0.42"


def test_status_of_who_may_not_see_metrics_leaves_them_out(story: Story) -> None:
    ran = story.world("status", STAGE, env=story.world.job)
    assert ran.code == 0, ran.err
    assert ran.out.rstrip().endswith("-")


def test_a_dry_run_prints_every_request_and_changes_nothing(story: Story) -> None:
    ran, changed = story.dry
    assert ran.code == 0, ran.err
    assert changed == []
    for name in LOG_RULES:
        assert f"scheduledQueryRules/{NAME}-{name}?" in ran.out
    assert "az rest --method put --url" in ran.out
    assert ran.out.rstrip().endswith("nothing was changed")


def test_everything_is_made_and_a_second_run_changes_nothing(story: Story) -> None:
    ran, changed = story.first
    assert ran.code == 0, ran.err
    assert len(changed) > 20
    again, changed = story.again
    assert again.code == 0, again.err
    assert changed == []
    assert "0 of" in again.err


def test_the_rules_are_those_of_the_runbook(story: Story) -> None:
    rules = story.world.rules()
    assert set(rules) == {*LOG_RULES, "MemoryNearLimit"}
    for name, rule in rules.items():
        assert rule["properties"]["description"].endswith(f"docs/runbook.md#{name.lower()}")
        assert rule["properties"]["enabled"] is True


def test_everybody_named_is_told(story: Story) -> None:
    group = story.world.body(f"Microsoft.Insights/actionGroups/{NAME}-alerts")
    receivers = group["properties"]["emailReceivers"]
    assert tuple(each["emailAddress"] for each in receivers) == EMAILS
    for name, rule in story.world.rules().items():
        assert f"actionGroups/{NAME}-alerts" in json.dumps(rule["properties"]["actions"]), name
    budget = story.world.body(f"Microsoft.Consumption/budgets/{NAME}")["properties"]
    assert budget["amount"] == 50
    for each in budget["notifications"].values():
        assert each["contactEmails"] == list(EMAILS)


def test_latency_is_judged_by_the_objective_of_the_load_test(story: Story) -> None:
    text = (story.world.bootstrap.service / "load" / "slo.yaml").read_text(encoding="utf-8")
    objective = re.search(r"^p95_ms: (\d+)$", text, re.MULTILINE)
    assert objective is not None
    [condition] = story.world.rules()["LatencyHigh"]["properties"]["criteria"]["allOf"]
    assert condition["threshold"] == float(objective[1])
    assert condition["metricMeasureColumn"] == "Milliseconds"


def test_queries_and_workbook_are_about_this_environment(story: Story) -> None:
    found = [
        each.rpartition("/")[2]
        for each in story.world.double.resources()
        if "/savedSearches/" in each
    ]
    assert f"{NAME}-requests" in found
    assert len(found) > 8
    for each in found:
        query = story.world.body(f"{WORKSPACE}/savedSearches/{each}", SHARED)["properties"]["query"]
        assert f'let service = "{NAME}";' in query
    [workbook] = [each for each in story.world.double.resources() if "/workbooks/" in each]
    body = story.world.double.resource(workbook)
    assert body is not None
    items = json.loads(body["body"]["properties"]["serializedData"])["items"]
    assert sum(each["type"] == 3 for each in items) == 8


def test_drift_is_repaired(story: Story) -> None:
    world = story.world
    az = world.az
    rule = f"{world.double.subscription_id}/resourceGroups/{GROUP}/providers/Microsoft.Insights/"
    for gone in (
        f"metricAlerts/{NAME}-MemoryNearLimit?api-version=2018-03-01",
        f"scheduledQueryRules/{NAME}-NotReady?api-version=2023-12-01",
    ):
        az("rest", "--method", "delete", "--url", rule + gone)
    saved = world.body(f"{WORKSPACE}/savedSearches/{NAME}-errors", SHARED)
    changed = {"etag": "*", "properties": {**saved["properties"], "query": "AppTraces"}}
    search = f"{world.double.subscription_id}/resourceGroups/{SHARED}/providers/{WORKSPACE}"
    url = f"{search}/savedSearches/{NAME}-errors?api-version=2020-08-01"
    az("rest", "--method", "put", "--url", url, "--body", json.dumps(changed))
    budget = world.body(f"Microsoft.Consumption/budgets/{NAME}")
    budget_url = f"{world.double.subscription_id}/resourceGroups/{GROUP}/providers/"
    budget_url += f"Microsoft.Consumption/budgets/{NAME}?api-version=2023-05-01"
    properties = {k: v for k, v in budget["properties"].items() if k != "currentSpend"}
    changed = {"eTag": budget["eTag"], "properties": {**properties, "amount": 9}}
    az("rest", "--method", "put", "--url", budget_url, "--body", json.dumps(changed))

    mended, changes = world.changed_by("monitoring", STAGE)
    assert mended.code == 0, mended.err
    assert len(changes) == 4, changes
    assert "4 of" in mended.err
    rules = world.rules()
    assert {"MemoryNearLimit", "NotReady"} <= set(rules)
    repaired = world.body(f"{WORKSPACE}/savedSearches/{NAME}-errors", SHARED)
    assert repaired["properties"]["query"] == saved["properties"]["query"]
    amount = world.body(f"Microsoft.Consumption/budgets/{NAME}")["properties"]["amount"]
    assert amount == 50


def test_what_is_refused_is_named_with_the_way_out(story: Story) -> None:
    world = story.world
    world.double.inject(
        where=f"PUT */scheduledQueryRules/{NAME}-NotReady",
        status=400,
        code="BadRequest",
        message="The query consumes too many resources",
    )
    world.configure("every_minutes: 15", "every_minutes: 10")
    refused, _ = world.changed_by("monitoring", STAGE)
    world.configure("every_minutes: 10", "every_minutes: 15")
    assert refused.code == 1
    assert "alert NotReady" in refused.err
    assert "consumes too many resources" in refused.err
    assert "run the same command again" in refused.err
    ran, _ = world.changed_by("monitoring", STAGE)
    assert ran.code == 0, ran.err


def test_who_deploys_cannot_silence_an_alert(story: Story) -> None:
    world = story.world
    refused, changed = world.changed_by("monitoring", STAGE, env=world.job)
    assert refused.code == 1
    assert "Monitoring Contributor" in refused.err
    assert changed == []


def test_faults_of_the_configuration_are_told_before_azure_is_asked(story: Story) -> None:
    world = story.world
    world.configure("budget: 50", "budget: -1")
    before = len(world.double.requests())
    ran = world("monitoring", STAGE)
    assert len(world.double.requests()) == before
    world.configure("budget: -1", "budget: 50")
    assert ran.code == 2
    assert "alerts.budget is -1: must be from 0 to" in ran.err


def test_a_service_without_telemetry_gets_neither(story: Story) -> None:
    world = story.world
    world.configure(
        "telemetry: true\ncontainer_logs: true", "telemetry: false\ncontainer_logs: false"
    )
    plan = world("plan", STAGE, "--image", world.image, env=world.job)
    world.configure(
        "telemetry: false\ncontainer_logs: false", "telemetry: true\ncontainer_logs: true"
    )
    assert plan.code == 0, plan.err
    document = plan.out.partition("document:\n")[2]
    assert "APPLICATIONINSIGHTS" not in document
    assert "diagnostics" not in document
    assert "changes    properties.diagnostics" in plan.out


def test_a_key_that_was_replaced_is_deployed(story: Story) -> None:
    """The key is part of the fingerprint: Azure shows it to nobody, and `up` sees the change."""
    world = story.world
    address = f"{world.double.subscription_id}/resourceGroups/{SHARED}/providers/{WORKSPACE}"
    url = f"{address}/regenerateSharedKey?api-version=2020-08-01"
    world.az("rest", "--method", "post", "--url", url)
    ran, changed = world.changed_by("up", STAGE, "--image", world.image, env=world.job)
    assert ran.code == 0, ran.err
    assert any(ACI.rpartition("/")[2] in each for each in changed)
    group = world.kept(ACI)
    assert group is not None
    key = group["hidden"]["sent"]["properties"]["diagnostics"]["logAnalytics"]["workspaceKey"]
    assert key == world.secrets()[2]
    test_no_secret_is_ever_printed(story)


def test_down_removes_all_of_it(story: Story) -> None:
    """The last test of this module: there is nothing afterwards."""
    world = story.world
    said = world("down", STAGE)
    assert said.code == 1
    assert "saved query Requests" in said.err
    gone = world("down", STAGE, "--yes")
    assert gone.code == 0, gone.err
    left = [each for each in world.double.resources() if NAME in each.rpartition("/")[2]]
    assert left == []
    deleted = [each["path"] for each in world.double.requests("DELETE")]
    assert any(each.endswith(f"/budgets/{NAME}") for each in deleted)
    assert Azure(world.double, world.owner)("group", "exists", "--name", GROUP) is False
