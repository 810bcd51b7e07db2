"""The double's rules take everything that watches a service, on every target and with every option.

No request is sent: the documents are rendered by the service and judged by the rules alone, so that
Container Apps and GPUs are looked at as well, which no test deploys for this.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.azure_double.client import REPOSITORY, azure_bin

from .other_python import run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("azure_tools")]

EVERY: dict[str, dict[str, Any]] = {
    "aci": {"target": "aci", "region": "northeurope"},
    "app": {"target": "containerapps", "region": "westeurope", "replicas": {"min": 1}},
    "gpu": {"target": "containerapps", "region": "swedencentral", "gpu": "t4"},
    "hourly": {"target": "aci", "region": "westeurope", "alerts": {"every_minutes": 60}},
    "checked": {
        "target": "aci",
        "region": "westeurope",
        "alerts": {"outside_check_minutes": 5, "every_minutes": 30, "budget": 0.5},
    },
}
EMAIL = ["oncall@example.org"]

# In a rendered service: environments in, everything that watches them out.
RENDER = """
import json, sys
from engine.deploy.config.project import Project
from engine.deploy.monitoring.documents import budget
from engine.deploy.monitoring.place import Place
from engine.deploy.monitoring.plan import resources
from engine.deploy.targets.kind import environment_model

project = Project(
    name="iris-service", title="Iris Service", owner="octo-org", accelerator="cpu",
    registry="irisservice", region="westeurope", shared_resource_group="iris-service-shared",
)
made = {}
for name, fields in json.load(sys.stdin).items():
    fields = {"stage": "staging", "resource_group": "g", "name": "iris-staging", **fields}
    place = Place(project, environment_model(fields).model_validate(fields), "S")
    every = [*resources(place, "http://iris.example.org:8000", 300.0)]
    if place.environment.alerts.budget:
        every.append(budget(place, "2026-11-01"))
    made[name] = {
        "there": [place.service, place.workspace, place.insights],
        "resources": [{"id": each.id, "body": each.body} for each in every],
    }
json.dump(made, sys.stdout)
"""

# Beside the double: its rules, over a store in which each resource is put once it was taken.
JUDGE = """
import copy, json, sys
from types import SimpleNamespace
from tests.azure_double import shape
from tests.azure_double.arm.errors import ArmError
from tests.azure_double.arm.store import Store
from tests.azure_double.providers import monitor_resources as shown
from tests.azure_double.providers import monitor_rules as rules
from tests.azure_double.providers import monitor_shapes as shapes

CHECKS = {
    "actionGroups": lambda azure, name, body: rules.action_group(azure, body),
    "metricAlerts": lambda azure, name, body: rules.metric_alert(azure, body),
    "scheduledQueryRules": lambda azure, name, body: rules.log_rule(azure, body),
    "webtests": lambda azure, name, body: rules.web_test(azure, body),
    "workbooks": rules.workbook,
    "savedSearches": lambda azure, name, body: shape.check(body, shapes.SAVED_SEARCH),
    "budgets": lambda azure, name, body: shape.check(body, shapes.BUDGET),
}
SHOWN = {
    "actionGroups": shown._shown_group,
    "metricAlerts": shown._shown_metric_alert,
    "scheduledQueryRules": shown._shown_log_rule,
    "webtests": shown._shown_web_test,
}
verdicts = {}
for case, given in json.load(sys.stdin).items():
    azure = SimpleNamespace(store=Store())
    for each in given["there"]:
        azure.store.put(each, {"location": "westeurope"})
    verdicts[case] = {}
    for each in given["resources"]:
        kind, name = each["id"].split("/")[-2:]
        try:
            CHECKS[kind](azure, name, each["body"])
            verdict = None
        except ArmError as error:
            verdict = str(error)
        azure.store.put(each["id"], each["body"])
        answer = copy.deepcopy(each["body"])
        SHOWN.get(kind, lambda body: None)(answer)
        verdicts[case][f"{kind}/{name}"] = {
            "refused": verdict, "sent": each["body"], "shown": answer
        }
json.dump(verdicts, sys.stdout)
"""

# In the rendered service again: is what Azure shows what was sent?
COMPARE = """
import json, sys
from engine.deploy.monitoring.plan import says
pairs = json.load(sys.stdin)
differing = [name for name, each in pairs.items() if not says(each["shown"], each["sent"])]
json.dump(differing, sys.stdout)
"""


@pytest.fixture(scope="module")
def verdicts(rendered_service: Path, deploy_python: Path) -> Any:
    """By case and resource: why it is refused, if so; what was sent, and what Azure shows of it."""
    cases = {
        f"{name}{' told' if told else ''}": {
            **fields,
            "alerts": {**fields.get("alerts", {}), "email": EMAIL if told else []},
        }
        for name, fields in EVERY.items()
        for told in (True, False)
    }
    made = run(deploy_python, rendered_service, RENDER, cases)
    return run(azure_bin() / "python", REPOSITORY, JUDGE, made)


def test_nothing_is_refused(verdicts: Any) -> None:
    assert len(verdicts) == 2 * len(EVERY)
    for case, found in verdicts.items():
        refused = {name: each["refused"] for name, each in found.items() if each["refused"]}
        assert refused == {}, case


def test_what_azure_shows_of_it_is_no_difference(
    verdicts: Any, rendered_service: Path, deploy_python: Path
) -> None:
    for case, found in verdicts.items():
        changed = [name for name, each in found.items() if each["shown"] != each["sent"]]
        assert changed, case
        assert run(deploy_python, rendered_service, COMPARE, found) == [], case


def test_every_kind_was_judged(verdicts: Any) -> None:
    kinds = {name.partition("/")[0] for name in verdicts["checked told"]}
    assert kinds == {
        *("actionGroups", "metricAlerts", "scheduledQueryRules", "webtests", "workbooks"),
        *("savedSearches", "budgets"),
    }
    names = {name.rpartition("-")[2] for name in verdicts["gpu told"]}
    assert {"ProviderFallback", "DeviceMemoryNearLimit", "Restarting"} <= names
