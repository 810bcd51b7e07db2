"""The Grafana dashboard as data: its panels, and their queries as Prometheus gets them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

FILE = "engine/monitoring/grafana-dashboard.json"


class Query(NamedTuple):
    """One query: the title of its row and panel, and its text with Grafana's variables."""

    row: str
    panel: str
    text: str

    def filled(self, job: str, interval: str) -> str:
        """With the variables replaced: all instances of a job."""
        values = {"$job": job, "$instance": ".*", "$__rate_interval": interval}
        text = self.text
        for name, value in values.items():
            text = text.replace(name, value)
        return text


def read(service: Path) -> dict[str, Any]:
    """The dashboard of a rendered service."""
    content: dict[str, Any] = json.loads((service / FILE).read_text(encoding="utf-8"))
    return content


def panels(dashboard: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """All panels but rows, each with the title of its row; a collapsed row holds its own."""
    row = ""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
            yield from ((row, each) for each in panel["panels"])
        else:
            yield row, panel


def queries(dashboard: dict[str, Any]) -> list[Query]:
    """All queries of all panels."""
    return [
        Query(row, panel["title"], target["expr"])
        for row, panel in panels(dashboard)
        for target in panel["targets"]
    ]
