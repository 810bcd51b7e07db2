"""The Grafana dashboard is one that Grafana knows, and that a person finds their way in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from .dashboard import panels, queries, read

SCHEMA = 41  # of Grafana 11.6 and 12
VARIABLE = re.compile(r"\$\{?(\w+)")
BUILT_IN = {"__rate_interval"}


@pytest.fixture(scope="module")
def dashboard(rendered_service: Path) -> dict[str, Any]:
    """The dashboard of the rendered service."""
    return read(rendered_service)


def test_grafanas_own_types_hold_all_of_it(dashboard: dict[str, Any]) -> None:
    """What its types do not know would be lost there, and is missing when it is written again."""
    assert lost(dashboard, written_again(dashboard)) == []
    assert dashboard["schemaVersion"] == SCHEMA == Dashboard().schema_version


def test_what_grafana_does_not_know_would_be_found(dashboard: dict[str, Any]) -> None:
    wrong = json.loads(json.dumps(dashboard))
    wrong["refreshing"] = "30s"
    wrong["panels"][1]["fieldConfig"]["defaults"]["units"] = "s"
    found = {".refreshing", ".panels[1].fieldConfig.defaults.units"}
    assert set(lost(wrong, written_again(wrong))) == found


def test_ids_are_unique_and_panels_do_not_overlap(dashboard: dict[str, Any]) -> None:
    own = [panel for _, panel in panels(dashboard)]
    rows = [panel for panel in dashboard["panels"] if panel["type"] == "row"]
    ids = [panel["id"] for panel in [*own, *rows]]
    assert len(ids) == len(set(ids))
    taken: dict[tuple[int, int], str] = {}
    for panel in [*own, *rows]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


def test_every_panel_says_what_it_shows_and_in_which_unit(dashboard: dict[str, Any]) -> None:
    for _, panel in panels(dashboard):
        assert panel["description"].endswith("."), panel["title"]
        if panel["type"] == "timeseries":
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_every_query_asks_the_chosen_service_of_the_chosen_source(
    dashboard: dict[str, Any],
) -> None:
    names = {each["name"] for each in dashboard["templating"]["list"]}
    assert names == {"datasource", "job", "instance"}
    source = {"type": "prometheus", "uid": "${datasource}"}
    for _, panel in panels(dashboard):
        assert panel["datasource"] == source, panel["title"]
        assert all(target["datasource"] == source for target in panel["targets"])
    for query in queries(dashboard):
        selectors = query.text.count("{")
        assert selectors == query.text.count('job="$job"') > 0, query
        assert selectors == query.text.count('instance=~"$instance"') or "ALERTS" in query.text
        assert set(VARIABLE.findall(query.text)) <= names | BUILT_IN, query


def written_again(dashboard: dict[str, Any]) -> Any:
    """Read into Grafana's types, and written by them."""
    register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))


def lost(before: Any, after: Any, path: str = "") -> list[str]:
    """Where something is missing or different; what is added are the defaults."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            name
            for key, value in before.items()
            for name in (
                lost(value, after[key], f"{path}.{key}") if key in after else [f"{path}.{key}"]
            )
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [name for at, (a, b) in pairs for name in lost(a, b, f"{path}[{at}]")]
    return [] if before == after else [path]
