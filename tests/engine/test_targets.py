"""Everything about a kind of place is in its folder: another one is a folder more."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from engine.deploy import targets
from engine.deploy.bootstrap import costs
from engine.deploy.bootstrap.plan import plan
from engine.deploy.config.advice import warnings
from engine.deploy.config.read import read_environment
from engine.deploy.monitoring.place import Place
from engine.deploy.monitoring.rules import log_rules
from engine.deploy.targets import kind_names
from engine.deploy.targets.kind import kind_of
from engine.errors import ConfigError

from tests.engine.bootstrap_world import inputs
from tests.engine.project import ROOT
from tests.engine.test_deploy_config import PROJECT

SHELF = """
from engine.deploy.bootstrap.price import Price
from engine.deploy.bootstrap.role import CustomRole
from engine.deploy.config.environment import Environment
from engine.deploy.config.rules.rule import Broken, Rule
from engine.deploy.monitoring.rule import WARNING, LogRule, MetricRule
from engine.deploy.targets.kind import Kind, Metrics


def small(project, environment):
    if environment.cpu > 1:
        yield Broken(("cpu",), "a shelf has one core", "write 1")


class ShelfEnvironment(Environment):
    absent = {"dns": ("a shelf has no address", "remove it")}

    planks: int = 1


class Shelf(Kind):
    environment = ShelfEnvironment
    resource_type = "Example.Shelves/shelves"
    metrics = Metrics("Cpu", 1.0, "Memory")
    rules = (Rule(("cpu",), small),)
    deploy_role = CustomRole(
        "role shelf", lambda project: f"{project.name} shelf", ("Example.Shelves/*",), "fills it"
    )
    prices = (Price(2.0, "hour", "the test", "2026"),)

    def target(self, az, environment, places):
        return ("shelf", environment.name)

    def warnings(self, environment):
        return ("a shelf may fall",)

    def log_rules(self, environment):
        return (LogRule("ShelfFell", "shelf", "It fell.", WARNING),)

    def metric_rules(self, environment):
        return ()

    def hour(self, environment):
        return 2.0

    def bill(self, environment, hour):
        return f"${hour:g} an hour on a shelf"


KIND = Shelf()
"""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A kind of place that is nothing but a folder."""
    folder = tmp_path / "places" / "shelf"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "kind.py").write_text(SHELF)
    monkeypatch.setattr(targets, "__path__", [*targets.__path__, str(folder.parent)])
    yield "shelf"
    for name in ("engine.deploy.targets.shelf.kind", "engine.deploy.targets.shelf"):
        sys.modules.pop(name, None)


def files(root: Path, **fields: object) -> Path:
    """A configuration whose staging runs on a shelf."""
    staging = {
        "target": "shelf",
        "region": "westeurope",
        "resource_group": "iris-staging",
        "name": "iris-staging",
        **fields,
    }
    (root / "deploy" / "environments").mkdir(parents=True)
    (root / "deploy" / "project.yaml").write_text(yaml.safe_dump(PROJECT))
    (root / "deploy" / "environments" / "staging.yaml").write_text(yaml.safe_dump(staging))
    return root


def test_another_kind_is_configured_by_its_folder_alone(shelf: str, tmp_path: Path) -> None:
    project, environment = read_environment("staging", files(tmp_path, planks=3))
    assert environment.model_dump()["planks"] == 3
    assert shelf in kind_names()
    assert "a shelf may fall" in warnings(project, environment)
    assert costs.running(environment) == "$2 an hour on a shelf"
    assert "ShelfFell" in [each.name for each in log_rules(environment, 500)]
    assert Place(project, environment, "s").service.endswith(
        "/Example.Shelves/shelves/iris-staging"
    )


def test_another_kind_has_its_own_rules(shelf: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a shelf has one core"):
        read_environment("staging", files(tmp_path, cpu=2))


def test_a_field_of_one_kind_is_refused_by_another(shelf: str, tmp_path: Path) -> None:
    root = files(tmp_path, dns={"label": "iris-demo"}, replicas={"max": 2})
    with pytest.raises(ConfigError) as caught:
        read_environment("staging", root)
    rules = {fault.field: fault.rule for fault in caught.value.faults}
    assert rules == {"dns": "a shelf has no address", "replicas": "there is no such field"}


def test_bootstrap_registers_the_provider_and_makes_the_role_of_another_kind(shelf: str) -> None:
    before = inputs()
    staging = before.environments["staging"].model_copy(update={"target": shelf})
    steps = plan(replace(before, environments={"staging": staging}))
    assert "role shelf" in [step.key for step in steps]
    assert "Example.Shelves" in steps[0].purpose
    assert "Microsoft.ContainerInstance" not in steps[0].purpose
    assert kind_of(staging).provider == "Example.Shelves"


def test_nothing_outside_of_its_folder_knows_a_kind_by_name() -> None:
    deploy = ROOT / "engine" / "deploy"
    names = set(kind_names())
    assert names >= {"aci", "containerapps"}
    found = []
    for file in sorted(deploy.rglob("*.py")):
        if file.relative_to(deploy).parts[:2] in {("targets", name) for name in names}:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in names:
                found.append(f"{file.name}:{node.lineno}")
            if isinstance(node, ast.ImportFrom) and _within(node.module, names):
                found.append(f"{file.name}:{node.lineno}")
    assert found == []


def _within(module: str | None, names: set[str]) -> bool:
    return any((module or "").startswith(f"engine.deploy.targets.{name}") for name in names)
