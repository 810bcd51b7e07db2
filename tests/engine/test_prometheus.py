"""Dashboard and alerts ask for what the service publishes, and for what load/slo.yaml promises."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml
from engine.load.slo import read_slo

from tests.engine.project import ROOT

MONITORING = ROOT / "engine" / "monitoring"
METRIC = re.compile(r"\b(?:inference|process)_\w+")
OF_PROMETHEUS = {"up", "ALERTS"}
# Absent without a GPU, and without a limit on memory.
NOT_EVERYWHERE = re.compile(
    r"inference_(device|drift|feedback)_\w+|inference_memory_(limit_)?bytes"
)
SUFFIX = re.compile(r"_(bucket|sum|count)$")


def rules() -> dict[str, dict[str, Any]]:
    """The alert rules by name."""
    content = yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))
    return {rule["alert"]: rule for group in content["groups"] for rule in group["rules"]}


def panels() -> Iterator[dict[str, Any]]:
    """The panels of the dashboard that ask something."""
    content = json.loads((MONITORING / "grafana-dashboard.json").read_text(encoding="utf-8"))
    for panel in content["panels"]:
        yield from panel["panels"] if panel["type"] == "row" else [panel]


def published(sample: httpx.Client) -> set[str]:
    """The names of the families in /metrics."""
    return set(re.findall(r"^# TYPE (\w+)", sample.get("/metrics").text, re.M))


def asked() -> Iterator[tuple[str, str]]:
    """Every query, and the alert or panel it belongs to."""
    for name, rule in rules().items():
        yield name, rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def test_every_query_asks_for_metrics_that_are_published(sample: httpx.Client) -> None:
    known = published(sample)
    for where, query in asked():
        names = {SUFFIX.sub("", name) for name in METRIC.findall(query)}
        unknown = {name for name in names - known if not NOT_EVERYWHERE.fullmatch(name)}
        assert not unknown, where
        assert names or any(name in query for name in OF_PROMETHEUS), where


def test_the_alert_and_the_line_for_latency_are_the_objective() -> None:
    objective = read_slo(ROOT / "load" / "slo.yaml").p95_ms / 1000
    rule = rules()["LatencyHigh"]
    assert float(rule["expr"].rpartition(">")[2]) == objective
    assert f"{objective * 1000:g}ms" in rule["annotations"]["description"]
    [latency] = [panel for panel in panels() if panel["title"] == "Latency"]
    assert latency["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"] == objective


@pytest.mark.parametrize(
    ("panel", "alert"), [("Error ratio", "ErrorRatioHigh"), ("Event-loop lag", "EventLoopBlocked")]
)
def test_the_other_lines_are_the_bounds_of_their_alerts(panel: str, alert: str) -> None:
    [found] = [each for each in panels() if each["title"] == panel]
    line = found["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"]
    assert line == float(rules()[alert]["expr"].rpartition(">")[2])
