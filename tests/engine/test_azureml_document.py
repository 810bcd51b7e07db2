"""The document of an online endpoint, its rules, and what is sent of it, without Azure."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from engine.client.service import Service
from engine.deploy.config import names
from engine.deploy.config.project import Project
from engine.deploy.rollout.run import UNCHANGED, UPDATED, roll_out
from engine.deploy.targets.azureml import document as documents
from engine.deploy.targets.azureml import rules, shape
from engine.deploy.targets.azureml.environment import EndpointEnvironment
from engine.deploy.targets.azureml.sizes import quota_cores, size_of
from engine.deploy.targets.azureml.target import OnlineEndpoint
from engine.deploy.targets.base import Document, Places, Release
from engine.deploy.targets.compare import differing_paths
from engine.deploy.targets.kind import kind_of
from engine.errors import EngineError

from tests.engine.arm_memory import BEFORE, GOOD, SECRET, Deploys, installed, is_complete, release
from tests.engine.endpoint_memory import KEY, NAME, URL, EndpointArm
from tests.engine.test_deploy_config import PROJECT
from tests.once import installed as tools

REPOSITORY = Path(__file__).resolve().parents[2]
PULL = "/subscriptions/s/resourceGroups/g_1/providers/Microsoft.ManagedIdentity/x/iris-runtime"
PLACES = Places("s", "iris.azurecr.io", PULL)
RELEASE = Release(f"iris.azurecr.io/iris@sha256:{'a' * 64}", "0" * 40, "b" * 64)
TAGS = {names.TAG_ROLLOUT: "20261121051530-abc123", names.TAG_STATE: "verifying"}


def environment(**changes: Any) -> EndpointEnvironment:
    settings: dict[str, Any] = {
        "stage": "staging",
        "target": "azureml",
        "region": "westeurope",
        "resource_group": "iris-staging",
        "name": "iris-staging",
        "secrets": ["API_KEYS"],
        "variables": {"LOG_LEVEL": "info"},
        "telemetry": False,
    }
    return EndpointEnvironment.model_validate(settings | changes)


def render(**changes: Any) -> Document:
    return documents.render(environment(**changes), RELEASE, PLACES, TAGS)


def faults(**changes: Any) -> dict[str, str]:
    """The rules of the target that are broken, by field."""
    project, given = Project.model_validate(PROJECT), environment(**changes)
    broken = [each for rule in rules.RULES for each in rule.check(project, given)]
    return {".".join(map(str, each.at)): each.rule for each in broken}


# What is sent, as Azure's own models read it.

_ROUND_TRIP = """
import json, sys
from azure.mgmt.machinelearningservices import models
for kind, body in json.load(sys.stdin):
    print(json.dumps(getattr(models, kind).deserialize(body).serialize()))
"""
_KINDS = {"/environments/": "EnvironmentVersion", "/deployments/": "OnlineDeployment"}


@pytest.fixture
def deploys(monkeypatch: pytest.MonkeyPatch) -> Deploys:
    """An empty workspace on an Azure in memory."""
    found = Deploys(EndpointArm(), "azureml")
    installed(monkeypatch, found.arm)
    return found


def arm_of(deploys: Deploys) -> EndpointArm:
    return cast("EndpointArm", deploys.arm)


def up(deploys: Deploys, digit: str, **fields: Any) -> str:
    """Deploy a release; what was done."""
    site = deploys.site(**fields)
    kind = roll_out(site, site.target.document(release(digit), {})).kind
    deploys.arm.clock.sleep(100)
    return kind


def _in_seconds(value: Any) -> Any:
    """The same document with PT60S in place of PT1M."""
    if isinstance(value, dict):
        return {key: _in_seconds(item) for key, item in value.items()}
    return shape.seconds(value) if isinstance(value, str) else value


@pytest.mark.slow
def test_every_property_that_is_sent_is_one_that_azure_has(deploys: Deploys) -> None:
    """The models drop what they do not know, such as a misspelt name."""
    up(deploys, GOOD)
    target = cast("OnlineEndpoint", deploys.target())
    target.stop()
    sent = []
    for each in deploys.arm.log:
        if each.method == "put" and each.resource == "profile":
            found = next((kind for part, kind in _KINDS.items() if part in each.url), None)
            sent.append((found or "OnlineEndpoint", each.body))
    assert {kind for kind, _ in sent} == {*_KINDS.values(), "OnlineEndpoint"}
    python = tools("azureml", REPOSITORY / "requirements" / "azureml.txt") / "python"
    command = [str(python), "-c", _ROUND_TRIP]
    done = subprocess.run(
        command, input=json.dumps(sent), capture_output=True, text=True, check=True
    )
    read = [json.loads(line) for line in done.stdout.splitlines()]
    for (_, body), known in zip(sent, read, strict=True):
        assert list(differing_paths(body, _in_seconds(known))) == []


# The document.


def test_the_version_of_an_environment_follows_from_image_and_routes() -> None:
    first = documents.version_of(render()["environment"])
    assert first == documents.version_of(render(instances=2)["environment"])
    assert first != documents.version_of(render(port=9000)["environment"])
    other = Release(RELEASE.image[:-1] + "b", "", "")
    changed = documents.render(environment(), other, PLACES, TAGS)
    assert first != documents.version_of(changed["environment"])


def test_all_routes_of_the_container_are_behind_the_address() -> None:
    config = render(port=9000)["environment"]["inferenceConfig"]
    assert config == {
        "livenessRoute": {"path": "/healthz", "port": 9000},
        "readinessRoute": {"path": "/readyz", "port": 9000},
        "scoringRoute": {"path": "/", "port": 9000},
    }


def test_neither_the_default_timeout_nor_the_default_concurrency_is_left() -> None:
    """Azure's are 5 seconds, and one request at a time."""
    settings = render()["deployment"]["properties"]["requestSettings"]
    assert settings == {"requestTimeout": "PT60S", "maxConcurrentRequestsPerInstance": 20}


def test_secrets_are_there_by_name_only() -> None:
    document = render()
    assert document["secrets"] == ["API_KEYS"]
    assert "API_KEYS" not in document["deployment"]["properties"]["environmentVariables"]


def test_of_a_deployment_that_others_made_no_variable_is_recorded() -> None:
    made = {"properties": {"environmentVariables": {"TOKEN": SECRET}}}
    parts = shape.parts_of(made, None)
    assert parts["secrets"] == ["TOKEN"]
    assert SECRET not in json.dumps(parts)


def test_an_image_must_be_named_by_its_digest_and_be_in_our_registry() -> None:
    for image in ("iris.azurecr.io/iris:1", f"other.azurecr.io/iris@sha256:{'a' * 64}"):
        with pytest.raises(EngineError):
            documents.render(environment(), Release(image, "", ""), PLACES, {})


@pytest.mark.parametrize(
    ("changes", "blocks"), [({"instances": 2}, False), ({"region": "x"}, True)]
)
def test_only_what_belongs_to_the_endpoint_blocks_an_update(
    changes: dict[str, Any], *, blocks: bool
) -> None:
    wanted = {**render(), "location": "westus3"} if blocks else render(**changes)
    assert shape.differences(render(), wanted)
    assert bool(shape.blockers(render(), wanted)) is blocks


# The rules.


@pytest.mark.parametrize(
    ("changes", "field", "rule"),
    [
        ({"name": "a"}, "name", "3 to 32"),
        ({"name": "a" * 33}, "name", "3 to 32"),
        ({"name": "9-lives"}, "name", "begins with a letter"),
        ({"gpu": "t4"}, "gpu", "driver 535"),
        ({"instance_type": "Standard_D4s_v5"}, "instance_type", "none of the sizes"),
        ({"instance_type": "Standard_F4s_v2", "cpu": 5.0}, "cpu", "has 4 cores"),
        ({"instance_type": "Standard_F4s_v2", "memory_gb": 9.0}, "memory_gb", "has 8 GB"),
        ({"memory_gb": 500.0}, "cpu", "no size has"),
        (
            {"variables": {"MODEL_URI": "https://a.blob.core.windows.net/c/m.zip"}},
            "variables.MODEL_URI",
            "managed identity",
        ),
    ],
)
def test_what_azure_would_refuse_is_a_fault(changes: dict[str, Any], field: str, rule: str) -> None:
    found = faults(**changes)
    assert rule in found.get(field, ""), found


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ({}, "Standard_F2s_v2"),
        ({"cpu": 3.0}, "Standard_F4s_v2"),
        ({"memory_gb": 12.0}, "Standard_E2s_v3"),
        ({"instance_type": "Standard_DS3_v2", "cpu": 4.0, "memory_gb": 14.0}, "Standard_DS3_v2"),
    ],
)
def test_the_smallest_size_that_fits_is_chosen(given: dict[str, Any], size: str) -> None:
    assert faults(**given) == {}
    found = size_of(environment(**given))
    assert found is not None
    assert found.name == size


def test_the_quota_has_room_for_both_releases_with_azures_reserve() -> None:
    """Microsoft's page on quotas: 20 % more, rounded up, for each deployment."""
    assert quota_cores(environment(instances=10, instance_type="Standard_DS4_v2")) == 2 * 12 * 8
    assert "32 cores" in " ".join(rules.warnings(environment(instances=3, cpu=4.0)))


def test_a_release_has_the_time_that_an_instance_takes() -> None:
    assert environment().rollout.start_seconds == 1800
    assert environment(rollout={"lease_seconds": 60}).rollout.start_seconds == 1800


def test_fields_of_other_kinds_are_refused_with_their_reason() -> None:
    absent = EndpointEnvironment.absent
    assert {"dns", "https", "replicas", "copies", "switch", "restart_policy"} <= set(absent)


def test_the_id_for_alerts_and_figures_is_in_the_workspace() -> None:
    given = environment(workspace="iris-ml")
    assert kind_of(given).resource(given, NAME) == (
        f"Microsoft.MachineLearningServices/workspaces/iris-ml/onlineEndpoints/{NAME}"
    )
    metrics = kind_of(given).measured(environment(cpu=4.0))
    assert 50 / metrics.per_core == 2.0
    assert 50 * metrics.memory_bytes == 4e9


# A release, from the first to the last.


def test_the_same_release_again_changes_nothing(deploys: Deploys) -> None:
    assert up(deploys, GOOD) == UPDATED
    deploys.arm.log.clear()
    assert up(deploys, GOOD) == UNCHANGED
    assert [each for each in deploys.arm.log if each.writes] == []


def test_the_release_before_bills_until_it_is_retired(deploys: Deploys) -> None:
    arm = arm_of(deploys)
    up(deploys, BEFORE)
    (before,) = arm.deployments
    up(deploys, GOOD)
    assert len(arm.deployments) == 2
    assert deploys.target().retire() == (f"deployment {before}",)
    assert list(arm.deployments) == list(arm._traffic())
    assert deploys.target().retire() == ()
    assert is_complete(arm, GOOD)


def test_a_third_release_needs_no_room_for_three(deploys: Deploys) -> None:
    up(deploys, BEFORE)
    up(deploys, GOOD)
    up(deploys, GOOD, instances=2)
    assert len(arm_of(deploys).deployments) == 2
    assert is_complete(arm_of(deploys), GOOD)


def test_the_release_before_is_asked_with_the_key_whether_it_answers(deploys: Deploys) -> None:
    up(deploys, BEFORE)
    up(deploys, GOOD)
    assert deploys.journal().records()[0].answered


def test_a_new_secret_is_a_new_deployment(deploys: Deploys) -> None:
    up(deploys, GOOD)
    site = replace(deploys.site(), secrets={"API_KEYS": "another"})
    assert roll_out(site, site.target.document(release(GOOD), {})).kind == UPDATED
    assert "another" in arm_of(deploys).secrets()


def test_a_stopped_endpoint_has_no_deployment_and_the_next_deploy_makes_one(
    deploys: Deploys,
) -> None:
    up(deploys, GOOD)
    deploys.target().stop()
    live, arm = deploys.target().read(), arm_of(deploys)
    assert live is not None
    assert (live.stopped, live.address, arm.deployments) == (True, URL, {})
    assert up(deploys, GOOD) == UPDATED
    assert is_complete(arm, GOOD)


def test_a_release_that_fails_leaves_a_stopped_endpoint_stopped(deploys: Deploys) -> None:
    up(deploys, GOOD)
    deploys.target().stop()
    with pytest.raises(EngineError):
        up(deploys, "d")
    live = deploys.target().read()
    assert live is not None
    assert live.stopped
    assert arm_of(deploys).deployments == {}


def test_a_stop_that_was_interrupted_says_what_bills(deploys: Deploys) -> None:
    up(deploys, GOOD)
    arm = arm_of(deploys)
    assert arm.endpoint is not None
    arm.endpoint["tags"]["stopped"] = "yes"
    arm.endpoint["properties"]["traffic"] = {}
    live = deploys.target().read()
    assert live is not None
    assert not live.stopped
    assert "bills" in (live.failure or "")
    deploys.target().stop()
    assert arm.deployments == {}


@pytest.mark.parametrize("merges", [False, True])
def test_tags_are_exactly_those_asked_for_whatever_a_patch_does(
    deploys: Deploys, *, merges: bool
) -> None:
    arm_of(deploys).merges = merges
    up(deploys, GOOD, tags={"team": "iris"})
    up(deploys, GOOD, tags={"cost": "7"})
    live = deploys.target().read()
    assert live is not None
    assert live.tags["cost"] == "7"
    assert "team" not in live.tags
    assert up(deploys, GOOD, tags={"cost": "7"}) == UNCHANGED


def test_the_key_is_in_no_command_and_in_no_message(
    deploys: Deploys, capfd: pytest.CaptureFixture[str]
) -> None:
    up(deploys, GOOD)
    headers = deploys.target().candidate_headers()
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert deploys.say.redact(f"failed: {KEY}") != f"failed: {KEY}"
    shown = capfd.readouterr()
    assert KEY not in shown.out + shown.err
    assert SECRET not in shown.out + shown.err


def test_the_newest_lines_of_the_log_are_shown_once(deploys: Deploys) -> None:
    up(deploys, GOOD)
    assert list(deploys.target().logs(follow=False)) == ["one", "two"]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"workspace": None}, "there is no Azure Machine Learning workspace"),
        ({"location": "West US 3"}, "is in westus3, not westeurope"),
        ({"properties": {"provisioningState": "Failed"}}, "is in state Failed"),
    ],
)
def test_a_workspace_that_cannot_be_used_is_found_before_anything_is_changed(
    deploys: Deploys, change: dict[str, Any], cause: str
) -> None:
    arm = arm_of(deploys)
    assert deploys.target().findings(RELEASE) == []
    arm.workspace = None if "workspace" in change else {**(arm.workspace or {}), **change}
    (found,) = deploys.target().findings(RELEASE)
    assert cause in found.cause
    assert found.fatal


# What clients meet.


@pytest.fixture
def front() -> Iterator[httpx.MockTransport]:
    """An endpoint, which answers 424 for whatever its container does not answer with 200."""

    def answer(request: httpx.Request) -> httpx.Response:
        status = request.url.path.strip("/")
        headers = {"ms-azureml-model-error-statuscode": status} if status != "none" else {}
        return httpx.Response(424, headers=headers, json={"error": "why"})

    yield httpx.MockTransport(answer)


@pytest.mark.parametrize(
    ("path", "status"), [("422", 422), ("503", 503), ("none", 424), ("x", 424)]
)
def test_the_status_of_the_service_is_unwrapped(
    front: httpx.MockTransport, path: str, status: int
) -> None:
    with Service(URL, None, 5) as service:
        service._client._transport = front
        assert service.get(f"/{path}").status_code == status
