"""The double refuses of monitoring what Azure refuses: right bodies, and one change at a time."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.azure_double.client import AzureDouble
from tests.service.conftest import docker_engine

from .double_world import GROUP, REGION, World, changed

__all__ = ["docker_engine"]
pytestmark = pytest.mark.slow

Json = dict[str, Any]
LOGS = "2025-02-01"
VERSIONS = {
    "actionGroups": "2023-01-01",
    "metricAlerts": "2018-03-01",
    "scheduledQueryRules": "2023-12-01",
    "webtests": "2022-06-15",
    "workbooks": "2023-06-01",
    "savedSearches": "2020-08-01",
    "budgets": "2023-05-01",
}
GUID = "6f1b7a1e-2a3c-4f0e-9a55-0d8a52f5a001"


class Place:
    """A world with a workspace, a component and a container group to watch."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.workspace = world.provider("Microsoft.OperationalInsights/workspaces", "world-logs")
        self.insights = world.provider("Microsoft.Insights/components", "world-insights")
        self.service = world.group("watched")
        made = world.put(self.workspace, {"location": REGION}, LOGS)
        self.customer = made["properties"]["customerId"]
        kept = world.double.resource(self.workspace)
        assert kept is not None
        self.key = kept["hidden"]["primary"]
        component = {"Application_Type": "web", "WorkspaceResourceId": self.workspace}
        body = {"location": REGION, "kind": "web", "properties": component}
        world.put(self.insights, body, "2020-02-02")
        world.create("watched", world.document())
        for kind, name, right in self.bodies():
            world.put(self.id(kind, name), right, VERSIONS[kind])

    def id(self, kind: str, name: str) -> str:
        """The identifier of a resource of one of the kinds."""
        if kind == "savedSearches":
            return f"{self.workspace}/savedSearches/{name}"
        namespace = "Microsoft.Consumption" if kind == "budgets" else "Microsoft.Insights"
        return self.world.provider(f"{namespace}/{kind}", name)

    def bodies(self) -> Iterator[tuple[str, str, Json]]:
        """One right body of each kind, in an order in which each finds what it needs."""
        group = self.id("actionGroups", "told")
        receivers = [{"name": "one", "emailAddress": "a@example.org"}]
        told = {"groupShortName": "told", "enabled": True, "emailReceivers": receivers}
        yield "actionGroups", "told", {"location": "Global", "properties": told}
        criterion = {
            "criterionType": "StaticThresholdCriterion",
            "name": "memory",
            "metricName": "MemoryUsage",
            "operator": "GreaterThan",
            "threshold": 1,
            "timeAggregation": "Average",
        }
        kind = "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria"
        rule = {
            "severity": 2,
            "enabled": True,
            "scopes": [self.service],
            "evaluationFrequency": "PT5M",
            "windowSize": "PT15M",
            "criteria": {"odata.type": kind, "allOf": [criterion]},
            "actions": [{"actionGroupId": group}],
        }
        yield "metricAlerts", "memory", {"location": "global", "properties": rule}
        condition = {
            "query": "AppRequests",
            "timeAggregation": "Count",
            "operator": "GreaterThan",
            "threshold": 0,
        }
        rule = {
            "severity": 2,
            "enabled": True,
            "scopes": [self.workspace],
            "evaluationFrequency": "PT5M",
            "windowSize": "PT10M",
            "criteria": {"allOf": [condition]},
            "skipQueryValidation": True,
            "actions": {"actionGroups": [group]},
        }
        yield "scheduledQueryRules", "errors", {"location": REGION, "properties": rule}
        test = {
            "SyntheticMonitorId": "ready",
            "Name": "ready",
            "Kind": "standard",
            "Frequency": 300,
            "Locations": [{"Id": "emea-nl-ams-azr"}],
            "Request": {"RequestUrl": "http://iris.example.org/readyz"},
        }
        tags = {f"hidden-link:{self.insights}": "Resource"}
        yield "webtests", "ready", {"location": REGION, "tags": tags, "properties": test}
        notebook = {"version": "Notebook/1.0", "items": [{"type": 1, "content": {"json": "# x"}}]}
        page = {
            "displayName": "Iris",
            "category": "workbook",
            "sourceId": self.workspace,
            "serializedData": json.dumps(notebook),
        }
        yield "workbooks", GUID, {"location": REGION, "kind": "shared", "properties": page}
        query = {"category": "Iris", "displayName": "Errors", "query": "AppTraces"}
        yield "savedSearches", "errors", {"properties": query}
        month = f"{datetime.datetime.now(datetime.UTC):%Y-%m}-01T00:00:00Z"
        notification = {
            "enabled": True,
            "operator": "GreaterThan",
            "threshold": 80,
            "contactEmails": ["a@example.org"],
        }
        budget = {
            "category": "Cost",
            "amount": 10,
            "timeGrain": "Monthly",
            "timePeriod": {"startDate": month},
            "notifications": {"Spent80": notification},
        }
        yield "budgets", "month", {"properties": budget}

    def right(self, kind: str) -> tuple[str, Json]:
        """The id and the right body of one kind."""
        name, body = next((name, body) for each, name, body in self.bodies() if each == kind)
        return self.id(kind, name), body

    def put(self, path: str, kind: str, body: Json) -> tuple[int, str]:
        """Status, and code with message where it is refused."""
        status, answer, _ = self.world.call("PUT", path, body, version=VERSIONS[kind])
        error = answer.get("error") or {}
        return status, f"{error.get('code')}: {error.get('message')}"


@pytest.fixture(scope="module")
def place(running_double: AzureDouble, docker_engine: None) -> Iterator[Place]:
    """Everything right is there; each test offers something wrong."""
    running_double.reset()
    yield Place(World(running_double))
    running_double.reset()


WRONG: list[tuple[str, str, object, str]] = [
    ("actionGroups", "properties.groupShortName", "longer than twelve", "groupShortName"),
    ("actionGroups", "properties.emailReceivers.0.emailAddress", "nobody", "no e-mail address"),
    ("actionGroups", "properties.emails", [], "Could not find member 'emails'"),
    ("metricAlerts", "location", REGION, "global"),
    ("metricAlerts", "properties.scopes.0", "/subscriptions/x", "was not found"),
    ("metricAlerts", "properties.criteria.allOf.0.metricName", "GpuUsage", "Valid metrics"),
    ("metricAlerts", "properties.criteria.allOf.0.timeAggregation", "Maximum", "has no Maximum"),
    ("metricAlerts", "properties.criteria.allOf.0.operator", "Above", "no operator"),
    ("metricAlerts", "properties.criteria.allOf.0.threshold", "1", "must be a number"),
    ("metricAlerts", "properties.windowSize", "PT1M", "must not be smaller"),
    ("metricAlerts", "properties.windowSize", "PT10M", "is not one of"),
    ("metricAlerts", "properties.severity", 5, "severity"),
    ("metricAlerts", "properties.actions.0.actionGroupId", "/subscriptions/x", "action group"),
    ("metricAlerts", "properties.enabled", None, "Required property 'enabled'"),
    ("scheduledQueryRules", "location", "northeurope", "same region"),
    ("scheduledQueryRules", "properties.skipQueryValidation", False, "Failed to resolve table"),
    ("scheduledQueryRules", "properties.evaluationFrequency", "PT7M", "is not one of"),
    ("scheduledQueryRules", "properties.criteria.allOf.0.timeAggregation", "Maximum", "Measure"),
    ("scheduledQueryRules", "properties.criteria.allOf.0.query", " ", "empty"),
    ("scheduledQueryRules", "properties.actions.groups", [], "Could not find member"),
    ("webtests", "tags", {}, "hidden-link"),
    ("webtests", "properties.Frequency", 60, "Frequency"),
    ("webtests", "properties.Locations.0.Id", "westeurope", "no location"),
    ("webtests", "properties.Request.RequestUrl", "/readyz", "is no URL"),
    ("workbooks", "properties.serializedData", "{}", "no notebook"),
    ("workbooks", "properties.sourceId", "/subscriptions/x", "was not found"),
    ("workbooks", "kind", "user", "shared"),
    ("savedSearches", "properties.query", None, "Required property 'query'"),
    ("budgets", "properties.amount", 0, "amount"),
    ("budgets", "properties.notifications.Spent80.contactEmails", [], "tells nobody"),
    ("budgets", "properties.notifications.Spent80.operator", "Above", "no operator"),
]


@pytest.mark.parametrize(("kind", "path", "value", "says"), WRONG)
def test_one_wrong_value_is_refused(
    kind: str, path: str, value: object, says: str, place: Place
) -> None:
    _, right = place.right(kind)
    new = place.id(kind, GUID)
    status, message = place.put(new, kind, changed(right, path, value))
    assert status == 400, message
    assert says in message


@pytest.mark.parametrize("kind", ["workbooks", "budgets", "savedSearches"])
def test_what_is_there_has_rules_of_its_own(kind: str, place: Place) -> None:
    identifier, right = place.right(kind)
    if kind == "workbooks":
        status, message = place.put(place.id(kind, "my-workbook"), kind, right)
        assert (status, "GUID" in message) == (400, True)
        shown = place.world.call("GET", identifier, version=VERSIONS[kind])[1]
        assert shown["properties"]["serializedData"] is None
    elif kind == "budgets":
        # Without the eTag of what is there, and with a new one that began in the past.
        assert place.put(identifier, kind, right)[0] == 409
        old = changed(right, "properties.timePeriod.startDate", "2024-01-01T00:00:00Z")
        assert place.put(place.id(kind, "old"), kind, old)[0] == 400
        there = place.world.call("GET", identifier, version=VERSIONS[kind])[1]
        assert place.put(identifier, kind, {**right, "eTag": there["eTag"]})[0] == 200
    else:
        assert place.put(identifier, kind, right)[0] == 409
        assert place.put(identifier, kind, {**right, "etag": "*"})[0] == 200


def test_an_api_version_that_a_type_does_not_have_is_refused(place: Place) -> None:
    for kind, name, body in place.bodies():
        path = place.id(kind, name)
        status, _, _ = place.world.call("PUT", path, body, version="2016-01-01")
        assert status == 400, kind


def test_only_the_key_of_the_workspace_opens_it(place: Place) -> None:
    world = place.world
    for customer, key, says in (
        (place.customer, "wrong", "the key is not"),
        ("00000000-0000-4000-8000-000000000000", place.key, "there is no workspace"),
    ):
        logs = {"workspaceId": customer, "workspaceKey": key}
        body = changed(world.document(), "properties.diagnostics", {"logAnalytics": logs})
        status, answer, _ = world.call("PUT", world.group("logging"), body)
        assert status == 400
        assert says in answer["error"]["message"]
    right = {"workspaceId": place.customer.upper(), "workspaceKey": place.key}
    body = changed(world.document(), "properties.diagnostics", {"logAnalytics": right})
    assert world.create("logging", body)["status"] == "Succeeded"
    shown = world.show("logging")["properties"]["diagnostics"]["logAnalytics"]
    assert shown == {"workspaceId": place.customer.upper()}


def test_metrics_have_values_only_where_a_test_gives_some(place: Place) -> None:
    world = place.world
    path = f"{place.service}/providers/Microsoft.Insights/metrics"
    url = f"https://management.azure.com{path}?api-version=2018-01-01&metricnames=CpuUsage"
    [metric] = world.call("GET", url)[1]["value"]
    assert not any("average" in each for each in metric["timeseries"][0]["data"])
    world.double.ask("insights.metrics", {"CpuUsage": 7})
    [metric] = world.call("GET", url)[1]["value"]
    assert metric["timeseries"][0]["data"][0]["average"] == 7
    assert "average" not in metric["timeseries"][0]["data"][-1]
    assert world.call("GET", url.replace("CpuUsage", "GpuUsage"))[0] == 400


def test_who_may_only_read_may_not_watch(place: Place) -> None:
    world = place.world
    scope = f"{world.double.subscription_id}/resourceGroups/{GROUP}"
    reader = world.double.principal("reader", ("Reader", scope))
    for kind, name, body in place.bodies():
        path = place.id(kind, name)
        status, answer, _ = world.call("PUT", path, body, person=reader, version=VERSIONS[kind])
        assert (status, answer["error"]["code"]) == (403, "AuthorizationFailed"), kind
