"""Alert rules as Azure takes them: on the logs, on Azure's metrics, and on a check from outside."""

from __future__ import annotations

from engine.deploy.monitoring import queries
from engine.deploy.monitoring.documents import Json, Resource, tags_of
from engine.deploy.monitoring.place import Place
from engine.deploy.monitoring.rule import CRITICAL, LogRule, MetricRule

RUNBOOK = "docs/runbook.md"
_METRIC_CRITERIA = "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria"
_OUTSIDE_CRITERIA = "Microsoft.Azure.Monitor.WebtestLocationAvailabilityCriteria"
# Three continents; one location alone would report its own troubles as the service's.
_LOCATIONS = ("emea-nl-ams-azr", "us-va-ash-azr", "apac-sg-sin-azr")
_FAILED_LOCATIONS = 2


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
        "tags": tags_of(place),
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
        "tags": {**tags_of(place), f"hidden-link:{place.insights}": "Resource"},
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
    body = {"location": "global", "tags": tags_of(place), "properties": properties}
    return Resource(place.rule("metricAlerts", name), "2018-03-01", body, _what(name), says)


def _told(place: Place) -> list[str]:
    return [place.action_group] if place.environment.alerts.email else []


def _what(name: str) -> str:
    return f"alert {name}"


def _description(name: str, says: str) -> str:
    return f"{says} What to do: {RUNBOOK}#{name.lower()}"


def _duration(minutes: int) -> str:
    """ISO 8601, as Azure gives it back: an hour is PT1H."""
    return f"PT{minutes // 60}H" if minutes % 60 == 0 else f"PT{minutes}M"
