"""The resources as Azure takes them: pure functions, from configuration to the bodies of requests.

API versions are stable ones of each type. Bodies say all that matters here; what Azure adds by
itself is left to it, so that its defaults of tomorrow are no difference. Alert rules are in
``alerts``.

A workbook consists of a heading, the alerts' runbook, and a chart for each query. Its format is
that of *Advanced Editor* in the portal ("Notebook/1.0"); item types 1 and 3 are text
and a Kusto query, whose version is "KqlItem/1.0".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.deploy.azure_ids import member
from engine.deploy.monitoring import queries
from engine.deploy.monitoring.place import Place

Json = dict[str, Any]

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
        {"location": "Global", "tags": tags_of(place), "properties": properties},
        f"action group of {place.name}",
        f"tells {addresses}",
    )


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
        "tags": {**tags_of(place), "hidden-title": title},
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


def tags_of(place: Place) -> dict[str, str]:
    """What marks a resource as one of this project."""
    return {"project": place.project.name}


def budget(place: Place, month: str, found: Mapping[str, Any] | None = None) -> Resource:
    """Mails when 80 % of the amount is spent, all of it, or all of it is foreseen.

    Args:
        month: the first day of this month, as Azure wants a new budget to begin: "2026-11-01".
        found: what is there; its beginning stays, and its eTag says that it was seen.
    """
    period = _value_of(found, "timePeriod") or {"startDate": f"{month}T00:00:00Z"}
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
    if found and (tag := member(found, "eTag")):
        body["eTag"] = tag
    return Resource(
        place.budget,
        "2023-05-01",
        body,
        f"budget of {place.environment.resource_group}",
        f"tells when the group costs more than {place.environment.alerts.budget:g} a month; it "
        "stops nothing",
    )


def _notification(place: Place, kind: str, percent: int) -> Json:
    addresses = list(place.environment.alerts.email)
    return {
        "enabled": True,
        "operator": "GreaterThanOrEqualTo",
        "threshold": percent,
        "thresholdType": kind,
        "contactEmails": addresses,
        # Without an address the owners are notified: Azure keeps no budget without a contact.
        "contactRoles": [] if addresses else ["Owner"],
        "contactGroups": [],
    }


def _value_of(found: Mapping[str, Any] | None, name: str) -> Any:
    """A property of what was found; None where there is none."""
    return member(member(found or {}, "properties") or {}, name)


CHARTS = ("requests", "latency", "where_time_goes", "batches")
TABLES = ("failed_requests", "slow_requests", "errors", "starts")
_SIZE = 0
_LOGS = 0
_TIME = "TimeRange"


def content(place: Place) -> str:
    """The workbook's content, JSON with keys in order so that equal ones are equal texts."""
    items = [_text(place), _time_range()]
    items += [_query(place, name, "timechart") for name in CHARTS]
    items += [_query(place, name, "table") for name in TABLES]
    notebook = {
        "version": "Notebook/1.0",
        "items": items,
        "fallbackResourceIds": [place.workspace.lower()],
    }
    return json.dumps(notebook, sort_keys=True)


def _text(place: Place) -> dict[str, Any]:
    heading = f"# {place.project.title}: {place.environment.stage}"
    lines = [heading, "", f"`{place.name}`. What to do about an alert: `docs/runbook.md`."]
    return {"type": 1, "name": "heading", "content": {"json": "\n".join(lines)}}


def _time_range() -> dict[str, Any]:
    day = {"durationMs": 86_400_000}
    parameter = {
        "version": "KqlParameterItem/1.0",
        "name": _TIME,
        "label": "Time",
        "type": 4,
        "value": day,
        "typeSettings": {
            "selectableValues": [
                {"durationMs": minutes * 60_000} for minutes in (30, 240, 1440, 10_080)
            ],
            "allowCustom": True,
        },
    }
    return {
        "type": 9,
        "name": "time",
        "content": {"version": "KqlParameterItem/1.0", "parameters": [parameter]},
    }


def _query(place: Place, name: str, look: str) -> dict[str, Any]:
    text = queries.query(name, place.name)
    return {
        "type": 3,
        "name": name,
        "content": {
            "version": "KqlItem/1.0",
            "title": f"{queries.title(name)}: {queries.says(name)}",
            "query": text,
            "size": _SIZE,
            "queryType": _LOGS,
            "resourceType": "microsoft.operationalinsights/workspaces",
            "visualization": look,
            "timeContextFromParameter": _TIME,
        },
    }
