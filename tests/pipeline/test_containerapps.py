"""Releases on Container Apps by the deploy package and the real `az`, on the Azure double.

An app's replicas are real containers; a GPU cannot be had here, so what asks for one is a document
that the double accepts or refuses. test_containerapps_rollout.py does by whole commands what those
marked exhaustive do step by step.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.azure_double.client import AzureDouble

from .commands import Azure, run
from .containerapps_world import SECRETS, T4, App, Apps, Refused
from .double_world import GROUP, REGION, World, eventually

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def apps(
    azure_tools: None,
    rendered_service: Path,
    deploy_python: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Apps]:
    """One double for all tests here; each uses apps of its own."""
    with AzureDouble(tmp_path_factory.mktemp("double")) as double:
        yield Apps(World(double), rendered_service, deploy_python)


@pytest.fixture
def soon_asleep(apps: Apps) -> Iterator[None]:
    """Idle apps go to sleep after two seconds."""
    before = apps.world.double.ask("app.pace")
    apps.world.double.ask("app.pace", {"probe_factor": 0.007})
    yield
    apps.world.double.ask("app.pace", before)


def told(document: dict[str, Any]) -> dict[str, Any]:
    """A live document without the tags of a rollout."""
    shown = copy.deepcopy(document)
    shown["tags"] = {k: v for k, v in shown["tags"].items() if not k.startswith("rollout-")}
    return shown


@pytest.mark.exhaustive
def test_a_first_release_is_verified_and_then_kept(apps: Apps) -> None:
    app = apps.app("first")
    assert app.step("findings") == []
    assert app.step("read") is None
    live = app.apply()
    assert live["tags"]["rollout-state"] == "verifying"
    assert apps.world.get(app.step("candidate") + "/env/NAME") == (200, "one")
    kept = app.keep(live["tags"])
    assert kept["tags"]["rollout-state"] == "kept"
    assert app.ask() == (200, "one")
    assert app.ask("/env/API_KEYS") == (200, SECRETS["API_KEYS"])
    assert app.step("differences", tags=apps.rollout()) == []


def test_plain_http_is_led_to_https(apps: Apps) -> None:
    app = apps.app("plain-http")
    address = app.apply()["address"]
    assert address.startswith("https://")
    # The opener follows the redirect.
    assert apps.world.get(address.replace("https://", "http://") + "/env/NAME") == (200, "one")


def test_a_second_release_gets_no_request_until_it_is_kept(apps: Apps) -> None:
    app = apps.app("second")
    app.deploy()
    live = app.apply(NAME="two")
    assert app.ask(candidate=True) == (200, "two")
    assert {app.ask() for _ in range(3)} == {(200, "one")}
    app.keep(live["tags"])
    assert {app.ask() for _ in range(3)} == {(200, "two")}


@pytest.mark.exhaustive
def test_the_release_before_goes_on_running_and_the_one_before_that_ends(apps: Apps) -> None:
    app = apps.app("third")
    for name in ("one", "two", "three"):
        app.deploy(NAME=name)
    first, second, third = apps.revisions("third").values()
    assert [each["active"] for each in (first, second, third)] == [False, True, True]
    assert [each["trafficWeight"] for each in (first, second, third)] == [0, 0, 100]


@pytest.mark.exhaustive
def test_a_release_that_crashes_never_serves_and_leaves_nothing(apps: Apps) -> None:
    app = apps.app("crash")
    before = app.deploy()
    stored = apps.stored("crash")["hidden"]["sent"]
    live = app.apply(until="failed", LIFE="0.1", CODE="3")
    assert "keeps crashing" in live["failure"], live
    eventually(lambda: "exit code 3" in (app.read()["failure"] or ""))
    assert app.ask() == (200, "one")
    after = app.restore(before["document"])
    assert told(after["document"]) == told(before["document"])
    assert after["tags"] == before["tags"]
    assert app.ask() == (200, "one")
    assert [each["active"] for each in apps.revisions("crash").values()] == [True, False]
    # What holds for the whole app is as it was, the values of the secrets included.
    now = apps.stored("crash")["hidden"]["sent"]["properties"]["configuration"]
    was = stored["properties"]["configuration"]
    assert now | {"secrets": []} == was | {"secrets": []}
    assert all(secret in now["secrets"] for secret in was["secrets"])


@pytest.mark.exhaustive
def test_a_release_that_is_never_ready_gets_no_request(apps: Apps) -> None:
    app = apps.app("unready", probes={"readiness": {"path": "/ready"}})
    app.deploy()
    app.settings["probes"] = {"readiness": {"path": "/die/7"}}
    app.step("apply", tags=apps.rollout())
    eventually(lambda: app.read()["restarts"])
    assert app.ask() == (200, "one")
    assert app.ask(candidate=True)[0] == 503


@pytest.mark.exhaustive
def test_going_back_is_a_matter_of_traffic(apps: Apps) -> None:
    app = apps.app("back")
    first = app.deploy()
    app.deploy(NAME="two")
    replicas = _docker_names(apps, "back")
    app.step("apply", document=first["document"], tags={**first["tags"], **apps.rollout()})
    live = app.wait("running")
    assert app.ask(candidate=True) == (200, "one")
    assert app.ask() == (200, "two")
    app.keep(live["tags"])
    assert app.ask() == (200, "one")
    assert len(apps.revisions("back")) == 2
    assert _docker_names(apps, "back") == replicas


def test_a_new_key_reaches_the_new_release_only(apps: Apps) -> None:
    app = apps.app("rotate")
    before = app.deploy()
    app.secrets = {"API_KEYS": "second-secret"}
    app.apply()
    assert app.ask("/env/API_KEYS", candidate=True) == (200, "second-secret")
    # Not even a restart may give the serving release the new key.
    old = next(iter(apps.revisions("rotate")))
    apps.call("POST", f"{apps.id('rotate')}/revisions/rotate--{old}/restart")
    eventually(lambda: app.ask("/env/API_KEYS") == (200, SECRETS["API_KEYS"]))
    app.restore(before["document"])
    assert app.ask("/env/API_KEYS") == (200, SECRETS["API_KEYS"])


def test_secrets_that_no_revision_needs_any_more_are_dropped(apps: Apps) -> None:
    app = apps.app("drop")
    for name in ("one", "two", "three"):
        app.deploy(NAME=name)
    configuration = apps.stored("drop")["hidden"]["sent"]["properties"]["configuration"]
    names = [each["name"] for each in configuration["secrets"]]
    active = [name for name, each in apps.revisions("drop").items() if each["active"]]
    assert names == [f"api-keys-{name}" for name in active]


def test_without_the_role_nothing_is_pulled_and_nothing_changes(apps: Apps) -> None:
    app = apps.app("no-role")
    app.deploy()
    world = apps.world
    assigned = "Microsoft.Authorization/roleAssignments"
    below = [each for each in world.double.resources(world.registry) if assigned in each]
    assert below
    roles = [world.double.resource(each) for each in below]
    for each in below:
        assert world.call("DELETE", each, version="2022-04-01")[0] == 200
    try:
        with pytest.raises(Refused, match="unable to pull image using Managed identity"):
            app.apply(NAME="two")
        assert app.ask() == (200, "one")
        assert len(apps.revisions("no-role")) == 1
    finally:
        for each, role in zip(below, roles, strict=True):
            assert role is not None
            properties = role["body"]["properties"]
            world.put(each, {"properties": properties}, version="2022-04-01")


def test_a_digest_that_is_not_there_is_named(apps: Apps) -> None:
    app = apps.app("no-image")
    app.image = app.image.partition("@")[0] + "@sha256:" + "0" * 64
    with pytest.raises(Refused, match="InvalidParameterValueInContainerTemplate"):
        app.apply()
    assert app.step("read") is None


def test_a_gpu_needs_its_workload_profile_and_runs_on_it(apps: Apps) -> None:
    app = apps.app("gpu", gpu="t4", cpu=8.0, memory_gb=56.0, replicas={"min": 0})
    assert any("no workload profile gpu-t4" in cause for cause in app.step("findings"))
    with pytest.raises(Refused, match="WorkloadProfileNameInvalid"):
        app.apply()
    made = _gpu_environment(apps)
    apps.environment, before = made, apps.environment
    try:
        assert app.step("findings") == []
        document = app.apply()["document"]
        assert document["properties"]["workloadProfileName"] == "gpu-t4"
        assert app.ask(candidate=True) == (200, "one")
    finally:
        apps.environment = before


def test_an_idle_app_sleeps_and_a_request_wakes_it(apps: Apps, soon_asleep: None) -> None:
    app = apps.app("sleepy", replicas={"min": 0, "max": 1})
    live = app.deploy()
    eventually(lambda: next(iter(apps.revisions("sleepy").values()))["replicas"] == 0)
    assert app.read()["running"], "asleep is no failure"
    assert apps.world.get(live["address"] + "/env/NAME") == (200, "one")


@pytest.mark.exhaustive
def test_a_stopped_app_answers_nothing_and_starts_again(apps: Apps) -> None:
    app = apps.app("stopped")
    live = app.deploy()
    app.step("stop")
    assert app.read()["stopped"]
    assert apps.world.get(live["address"])[0] == 404
    app.step("start")
    app.wait("running")
    eventually(lambda: app.ask() == (200, "one"))


def test_the_log_is_that_of_the_release_applied_last(apps: Apps) -> None:
    app = apps.app("logs")
    app.deploy()
    app.apply(GREETING="hello")
    assert app.step("logs") == ["starting with hello"]
    assert app.step("follow") == "starting with hello", "while the log goes on"


@pytest.mark.exhaustive
def test_a_deleted_app_is_gone(apps: Apps) -> None:
    app = apps.app("gone")
    app.deploy()
    app.step("delete")
    assert app.step("read") is None
    assert _docker_names(apps, "gone") == []


def test_three_actions_and_the_right_to_the_identity_are_enough(apps: Apps) -> None:
    world = apps.world
    role = f"{world.double.subscription_id}/providers/Microsoft.Authorization/roleDefinitions/"
    role += "11111111-0000-4000-8000-000000000001"
    actions = _deploy_actions(apps)
    properties = {
        "roleName": "apps deployer",
        "type": "CustomRole",
        "permissions": [{"actions": actions, "notActions": []}],
        "assignableScopes": [world.double.subscription_id],
    }
    world.put(role, {"properties": properties}, version="2022-04-01")
    app = apps.app("least")
    group = f"{world.double.subscription_id}/resourceGroups/{GROUP}"
    operator = ("Managed Identity Operator", world.identity)
    app.person = world.double.principal("deployer", ("apps deployer", group), operator)
    assert app.step("findings") == []
    app.deploy()
    app.deploy(NAME="two")
    assert app.step("logs")
    app.step("stop")
    app.step("start")
    app.step("delete")


def test_an_app_made_by_hand_is_pinned_before_the_next_release(apps: Apps) -> None:
    world = apps.world
    environment = world.double.env(world.owner)
    # az takes an identity only with *.azurecr.io, so the app is made as a document.
    body = _by_hand(apps)
    world.finished(*apps.call("PUT", apps.id("by-hand"), body))
    shown = run(environment, "az", "containerapp", "show", "-n", "by-hand", "-g", GROUP)
    traffic = json.loads(shown)["properties"]["configuration"]["ingress"]["traffic"]
    assert traffic == [{"latestRevision": True, "weight": 100}]
    app = apps.app("by-hand")
    app.apply(NAME="two")
    assert app.ask() == (200, "by hand")
    assert app.ask(candidate=True) == (200, "two")


def test_a_custom_domain_that_somebody_bound_stays(apps: Apps) -> None:
    app = apps.app("domain")
    app.deploy()
    domain = [{"name": "iris.example.org", "bindingType": "Disabled"}]
    ingress = {"configuration": {"ingress": {"customDomains": domain}}}
    apps.world.finished(*apps.call("PATCH", apps.id("domain"), {"properties": ingress}))
    app.deploy(NAME="two")
    shown = apps.stored("domain")["body"]["properties"]["configuration"]["ingress"]
    assert shown["customDomains"] == domain


def test_a_busy_app_is_waited_for(apps: Apps) -> None:
    app = apps.app("busy")
    app.deploy()
    fault = {"status": 409, "code": "ContainerAppOperationInProgress", "times": 2}
    apps.world.double.inject(where=f"PATCH {apps.id('busy')}", **fault)
    app.deploy(NAME="two")
    assert app.ask() == (200, "two")


def test_an_answer_that_gets_lost_starts_no_second_revision(apps: Apps) -> None:
    app = apps.app("lost")
    app.deploy()
    apps.world.double.inject(where=f"PATCH {apps.id('lost')}", drop="after")
    app.deploy(NAME="two")
    assert app.ask() == (200, "two")
    assert len(apps.revisions("lost")) == 2


def test_no_secret_is_in_any_command_line_or_message(apps: Apps) -> None:
    app = apps.app("discreet")
    app.deploy()
    app.deploy(NAME="two")
    assert "--body\n@-\n" in apps.arguments
    assert "az rest" in apps.said
    for value in SECRETS.values():
        assert value not in apps.arguments
        assert value not in apps.said


def _docker_names(apps: Apps, name: str) -> list[str]:
    """The replicas that run, by name."""
    _, answer, _ = apps.call("GET", f"{apps.id(name)}/revisions")
    found = []
    for revision in answer.get("value") or []:
        _, replicas, _ = apps.call("GET", f"{apps.id(name)}/revisions/{revision['name']}/replicas")
        found += [each["name"] for each in replicas["value"]]
    return found


def _deploy_actions(apps: Apps) -> list[str]:
    """What the deploy package says that it needs."""
    return list(App(apps, "any", {}).step("actions"))


def _gpu_environment(apps: Apps) -> str:
    """An environment with the workload profile of a T4, by the commands of bootstrap."""
    world = apps.world
    az = Azure(world.double, world.double.env(world.owner))
    workspace = world.provider("Microsoft.OperationalInsights/workspaces", "world-logs")
    world.put(workspace, {"location": REGION}, version="2025-02-01")
    stored = world.double.resource(workspace)
    assert stored is not None
    place = ("--name", "gpu-apps", "--resource-group", GROUP)
    az(
        *("containerapp", "env", "create", *place, "--location", REGION),
        *("--logs-destination", "log-analytics"),
        *("--logs-workspace-id", stored["body"]["properties"]["customerId"]),
    )
    made = az(
        *("containerapp", "env", "workload-profile", "add", *place),
        *("--workload-profile-name", T4["name"]),
        *("--workload-profile-type", T4["workloadProfileType"]),
    )
    assert T4 in made["properties"]["workloadProfiles"]
    return str(made["id"])


def _by_hand(apps: Apps) -> dict[str, Any]:
    world = apps.world
    identity = {"type": "UserAssigned", "userAssignedIdentities": {world.identity: {}}}
    container = {
        "name": "by-hand",
        "image": world.image,
        "resources": {"cpu": 0.25, "memory": "0.5Gi"},
        "env": [{"name": "NAME", "value": "by hand"}],
    }
    configuration = {
        "ingress": {"external": True, "targetPort": 8000},
        "registries": [{"server": world.server, "identity": world.identity}],
    }
    return {
        "location": REGION,
        "identity": identity,
        "properties": {
            "environmentId": apps.environment,
            "configuration": configuration,
            "template": {"containers": [container], "scale": {"minReplicas": 1}},
        },
    }
