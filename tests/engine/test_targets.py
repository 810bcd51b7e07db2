"""Everything about a kind of place is in its folder: another one is a folder more."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import yaml
from engine.deploy import targets
from engine.deploy.bootstrap import costs
from engine.deploy.bootstrap.plan import plan
from engine.deploy.config.advice import warnings
from engine.deploy.config.read import read_environment
from engine.deploy.monitoring.place import Place
from engine.deploy.monitoring.rules import log_rules
from engine.deploy.rollout.site import RolloutFailed
from engine.deploy.targets import kind_names
from engine.deploy.targets.kind import kind_of
from engine.errors import ConfigError

from tests.engine.arm_memory import BEFORE, CRASHES, GOOD, Deploys, installed, is_complete
from tests.engine.bootstrap_world import inputs
from tests.engine.bundle_memory import BundleArm
from tests.engine.project import ROOT
from tests.engine.test_deploy_config import PROJECT
from tests.engine.test_rollout_faults import (
    FAULTS,
    WAYS,
    begin,
    deploy,
    moments,
    noted,
    promised,
)

PLACES = Path(__file__).parent / "places"
KIND = "bundle"


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A kind of place that is nothing but a folder: ``tests/engine/places/bundle``."""
    monkeypatch.setattr(targets, "__path__", [*targets.__path__, str(PLACES)])
    yield
    for name in ("", ".kind", ".target"):
        sys.modules.pop(f"engine.deploy.targets.{KIND}{name}", None)


def files(root: Path, **fields: object) -> Path:
    """A configuration whose staging runs behind an endpoint."""
    staging = {
        "target": KIND,
        "region": "westeurope",
        "resource_group": "iris-staging",
        "name": "iris-staging",
        **fields,
    }
    (root / "deploy" / "environments").mkdir(parents=True)
    (root / "deploy" / "project.yaml").write_text(yaml.safe_dump(PROJECT))
    (root / "deploy" / "environments" / "staging.yaml").write_text(yaml.safe_dump(staging))
    return root


@pytest.mark.usefixtures("bundle")
def test_another_kind_is_configured_by_its_folder_alone(tmp_path: Path) -> None:
    project, environment = read_environment("staging", files(tmp_path, instances=2))
    assert environment.model_dump()["instances"] == 2
    assert KIND in kind_names()
    assert "an endpoint may be slow" in warnings(project, environment)
    assert costs.running(environment) == "$0.2 an hour"
    assert "EndpointSlow" in [each.name for each in log_rules(environment, 500)]
    assert Place(project, environment, "s").service.endswith(
        "/Example.Endpoints/endpoints/iris-staging"
    )


@pytest.mark.usefixtures("bundle")
def test_another_kind_has_its_own_rules(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="an endpoint has at most 8 cores"):
        read_environment("staging", files(tmp_path, cpu=3, instances=3))


@pytest.mark.usefixtures("bundle")
def test_a_field_of_one_kind_is_refused_by_another(tmp_path: Path) -> None:
    root = files(tmp_path, dns={"label": "iris-demo"}, replicas={"max": 2})
    with pytest.raises(ConfigError) as caught:
        read_environment("staging", root)
    rules = {fault.field: fault.rule for fault in caught.value.faults}
    assert rules == {"dns": "an endpoint has one address", "replicas": "there is no such field"}


@pytest.mark.usefixtures("bundle")
def test_bootstrap_registers_the_provider_and_makes_the_role_of_another_kind() -> None:
    before = inputs()
    staging = before.environments["staging"].model_copy(update={"target": KIND})
    steps = plan(replace(before, environments={"staging": staging}))
    assert "role endpoints" in [step.key for step in steps]
    assert "Example.Endpoints" in steps[0].purpose
    assert "Microsoft.ContainerInstance" not in steps[0].purpose
    assert kind_of(staging).provider == "Example.Endpoints"


# A rollout of several named objects, whose candidate is reached by a header.


@pytest.fixture
def deploys(bundle: None, monkeypatch: pytest.MonkeyPatch) -> Deploys:
    """An empty environment behind an endpoint, on an Azure in memory."""
    found = Deploys(BundleArm(), KIND)
    installed(monkeypatch, found.arm)
    found.target()
    endpoint = sys.modules[f"engine.deploy.targets.{KIND}.target"].Endpoint
    monkeypatch.setattr(endpoint, "sleep", staticmethod(found.arm.clock.sleep))
    return found


def test_a_candidate_behind_a_header_is_verified_before_anybody_reaches_it(
    deploys: Deploys,
) -> None:
    arm = cast("BundleArm", deploys.arm)
    deploy(deploys, BEFORE, 1.0)
    assert is_complete(arm, BEFORE)
    arm.clock.sleep(1000)
    arm.log.clear()
    deploy(deploys, GOOD, 1.0)
    assert is_complete(arm, GOOD)
    changes = [each for each in arm.log if each.writes and each.resource == "profile"]
    made, kept = changes[-2:]
    assert (made.method, made.url.rpartition("/")[2]) == ("put", "green?v=1")
    assert kept.body["traffic"] == {"green": 100}
    with pytest.raises(RolloutFailed, match="the previous release serves again"):
        deploy(deploys, CRASHES, 1.0)
    assert is_complete(arm, GOOD)
    assert deploys.target().retire() == ("blue",)
    assert arm.violations == []


@pytest.mark.sampled
@pytest.mark.parametrize("way", ["update", "crash", "first crash"])
@pytest.mark.parametrize("fault", ["409", "500, applied", "lost after", "stale", "claim lost"])
def test_another_kind_keeps_the_promise_of_a_rollout(
    deploys: Deploys, monkeypatch: pytest.MonkeyPatch, fault: str, way: str
) -> None:
    for moment in moments(60, f"{fault} fleet {way}"):
        deploys.arm = BundleArm()
        begin(monkeypatch, deploys, WAYS[way])
        deploys.arm.fault = FAULTS[fault](moment)
        with noted(f"the fault began with request {moment}"):
            promised(deploys, WAYS[way])


def test_nothing_outside_of_its_folder_knows_a_kind_by_name() -> None:
    deploy = ROOT / "engine" / "deploy"
    names = set(kind_names())
    assert KIND not in names
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
