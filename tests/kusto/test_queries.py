"""Every Kusto query of a generated service, read by Microsoft's own parser and binder.

The binder knows the tables and their columns as Azure documents them, so a misspelt table, column
or function is an error here as it would be in the portal.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from .conftest import Judge
from .tables import ALWAYS, TABLES

pytestmark = pytest.mark.slow

# In a rendered service: all queries, and what each rule measures in its query.
ASK = """
import json, sys
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.aks.environment import AksEnvironment
from engine.deploy.targets.containerapps.environment import AppEnvironment
from engine.deploy.monitoring import queries
from engine.deploy.monitoring.rules import log_rules

fields = {"stage": "s", "region": "westeurope", "resource_group": "g", "name": "iris-staging"}
environments = [
    GroupEnvironment.model_validate({**fields, "target": "aci"}),
    GroupEnvironment.model_validate({**fields, "target": "aci", "copies": 2}),
    AppEnvironment.model_validate({**fields, "target": "containerapps", "gpu": "t4"}),
    AksEnvironment.model_validate({**fields, "target": "aks"}),
]
rules = {rule.query: rule.column for each in environments for rule in log_rules(each, 300.0)}
written = {f"query {name}": queries.query(name, "iris-staging") for name in queries.saved()}
written |= {f"rule {name}": queries.alert(name, "iris-staging") for name in rules}
json.dump({"queries": written, "columns": rules}, sys.stdout)
"""


@pytest.fixture(scope="module")
def asked(rendered_service: Path, service_python: Path) -> dict[str, Any]:
    """``queries`` by name, and ``columns``: what the rules measure."""
    done = subprocess.run(
        [str(service_python), "-c", ASK],
        cwd=rendered_service,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def faults(answers: Mapping[str, Any]) -> list[str]:
    """What is wrong; that a fuzzy union leaves out a table is not."""
    return [
        f"{name}: {each['severity']}: {each['message']}"
        for name, answer in answers.items()
        for each in answer["diagnostics"]
        if not (each["severity"] == "Warning" and "fuzzy name" in each["message"])
    ]


def test_every_query_is_right_where_all_tables_are(judge: Judge, asked: dict[str, Any]) -> None:
    assert len(asked["queries"]) > 15
    [answers] = judge([TABLES], asked["queries"])
    assert faults(answers) == []


def test_every_query_is_right_whichever_tables_are_missing(
    judge: Judge, asked: dict[str, Any]
) -> None:
    """A table is there from its first row on: a new workspace has none of them."""
    there = [ALWAYS, *({*ALWAYS, name} for name in TABLES)]
    workspaces = [{name: TABLES[name] for name in each} for each in there]
    for tables, answers in zip(there, judge(workspaces, asked["queries"]), strict=True):
        assert faults(answers) == [], tables


def test_what_a_rule_measures_is_a_number_in_its_result(
    judge: Judge, asked: dict[str, Any]
) -> None:
    [answers] = judge([TABLES], asked["queries"])
    assert asked["columns"]
    for name, column in asked["columns"].items():
        columns = answers[f"rule {name}"]["columns"]
        if column is not None:
            assert columns[column] in ("real", "long", "int"), name
        else:
            # Rows are counted within a window of time.
            assert columns["TimeGenerated"] == "datetime", name


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("ContainerInstanceLog_CL | where Messag has 'x'", "Messag"),
        ("ContainerInstanceLogs | take 1", "ContainerInstanceLogs"),
        ("AppRequests | wher Success", "Query operator expected"),
        ("AppRequests | summarize percentil(DurationMs, 95)", "percentil"),
        ("AppRequests | where DurationMs > 'x'", "Error"),
    ],
)
def test_the_judge_sees_what_is_wrong(query: str, says: str, judge: Judge) -> None:
    [answers] = judge([TABLES], {"q": query})
    found = faults(answers)
    assert found
    assert says in "\n".join(found)
