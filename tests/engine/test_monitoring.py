"""What watches a service on Azure: rules, queries and documents, without Azure."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from engine.deploy.config.advice import warnings
from engine.deploy.config.environment import Environment
from engine.deploy.config.project import Project
from engine.deploy.monitoring import documents, queries
from engine.deploy.monitoring.documents import CHARTS, TABLES, budget
from engine.deploy.monitoring.place import Place
from engine.deploy.monitoring.plan import plan, says
from engine.deploy.monitoring.rule import MetricRule
from engine.deploy.monitoring.rules import log_rules
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.aci.fleet.document import COLOURS, member_names
from engine.deploy.targets.kind import environment_model, kind_of

from tests.engine.project import ROOT

ADDRESS, MONTH, OBJECTIVE = "http://iris.example.org:8000", "2026-11-01", 300.0
PROJECT = Project(
    name="iris-service",
    title="Iris Service",
    owner="octo-org",
    accelerator="cpu",
    registry="irisservice",
    region="westeurope",
    shared_resource_group="iris-service-shared",
)


def place(target: str = "aci", **fields: object) -> Place:
    content = {
        "stage": "production",
        "target": target,
        "region": "northeurope",
        "resource_group": "iris-production",
        "name": "iris-production",
        "alerts": {"email": ["oncall@example.org"], "budget": 100},
        **fields,
    }
    return Place(PROJECT, environment_model(content).model_validate(content), "S")


def bodies(of: Place) -> dict[str, dict[str, Any]]:
    """The bodies that are put, by the last parts of the URLs."""
    found = {}
    for step in plan(of, ADDRESS, OBJECTIVE, MONTH):
        [command] = step.make
        arguments = list(map(str, command.arguments))
        url = arguments[arguments.index("--url") + 1].partition("?")[0]
        body = json.loads(arguments[arguments.index("--body") + 1])
        found["/".join(url.split("/")[-2:])] = body
    return found


# The alerts

NAMES = {
    "aci": {
        *(
            "NotReady",
            "ErrorRatioHigh",
            "LatencyHigh",
            "Overloaded",
            "GoldenCheckFailed",
            "Drifted",
            "AccuracyLow",
        ),
        *("Restarting", "MemoryNearLimit"),
    }
}
NAMES["containerapps"] = NAMES["aks"] = NAMES["aci"]


def metric_rules(environment: Environment) -> tuple[MetricRule, ...]:
    return kind_of(environment).metric_rules(environment)


@pytest.mark.parametrize("target", NAMES)
def test_every_target_has_the_alerts_that_its_data_can_tell(target: str) -> None:
    environment = place(target).environment
    names = [each.name for each in log_rules(environment, OBJECTIVE)]
    names += [each.name for each in metric_rules(environment)]
    assert len(names) == len(set(names))
    assert set(names) == NAMES[target]


def test_a_fleet_has_the_same_alerts_without_one_that_is_bound_to_a_group() -> None:
    fleet = place(copies=2, memory_gb=4).environment
    rules = {each.name: each for each in log_rules(fleet, OBJECTIVE)}
    assert set(rules) == NAMES["aci"]
    assert metric_rules(fleet) == ()
    assert (rules["MemoryNearLimit"].column, rules["MemoryNearLimit"].over) == ("Bytes", 0.9 * 4e9)
    # It measures itself, or nobody does.
    silent = place(copies=2, telemetry=False)
    assert "MemoryNearLimit" not in [each.name for each in log_rules(silent.environment, 1)]
    assert any("no alert on the memory" in each for each in warnings(PROJECT, silent.environment))


def test_memory_of_a_pod_is_what_the_service_measures_of_itself() -> None:
    rules = {each.name: each for each in log_rules(place("aks", memory_gb=2).environment, 1)}
    assert (rules["MemoryNearLimit"].column, rules["MemoryNearLimit"].over) == (
        "Bytes",
        0.9 * 2**31,
    )
    silent = log_rules(place("aks", telemetry=False).environment, 1)
    assert "MemoryNearLimit" not in [each.name for each in silent]


def test_queries_of_container_groups_find_those_of_a_fleet_and_no_others() -> None:
    query = queries.query("starts", "iris")
    assert not re.search(r"ContainerGroup(_s)? ==", query)
    [pattern] = re.findall(r'group matches regex strcat\("(.+?)", service, "(.+?)"\)', query)
    ours = re.compile(pattern[0] + "iris" + pattern[1])
    assert isinstance(fleet := place(copies=10, name="iris").environment, GroupEnvironment)
    for colour in COLOURS:
        assert all(ours.search(each) for each in member_names(fleet, colour, 10))
    assert not any(map(ours.search, ("iris-staging", "iris-staging-blue-1", "iris-blue", "a-iris")))


def test_a_gpu_can_fall_back_and_run_full() -> None:
    names = [each.name for each in log_rules(place("containerapps", gpu="t4").environment, 1)]
    assert {"ProviderFallback", "DeviceMemoryNearLimit"} <= set(names)
    without = place("containerapps", gpu="t4", telemetry=False)
    assert "DeviceMemoryNearLimit" not in [each.name for each in log_rules(without.environment, 1)]


def test_each_alert_leads_to_its_heading_in_the_runbook() -> None:
    alerts = {"outside_check_minutes": 5, "email": ["a@b.org"]}
    for name, body in bodies(place(alerts=alerts)).items():
        kind, _, called = name.partition("/")
        if kind in ("scheduledQueryRules", "metricAlerts"):
            alert = called.removeprefix("iris-production-")
            assert body["properties"]["description"].endswith(f"docs/runbook.md#{alert.lower()}")


def test_the_runbook_has_a_heading_for_each_alert() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    names = {"ServiceDown", "BudgetNearLimit", *NAMES["aci"], "ProviderFallback"}
    for name in names:
        assert f"\n## {name}\n" in runbook


def test_memory_is_judged_by_what_the_container_has() -> None:
    for target, limit in (("aci", 0.9 * 4e9), ("containerapps", 0.9 * 4 * 2**30)):
        fields = {"cpu": 2, "memory_gb": 4}
        [rule] = [
            each
            for each in metric_rules(place(target, **fields).environment)
            if each.name == "MemoryNearLimit"
        ]
        assert rule.over == limit


def test_a_rule_looks_at_no_less_than_what_passed_since_the_last_look() -> None:
    rules = [
        body["properties"]
        for name, body in bodies(place(alerts={"every_minutes": 60})).items()
        if name.startswith("scheduledQueryRules/")
    ]
    assert {(each["evaluationFrequency"], each["windowSize"]) for each in rules} == {
        ("PT1H", "PT1H")
    }


def test_a_rule_is_where_its_workspace_is_and_not_where_the_service_is() -> None:
    rule = bodies(place())["scheduledQueryRules/iris-production-NotReady"]
    assert rule["location"] == "westeurope"
    assert rule["properties"]["scopes"] == [place().workspace]


# Who is told


def test_without_an_address_nobody_is_asked_for_and_the_owner_hears_of_the_budget() -> None:
    made = bodies(place(alerts={"budget": 10}))
    assert not any(name.startswith("actionGroups/") for name in made)
    for body in made.values():
        assert not body["properties"].get("actions", {"actionGroups": []}) or (
            body["properties"].get("actions") in ({"actionGroups": []}, [], None)
        )
    [mails] = [body for name, body in made.items() if name.startswith("budgets/")]
    for each in mails["properties"]["notifications"].values():
        assert (each["contactEmails"], each["contactRoles"]) == ([], ["Owner"])


def test_no_budget_and_no_check_from_outside_where_none_is_wanted() -> None:
    kinds = {name.partition("/")[0] for name in bodies(place(alerts={"budget": 0}))}
    assert kinds.isdisjoint({"budgets", "webtests"})


def test_the_check_from_outside_asks_whether_it_is_ready() -> None:
    made = bodies(place(alerts={"outside_check_minutes": 15}))
    test = made["webtests/iris-production-readyz"]
    assert test["properties"]["Request"]["RequestUrl"] == f"{ADDRESS}/readyz"
    assert test["properties"]["Frequency"] == 900
    assert f"hidden-link:{place().insights}" in test["tags"]
    down = made["metricAlerts/iris-production-ServiceDown"]["properties"]
    assert down["criteria"]["failedLocationCount"] < len(test["properties"]["Locations"])
    # Two looks of every location, or a failure could fall between two windows.
    assert down["windowSize"] == "PT30M"


def test_a_budget_that_is_there_keeps_its_beginning() -> None:
    found = {
        "eTag": '"1"',
        "properties": {"timePeriod": {"startDate": "2026-01-01T00:00:00Z", "endDate": "x"}},
    }
    body = budget(place(), MONTH, found).body
    assert body["properties"]["timePeriod"]["startDate"] == "2026-01-01T00:00:00Z"
    assert body["eTag"] == '"1"'
    new = budget(place(), MONTH).body
    assert new["properties"]["timePeriod"] == {"startDate": "2026-11-01T00:00:00Z"}
    assert "eTag" not in new


# The queries


def test_every_query_says_what_it_shows_and_names_the_service() -> None:
    assert len(queries.saved()) > 8
    for name in queries.saved():
        assert queries.says(name).endswith(".")
        assert len(queries.says(name)) > 20
        assert queries.query(name, "iris-production").startswith(
            'let service = "iris-production";\n'
        )


def test_a_query_brings_what_it_uses_and_no_more() -> None:
    overloaded = queries.alert("overloaded", "x")
    assert "let answers = " in overloaded
    assert "let lines = " in overloaded
    assert "let traced = " not in overloaded
    assert queries.query("log_cost", "x").count("let ") == 1


def test_every_file_of_a_query_is_used() -> None:
    every = [*log_rules(place("containerapps", gpu="t4").environment, 1)]
    every += log_rules(place(copies=2).environment, 1)
    assert {each.query for each in every} == {path.stem for path in queries.ALERTS.glob("*.kql")}
    assert {*CHARTS, *TABLES} <= set(queries.saved())


def written_by_the_service() -> str:
    return "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "engine" / "serving").rglob("*.py")
    )


@pytest.mark.parametrize("path", sorted(queries.FOLDER.rglob("*.kql")), ids=lambda path: path.stem)
def test_the_words_that_queries_look_for_are_words_of_the_service(path: Path) -> None:
    code = re.sub(r"^//.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    service = re.sub(r'"\s*\n\s*f?"', "", written_by_the_service())
    texts = re.findall(r'Message (?:==|startswith|endswith|has) "([^"]+)"', code)
    if path.stem in ("restarting", "starts"):
        # What Azure says about containers, and not the service.
        texts = [text for text in texts if text != "Started container"]
    for text in texts:
        assert text in re.sub(r"%[sd]", "CPUExecutionProvider", service), text


@pytest.mark.parametrize("path", sorted(queries.FOLDER.rglob("*.kql")), ids=lambda path: path.stem)
def test_the_metrics_that_queries_look_for_are_metrics_of_the_service(path: Path) -> None:
    for name in re.findall(r'"inference\.(\w+)"', path.read_text(encoding="utf-8")):
        families = (
            f"inference_{name}{unit}" for unit in ("", "_seconds", "_bytes", "_total", "_ratio")
        )
        assert any(f'"{each}"' in written_by_the_service() for each in families), name


# The workbook


def test_the_workbook_is_a_notebook_of_the_same_queries() -> None:
    body = documents.workbook(place()).body
    content = json.loads(body["properties"]["serializedData"])
    assert content["version"] == "Notebook/1.0"
    shown = {each["name"]: each["content"] for each in content["items"] if each["type"] == 3}
    assert set(shown) == {*CHARTS, *TABLES}
    for name, item in shown.items():
        assert item["query"] == queries.query(name, "iris-production")
    # A command line on Windows ends at 32,767 characters.
    [step] = [each for each in plan(place(), ADDRESS, 1, MONTH) if "/workbooks/" in each.key]
    assert len(" ".join(map(str, step.make[0].arguments))) < 32_000


def test_the_same_configuration_gives_the_same_requests() -> None:
    assert bodies(place()) == bodies(place())
    other = place(stage="staging", name="iris-staging", resource_group="iris-staging")
    assert set(bodies(place())).isdisjoint(set(bodies(other)))


# Whether it is there already


def test_what_azure_adds_is_no_difference() -> None:
    wanted = bodies(place())["scheduledQueryRules/iris-production-LatencyHigh"]
    found = copy.deepcopy(wanted)
    found |= {"id": "x", "etag": "y", "systemData": {}}
    found["properties"] |= {"createdWithApiVersion": "2023-12-01", "targetResourceTypes": ["x"]}
    found["properties"]["scopes"] = [found["properties"]["scopes"][0].lower()]
    [condition] = found["properties"]["criteria"]["allOf"]
    condition |= {"threshold": float(condition["threshold"]), "dimensions": []}
    assert says(found, wanted)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("severity", 4),
        ("enabled", False),
        ("criteria.allOf.0.query", "AppTraces"),
        ("criteria.allOf.0.threshold", 5),
        ("scopes", []),
        ("actions.actionGroups", ["/subscriptions/other"]),
        ("windowSize", "P1D"),
        ("autoMitigate", None),
    ],
)
def test_what_somebody_changed_is_a_difference(path: str, value: object) -> None:
    wanted = bodies(place())["scheduledQueryRules/iris-production-NotReady"]
    found = copy.deepcopy(wanted)
    *parents, last = path.split(".")
    at: Any = found["properties"]
    for part in parents:
        at = at[int(part)] if part.isdecimal() else at[part]
    at[last] = value
    assert not says(found, wanted)


def test_an_empty_list_may_be_left_out() -> None:
    assert says({}, {"actions": []})
    assert not says({"actions": ["x"]}, {"actions": []})
