"""`service.py`, the files in deploy/ and load/, and the workflows are legal, yours too."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.deploy.config.read import environment_names, read_environment
from engine.errors import ConfigError
from engine.load.slo import read_slo
from engine.serving.api_version import api_fault
from engine.serving.package.digest import SERVICE_FILE
from engine.serving.remarks import remarks
from engine.serving.service_file import load_service_file
from engine.serving.settings import Settings
from engine.upkeep import vulnerabilities
from engine.upkeep.workflow_limits import overruns
from engine.upkeep.workflow_rules import RULES, Workflow, read
from engine.upkeep.workflow_secrets import FIX, gaps

ROOT = Path(__file__).resolve().parents[1]


def test_service_py_uses_an_api_version_that_this_engine_supports() -> None:
    assert api_fault(SERVICE_FILE) is None


def test_service_py_can_be_loaded_and_takes_no_route_of_the_engine() -> None:
    load_service_file(SERVICE_FILE)


def test_service_py_is_typed() -> None:
    """As `make lint` checks it, so that a hook that names its arrays wrongly fails here."""
    if SERVICE_FILE.exists():
        command = [sys.executable, "-m", "mypy", "--config-file=engine/mypy.ini", str(SERVICE_FILE)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(done.stdout + done.stderr, pytrace=False)


def test_there_is_an_environment() -> None:
    assert environment_names(ROOT), "add a file to deploy/environments/"


@pytest.mark.parametrize("stage", environment_names(ROOT))
def test_an_environment_is_legal_for_its_target_and_for_service_py(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, environment = read_environment(stage, ROOT)
    assert project.name
    assert environment.stage == stage
    for name, value in environment.variables.items():
        monkeypatch.setenv(name, value)
    known = {*Settings.model_fields}
    for own in load_service_file(SERVICE_FILE).own_settings:
        known |= type(own).model_fields.keys()
    assert remarks(environment.variables, known, workers=1, cpus=1) == []


def test_the_promise_is_legal() -> None:
    assert read_slo(ROOT / "load" / "slo.yaml").p95_ms > 0


def test_what_the_scan_may_overlook_has_a_reason_and_has_not_run_out() -> None:
    try:
        vulnerabilities.read(ROOT)
    except ConfigError as error:
        pytest.fail(str(error), pytrace=False)


def test_every_job_may_take_as_long_as_its_longest_deploy() -> None:
    try:
        found = overruns(ROOT)
    except ValueError as error:
        pytest.fail(str(error), pytrace=False)
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def test_the_workflows_pass_every_secret() -> None:
    if found := gaps(ROOT):
        pytest.fail("\n".join([*map(str, found), FIX]), pytrace=False)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_workflow_keeps_the_rule(rule: Callable[[Workflow], list[str]]) -> None:
    try:
        workflows = read(ROOT / ".github" / "workflows")
    except ValueError as error:
        pytest.fail(str(error), pytrace=False)
    found = [f"{each.name}: {fault}" for each in workflows for fault in rule(each)]
    if found:
        pytest.fail("\n".join(found), pytrace=False)
