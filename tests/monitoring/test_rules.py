"""The alert rules: promtool finds no fault, their tests pass, and each test could fail."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import Promtool

pytestmark = pytest.mark.slow

ALERTS = (
    "ServiceDown",
    "NotReady",
    "ErrorRatioHigh",
    "LatencyHigh",
    "Overloaded",
    "Restarting",
    "MemoryNearLimit",
    "GoldenCheckFailed",
    "Drifted",
    "AccuracyLow",
    "ProviderFallback",
    "EventLoopBlocked",
    "DeviceMemoryNearLimit",
)


@pytest.fixture
def monitoring(rendered_service: Path, tmp_path: Path) -> Path:
    """A copy of the folder, to be changed."""
    return Path(
        shutil.copytree(rendered_service / "engine" / "monitoring", tmp_path / "monitoring")
    )


def test_promtool_finds_no_fault(monitoring: Path, promtool: Promtool) -> None:
    for command, file in (("config", "prometheus.yml"), ("rules", "alerts.yml")):
        done = promtool(monitoring, "check", command, "--lint-fatal", file)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "13 rules found" in done.stdout


def test_the_rules_pass_their_tests(monitoring: Path, promtool: Promtool) -> None:
    done = promtool(monitoring, "test", "rules", "alerts.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_are_those_that_are_known_elsewhere(monitoring: Path) -> None:
    rules = read(monitoring / "alerts.yml")
    assert tuple(rule["alert"] for rule in rules) == ALERTS
    for rule in rules:
        assert rule["labels"]["severity"] in ("critical", "warning")
        notes = rule["annotations"]
        assert set(notes) == {"runbook_url", "summary", "description"}
        assert notes["runbook_url"].endswith(f"/docs/runbook.md#{rule['alert'].lower()}")
        assert "$value" in notes["description"]


@pytest.mark.parametrize("alert", ALERTS)
def test_a_rule_that_never_fires_fails_its_test(
    alert: str, monitoring: Path, promtool: Promtool
) -> None:
    assert broken(alert, {"expr": "vector(0) > 1"}, monitoring, promtool)


@pytest.mark.parametrize("alert", ALERTS)
def test_a_rule_that_always_fires_fails_its_test(
    alert: str, monitoring: Path, promtool: Promtool
) -> None:
    assert broken(alert, {"expr": "vector(1)"}, monitoring, promtool)


@pytest.mark.parametrize("alert", ALERTS)
def test_a_rule_that_waits_longer_or_not_at_all_fails_its_test(
    alert: str, monitoring: Path, promtool: Promtool
) -> None:
    [rule] = [each for each in read(monitoring / "alerts.yml") if each["alert"] == alert]
    other = "0m" if "for" in rule else "30m"
    assert broken(alert, {"for": other}, monitoring, promtool)


def read(file: Path) -> list[dict[str, Any]]:
    """The rules of the only group."""
    [group] = yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def broken(alert: str, change: dict[str, str], folder: Path, promtool: Promtool) -> bool:
    """Whether promtool, with that rule changed, says that the alert is not as expected."""
    [rule] = [each for each in read(folder / "alerts.yml") if each["alert"] == alert]
    groups = [{"name": "changed", "rules": [{**rule, **change}]}]
    (folder / "alerts.yml").write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    # Only what is asked of this alert: the others would fail for want of their rules.
    tests = folder / "alerts.test.yml"
    content = yaml.safe_load(tests.read_text(encoding="utf-8"))
    for each in content["tests"]:
        asked = each["alert_rule_test"]
        each["alert_rule_test"] = [check for check in asked if check["alertname"] == alert]
    content["tests"] = [each for each in content["tests"] if each["alert_rule_test"]]
    tests.write_text(yaml.safe_dump(content), encoding="utf-8")
    done = promtool(folder, "test", "rules", "alerts.test.yml")
    words = done.stdout + done.stderr
    assert "parse error" not in words, words
    return done.returncode != 0 and f"alertname: {alert}," in words
