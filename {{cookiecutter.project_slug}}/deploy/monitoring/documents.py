"""The resources as Azure takes them: pure functions, from configuration to the bodies of requests.

API versions are stable ones of each type. Bodies say all that matters here; what Azure adds by
itself is left to it, so that its defaults of tomorrow are no difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.monitoring import queries
from deploy.monitoring.place import Place
from deploy.monitoring.rules import CRITICAL, LogRule, MetricRule
from deploy.monitoring.workbook import content

Json = dict[str, Any]

RUNBOOK = "docs/runbook.md"
_METRIC_CRITERIA = "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria"
_OUTSIDE_CRITERIA = "Microsoft.Azure.Monitor.WebtestLocationAvailabilityCriteria"
# Three continents; one location alone would report its own troubles as the service's.
_LOCATIONS = ("emea-nl-ams-azr", "us-va-ash-azr", "apac-sg-sin-azr")
_FAILED_LOCATIONS = 2
_SHORT_NAME = 12


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource: its id, API version and body. ``what`` and ``purpose`` are for people."""

    id: str
    version: str
    body: Json
    what: str
    purpose: str


def action_group(place: Place) -> Resource:
    """The addresses that alerts are sent to."""
    receivers = [
        {"name": f"email-{number}", "emailAddress": address, "useCommonAlertSchema": True}
        for number, address in enumerate(place.environment.alerts.email, 1)
    ]
    properties = {
        "groupShortName": place.environment.stage[:_SHORT_NAME],
        "enabled": True,
        "emailReceivers": receivers,
    }
    addresses = ", ".join(place.environment.alerts.email)
    return Resource(
        place.action_group,
        "2023-01-01",
        {"location": "Global", "tags": _tags(place), "properties": properties},
        f"action group of {place.name}",
        f"tells {addresses}",
    )


def log_rule(place: Place, rule: LogRule) -> Resource:
    """A rule that asks the logs; it resolves itself when the answer is good again."""
    every = place.environment.alerts.every_minutes
    condition: Json = {
        "query": queries.alert(rule.query, place.name),
        "timeAggregation": "Maximum" if rule.column else "Count",
        "operator": "GreaterThan",
        "threshold": rule.over,
        "failingPeriods": {"numberOfEvaluationPeriods": 1, "minFailingPeriodsToAlert": 1},
    }
    if rule.column:
        condition["metricMeasureColumn"] = rule.column
    properties = {
        "displayName": f"{place.name}: {rule.name}",
        "description": _description(rule.name, rule.says),
        "severity": rule.severity,
        "enabled": True,
        "scopes": [place.workspace],
        "evaluationFrequency": _duration(every),
        "windowSize": _duration(max(every, rule.minutes)),
        "criteria": {"allOf": [condition]},
        "autoMitigate": True,
        # A table is there from its first row on; until then Azure would refuse a query of it.
        "skipQueryValidation": True,
        "actions": {"actionGroups": _told(place)},
    }
    body = {
        # Where the workspace is: a rule is evaluated beside its data.
        "location": place.project.region,
        "kind": "LogAlert",
        "tags": _tags(place),
        "properties": properties,
    }
    return Resource(
        place.rule("scheduledQueryRules", rule.name),
        "2023-12-01",
        body,
        _what(rule.name),
        rule.says,
    )


def metric_rule(place: Place, rule: MetricRule) -> Resource:
    """A rule on a metric that Azure keeps of the resource."""
    criterion = {
        "criterionType": "StaticThresholdCriterion",
        "name": rule.name,
        "metricNamespace": place.resource_type,
        "metricName": rule.metric,
        "operator": "GreaterThan",
        "threshold": rule.over,
        "timeAggregation": rule.aggregation,
        "skipMetricValidation": True,
    }
    criteria = {"odata.type": _METRIC_CRITERIA, "allOf": [criterion]}
    heading = (rule.name, rule.says, rule.severity, rule.minutes)
    return _metric_alert(place, heading, [place.service], criteria)


def outside_check(place: Place, address: str) -> Resource:
    """Azure asks `/readyz` from several places, as a client would."""
    properties = {
        "SyntheticMonitorId": f"{place.name}-readyz",
        "Name": f"{place.name} readyz",
        "Description": "Asks whether the service is ready",
        "Enabled": True,
        "Frequency": place.environment.alerts.outside_check_minutes * 60,
        "Timeout": 30,
        "Kind": "standard",
        "RetryEnabled": True,
        "Locations": [{"Id": each} for each in _LOCATIONS],
        "Request": {
            "RequestUrl": f"{address}{place.environment.probes.readiness.path}",
            "HttpVerb": "GET",
            "ParseDependentRequests": False,
        },
        "ValidationRules": {"ExpectedHttpStatusCode": 200, "SSLCheck": False},
    }
    body = {
        "location": place.project.region,
        # By this tag Azure knows which component the results belong to.
        "tags": {**_tags(place), f"hidden-link:{place.insights}": "Resource"},
        "properties": properties,
    }
    return Resource(
        place.outside_check,
        "2022-06-15",
        body,
        f"check of {place.name} from outside",
        f"asks {address} from {len(_LOCATIONS)} places in the world",
    )


def outside_rule(place: Place) -> Resource:
    """The alert on that check."""
    minutes = 15 if place.environment.alerts.outside_check_minutes < 15 else 30
    says = "The service does not answer, or says that it is not ready."
    criteria = {
        "odata.type": _OUTSIDE_CRITERIA,
        "webTestId": place.outside_check,
        "componentId": place.insights,
        "failedLocationCount": _FAILED_LOCATIONS,
    }
    scopes = [place.outside_check, place.insights]
    return _metric_alert(place, ("ServiceDown", says, CRITICAL, minutes), scopes, criteria)


def saved_query(place: Place, name: str) -> Resource:
    """A query that the portal offers under *Logs*, *Queries* of the workspace."""
    properties = {
        "category": place.project.title,
        "displayName": f"{place.name}: {queries.title(name)}",
        "query": queries.query(name, place.name),
        "version": 2,
    }
    return Resource(
        place.saved_query(name),
        "2020-08-01",
        # Whatever is there under this name is replaced.
        {"etag": "*", "properties": properties},
        f"saved query {queries.title(name)}",
        queries.says(name).rstrip("."),
    )


def workbook(place: Place) -> Resource:
    """A page of charts in the portal."""
    title = f"{place.project.title}: {place.environment.stage}"
    body = {
        "location": place.project.region,
        "kind": "shared",
        "tags": {**_tags(place), "hidden-title": title},
        "properties": {
            "displayName": title,
            "category": "workbook",
            "sourceId": place.workspace.lower(),
            "serializedData": content(place),
        },
    }
    return Resource(
        place.workbook, "2023-06-01", body, f"workbook {title}", "shows the figures on one page"
    )


def budget(place: Place, month: str, found: Mapping[str, Any] | None = None) -> Resource:
    """Mails when 80 % of the amount is spent, all of it, or all of it is foreseen.

    Args:
        month: the first day of this month, as Azure wants a new budget to begin: "2026-11-01".
        found: what is there; its beginning stays, and its eTag says that it was seen.
    """
    period = value_of(found, "timePeriod") or {"startDate": f"{month}T00:00:00Z"}
    body: Json = {
        "properties": {
            "category": "Cost",
            "amount": place.environment.alerts.budget,
            "timeGrain": "Monthly",
            "timePeriod": period,
            "notifications": {
                "Spent80": _notification(place, "Actual", 80),
                "Spent100": _notification(place, "Actual", 100),
                "Foreseen100": _notification(place, "Forecasted", 100),
            },
        }
    }
    if found and found.get("eTag"):
        body["eTag"] = found["eTag"]
    return Resource(
        place.budget,
        "2023-05-01",
        body,
        f"budget of {place.environment.resource_group}",
        f"tells when the group costs more than {place.environment.alerts.budget:g} a month; it "
        "stops nothing",
    )


def value_of(found: Mapping[str, Any] | None, name: str) -> Any:
    """A property of what was found; None where there is none."""
    return ((found or {}).get("properties") or {}).get(name)


def _metric_alert(
    place: Place, heading: tuple[str, str, int, int], scopes: list[str], criteria: Json
) -> Resource:
    """``heading``: name, sentence, severity, and the minutes that are looked at."""
    name, says, severity, minutes = heading
    properties = {
        "description": _description(name, says),
        "severity": severity,
        "enabled": True,
        "scopes": scopes,
        "evaluationFrequency": _duration(5),
        "windowSize": _duration(minutes),
        "criteria": criteria,
        "autoMitigate": True,
        "actions": [{"actionGroupId": each} for each in _told(place)],
    }
    body = {"location": "global", "tags": _tags(place), "properties": properties}
    return Resource(place.rule("metricAlerts", name), "2018-03-01", body, _what(name), says)


def _notification(place: Place, kind: str, percent: int) -> Json:
    addresses = list(place.environment.alerts.email)
    return {
        "enabled": True,
        "operator": "GreaterThanOrEqualTo",
        "threshold": percent,
        "thresholdType": kind,
        "contactEmails": addresses,
        # Without an address the owners are told: Azure keeps no budget that tells nobody.
        "contactRoles": [] if addresses else ["Owner"],
        "contactGroups": [],
    }


def _told(place: Place) -> list[str]:
    return [place.action_group] if place.environment.alerts.email else []


def _tags(place: Place) -> dict[str, str]:
    return {"project": place.project.name}


def _what(name: str) -> str:
    return f"alert {name}"


def _description(name: str, says: str) -> str:
    return f"{says} What to do: {RUNBOOK}#{name.lower()}"


def _duration(minutes: int) -> str:
    """ISO 8601, as Azure gives it back: an hour is PT1H."""
    return f"PT{minutes // 60}H" if minutes % 60 == 0 else f"PT{minutes}M"
