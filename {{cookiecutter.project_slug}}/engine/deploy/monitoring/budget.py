"""The budget of an environment's resource group: it mails, and stops nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.deploy.azure_ids import member
from engine.deploy.monitoring.documents import Json, Resource
from engine.deploy.monitoring.place import Place


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
        # Without an address the owners are told: Azure keeps no budget that tells nobody.
        "contactRoles": [] if addresses else ["Owner"],
        "contactGroups": [],
    }


def _value_of(found: Mapping[str, Any] | None, name: str) -> Any:
    """A property of what was found; None where there is none."""
    return member(member(found or {}, "properties") or {}, name)
