"""The resources as Azure takes them: pure functions, from configuration to the bodies of requests.

API versions are stable ones of each type. Bodies say all that matters here; what Azure adds by
itself is left to it, so that its defaults of tomorrow are no difference. Alert rules are in
``alerts``, the budget in ``budget``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.deploy.monitoring import queries
from engine.deploy.monitoring.place import Place
from engine.deploy.monitoring.workbook import content

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
