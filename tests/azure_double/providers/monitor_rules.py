"""Azure's rules for alert rules, action groups, web tests and workbooks, beyond their shape.

Sources: the REST reference of each type (allowed values, limits) and Azure Monitor's pages on log
search alerts, metric alerts and availability tests.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable
from typing import Any

from ..arm import ids
from ..arm.azure import Azure
from ..arm.errors import ArmError, not_modelled
from ..shape import check
from . import monitor_metrics as metrics
from . import monitor_shapes as shapes

EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
SHORT_NAME = 12
SEVERITIES = range(5)
OPERATORS = ("GreaterThan", "GreaterThanOrEqual", "LessThan", "LessThanOrEqual", "Equals")
METRIC_FREQUENCIES = {"PT1M": 1, "PT5M": 5, "PT15M": 15, "PT30M": 30, "PT1H": 60}
METRIC_WINDOWS = METRIC_FREQUENCIES | {"PT6H": 360, "PT12H": 720, "P1D": 1440}
LOG_FREQUENCIES = {
    **{"PT1M": 1, "PT5M": 5, "PT10M": 10, "PT15M": 15, "PT30M": 30, "PT45M": 45},
    **{"PT1H": 60, "PT2H": 120, "PT3H": 180, "PT4H": 240, "PT5H": 300, "PT6H": 360, "P1D": 1440},
}
LOG_AGGREGATIONS = ("Count", "Average", "Minimum", "Maximum", "Total")
TEST_FREQUENCIES, TEST_TIMEOUTS = (300, 600, 900), (30, 60, 90, 120)
TEST_LOCATIONS = (
    *("us-il-ch1-azr", "us-ca-sjc-azr", "us-tx-sn1-azr", "us-va-ash-azr", "us-fl-mia-edge"),
    *("apac-sg-sin-azr", "apac-jp-kaw-edge", "apac-hk-hkn-azr", "emea-nl-ams-azr"),
    *("emea-gb-db3-azr", "emea-ru-msa-edge", "emea-fr-pra-edge", "emea-se-sto-edge"),
)
HIDDEN_LINK = "hidden-link:"


def refuse(message: str) -> ArmError:
    """A body that breaks a rule."""
    return ArmError(400, "BadRequest", message)


def action_group(azure: Azure, body: dict[str, Any]) -> None:
    """Refuse a group that could tell nobody."""
    check(body, shapes.ACTION_GROUP)
    if body["location"].lower() != "global":
        raise not_modelled(f"action groups in the region {body['location']}")
    properties = body["properties"]
    if not 1 <= len(properties["groupShortName"]) <= SHORT_NAME:
        raise refuse(f"groupShortName must have 1 to {SHORT_NAME} characters")
    receivers = properties.get("emailReceivers") or []
    if len({each["name"] for each in receivers}) != len(receivers):
        raise refuse("the names of receivers must differ")
    for each in receivers:
        if not EMAIL.fullmatch(each["emailAddress"]):
            raise refuse(f"'{each['emailAddress']}' is no e-mail address")


def metric_alert(azure: Azure, body: dict[str, Any]) -> None:
    """Refuse a rule on a metric or a resource that is not there."""
    check(body, shapes.METRIC_ALERT)
    properties = body["properties"]
    if body["location"] != "global":
        raise refuse("the location of a metric alert must be 'global'")
    _check_times(properties, METRIC_FREQUENCIES, METRIC_WINDOWS)
    _check_severity(properties)
    scopes = [_existing(azure, each, "scope") for each in properties["scopes"]]
    criteria = properties["criteria"]
    kind = criteria.get("odata.type")
    if kind not in shapes.CRITERIA:
        raise not_modelled(f"criteria of the type {kind}")
    check(criteria, shapes.CRITERIA[kind])
    if "allOf" in criteria:
        _check_criteria(criteria["allOf"], scopes)
    else:
        _check_web_test(azure, criteria, scopes)
    _check_groups(azure, (each["actionGroupId"] for each in properties.get("actions") or []))


def log_rule(azure: Azure, body: dict[str, Any]) -> None:
    """Refuse a rule that Azure could not evaluate."""
    check(body, shapes.LOG_RULE)
    properties = body["properties"]
    if body.get("kind", "LogAlert") != "LogAlert":
        raise not_modelled(f"scheduled query rules of the kind {body['kind']}")
    _check_times(properties, LOG_FREQUENCIES, LOG_FREQUENCIES)
    _check_severity(properties)
    [scope] = properties["scopes"]
    workspace = azure.store.require(_existing(azure, scope, "scope"))
    if workspace.body["location"].lower() != body["location"].lower():
        raise refuse(
            f"The rule is in '{body['location']}' and its workspace in "
            f"'{workspace.body['location']}'; they must be in the same region"
        )
    [condition] = properties["criteria"]["allOf"]
    _check_condition(condition, skip=properties.get("skipQueryValidation", False))
    _check_groups(azure, (properties.get("actions") or {}).get("actionGroups") or [])


def web_test(azure: Azure, body: dict[str, Any]) -> None:
    """Refuse a test that is linked to nothing, or that asks nobody."""
    check(body, shapes.WEB_TEST)
    links = [tag for tag in body["tags"] if tag.lower().startswith(HIDDEN_LINK)]
    if len(links) != 1:
        raise refuse("a web test must have one tag 'hidden-link:<id of a component>': 'Resource'")
    _existing(azure, links[0][len(HIDDEN_LINK) :], "component")
    properties = body["properties"]
    if properties["Kind"] != "standard":
        raise not_modelled(f"web tests of the kind {properties['Kind']}")
    if properties.get("Frequency", 300) not in TEST_FREQUENCIES:
        raise refuse(f"Frequency must be one of {TEST_FREQUENCIES}")
    if properties.get("Timeout", 30) not in TEST_TIMEOUTS:
        raise refuse(f"Timeout must be one of {TEST_TIMEOUTS}")
    for each in properties["Locations"]:
        if each["Id"] not in TEST_LOCATIONS:
            raise refuse(f"there is no location '{each['Id']}'")
    if not re.match(r"https?://[^/]+", properties["Request"]["RequestUrl"]):
        raise refuse(f"'{properties['Request']['RequestUrl']}' is no URL")


def workbook(azure: Azure, name: str, body: dict[str, Any]) -> None:
    """Refuse a workbook that the portal could not open."""
    check(body, shapes.WORKBOOK)
    try:
        uuid.UUID(name)
    except ValueError as error:
        raise refuse(f"the name of a workbook must be a GUID, and is '{name}'") from error
    if body["kind"] != "shared":
        raise refuse("the kind of a workbook must be 'shared'")
    _existing(azure, body["properties"].get("sourceId", ""), "sourceId")
    try:
        content = json.loads(body["properties"]["serializedData"])
        if content["version"] != "Notebook/1.0" or not content["items"]:
            raise KeyError("items")
        for item in content["items"]:
            item["type"], item["content"]
    except (ValueError, KeyError, TypeError) as error:
        raise refuse(f"serializedData is no notebook: {error!r}") from error


def _check_times(
    properties: dict[str, Any], frequencies: dict[str, int], windows: dict[str, int]
) -> None:
    frequency, window = properties["evaluationFrequency"], properties["windowSize"]
    if frequency not in frequencies:
        raise refuse(f"evaluationFrequency '{frequency}' is not one of {', '.join(frequencies)}")
    if window not in windows:
        raise refuse(f"windowSize '{window}' is not one of {', '.join(windows)}")
    if windows[window] < frequencies[frequency]:
        raise refuse("windowSize must not be smaller than evaluationFrequency")


def _check_severity(properties: dict[str, Any]) -> None:
    if properties["severity"] not in SEVERITIES:
        raise refuse("severity must be from 0 to 4")


def _check_criteria(criteria: list[dict[str, Any]], scopes: list[str]) -> None:
    if len(scopes) != 1 or not criteria:
        raise refuse("a rule on one resource needs one scope and at least one criterion")
    for each in criteria:
        if each["criterionType"] != "StaticThresholdCriterion":
            raise not_modelled(f"criteria of the type {each['criterionType']}")
        kind = metrics.type_of(scopes[0])
        if each.get("metricNamespace", kind).lower() != kind:
            raise refuse(f"'{each['metricNamespace']}' is not the namespace of {scopes[0]}")
        if each["timeAggregation"] not in metrics.known(kind, each["metricName"]):
            raise refuse(f"{each['metricName']} has no {each['timeAggregation']}")
        if each["operator"] not in OPERATORS:
            raise refuse(f"there is no operator '{each['operator']}'")


def _check_web_test(azure: Azure, criteria: dict[str, Any], scopes: list[str]) -> None:
    named = {ids.key(criteria["webTestId"]), ids.key(criteria["componentId"])}
    if {ids.key(each) for each in scopes} != named:
        raise refuse("the scopes must be the web test and its component")
    test = azure.store.require(criteria["webTestId"])
    if not 1 <= criteria["failedLocationCount"] <= len(test.properties["Locations"]):
        raise refuse("failedLocationCount must be from 1 to the number of the test's locations")


def _check_condition(condition: dict[str, Any], *, skip: bool) -> None:
    counted = condition["timeAggregation"] == "Count"
    if condition["timeAggregation"] not in LOG_AGGREGATIONS:
        raise refuse(f"there is no timeAggregation '{condition['timeAggregation']}'")
    if counted == ("metricMeasureColumn" in condition):
        raise refuse("metricMeasureColumn belongs to every timeAggregation but Count")
    if condition["operator"] not in OPERATORS:
        raise refuse(f"there is no operator '{condition['operator']}'")
    if not condition["query"].strip():
        raise refuse("the query is empty")
    if not skip:
        # A workspace has no table before its first row, and the double keeps no rows.
        raise refuse("The query could not be validated: 'where' operator: Failed to resolve table")
    periods = condition.get("failingPeriods") or {}
    if periods and periods["minFailingPeriodsToAlert"] > periods["numberOfEvaluationPeriods"]:
        raise refuse("minFailingPeriodsToAlert is more than numberOfEvaluationPeriods")


def _check_groups(azure: Azure, groups: Iterable[str]) -> None:
    for each in groups:
        _existing(azure, each, "action group")


def _existing(azure: Azure, identifier: str, what: str) -> str:
    if not identifier or azure.store.get(identifier) is None:
        raise refuse(f"The {what} '{identifier}' was not found")
    return identifier
