"""Every model answers as in training; `service.py`, deploy/, load/ and the workflows are legal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from engine.client.parity import check_parity, served_records
from engine.client.service import Limits, Service
from engine.deploy.config.read import environment_names, read_environment
from engine.deploy.verify import key_from
from engine.errors import ConfigError
from engine.load.slo import read_slo
from engine.serving.api_version import api_fault
from engine.serving.errors import PackageError
from engine.serving.package.digest import SERVICE_FILE
from engine.serving.package.golden import compare
from engine.serving.package.reader import read_package
from engine.serving.remarks import remarks
from engine.serving.service_file import load_service_file
from engine.serving.settings import Settings
from engine.serving.tensors.datatypes import Array
from engine.upkeep import vulnerabilities
from engine.upkeep.workflow_limits import overruns
from engine.upkeep.workflow_rules import RULES, Workflow, read
from engine.upkeep.workflow_secrets import FIX, gaps

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "models"
SECONDS = 60.0
DIRECTORIES = sorted(path.parent for path in MODELS.glob("*/model.yaml"))
every_model = pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)


def test_there_is_a_model() -> None:
    assert DIRECTORIES, "models/ has no package; `make model FROM=…` writes one"


@every_model
def test_the_golden_samples_are_answered_as_recorded(client: httpx.Client, directory: Path) -> None:
    """As in training, over both protocols; where service.py has hooks, as `make check` records."""
    with Service(str(client.base_url), key_from(os.environ), SECONDS) as service:
        records = served_records(service, MODELS)
        (record,) = (each for each in records if each.manifest.name == directory.name)
        check_parity(service, [record], Limits(), print)


@every_model
def test_the_example_that_the_documentation_shows_works(
    client: httpx.Client, directory: Path
) -> None:
    document = client.get("/openapi.json").json()
    for path in (f"/predict/{directory.name}", f"/v2/models/{directory.name}/infer"):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        answer = client.post(path, json=content["application/json"]["example"])
        # A rule of service.py may refuse the first sample.
        assert answer.status_code == 200 or answer.json()["code"] == "refused", answer.text


def altered(array: Array) -> Array:
    """Values of the same type of which none is near its original."""
    if array.dtype.kind == "O":
        return np.array([f"{each} altered" for each in array.flat], np.object_).reshape(array.shape)
    if array.dtype.kind == "b":
        return ~array
    if array.dtype.kind == "f":
        # Infinity where the doubled value does not fit the type is another value as well.
        with np.errstate(over="ignore"):
            return np.where(np.isfinite(array), 2.0 * array + 1000, 0).astype(array.dtype)
    changed: Array = array ^ array.dtype.type(1)
    return changed


@every_model
def test_a_changed_answer_is_noticed(directory: Path) -> None:
    """The tolerances are narrow enough: each output that has values is altered alone."""
    package = read_package(directory)
    golden = package.golden.outputs
    for name, value in golden.items():
        if value.size:
            with pytest.raises(PackageError, match=f"golden check failed: output '{name}'"):
                compare(package.manifest.outputs, golden, {**golden, name: altered(value)})


@every_model
def test_the_service_describes_the_model_as_it_was_packaged(
    client: httpx.Client, directory: Path
) -> None:
    manifest = read_package(directory).manifest
    described = client.get(f"/v2/models/{directory.name}").json()
    assert described["versions"] == [manifest.version]
    for kind, tensors in (("inputs", manifest.inputs), ("outputs", manifest.outputs)):
        # Hooks of service.py may add outputs behind those of the package.
        found = [(each["name"], each["datatype"], each["shape"]) for each in described[kind]]
        assert found[: len(tensors)] == [
            (each.name, each.datatype, list(each.shape)) for each in tensors
        ]


@every_model
@pytest.mark.parametrize("path", ["/predict/{}", "/v2/models/{}/infer"])
def test_a_request_without_inputs_is_refused_with_the_way_out(
    client: httpx.Client, directory: Path, path: str
) -> None:
    answer = client.post(path.format(directory.name), json={})
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"] in ("data", "inputs")
    assert answer.json()["rule"]


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
