"""What a workbook consists of: a heading, the alerts' runbook, and a chart for each query.

The format is that of *Advanced Editor* in the portal ("Notebook/1.0"); item types 1 and 3 are text
and a Kusto query, whose version is "KqlItem/1.0".
"""

from __future__ import annotations

import json
from typing import Any

from engine.deploy.monitoring import queries
from engine.deploy.monitoring.place import Place

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
