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

from tests.azure_double.client import AzureDouble, Person

from .commands import Azure, run
from .containerapps_world import SECRETS, T4, App, Apps, Refused
from .double_world import GROUP, REGION, World, eventually
from .shares import Share

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
    app = apps.app("least")
    app.person = _least(apps)
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
    _elsewhere(apps, "iris.example.org", _proof(apps, "domain"))
    ingress = {"configuration": {"ingress": {"customDomains": domain}}}
    apps.world.finished(*apps.call("PATCH", apps.id("domain"), {"properties": ingress}))
    app.deploy(NAME="two")
    shown = apps.stored("domain")["body"]["properties"]["configuration"]["ingress"]
    assert shown["customDomains"] == domain


@pytest.mark.exhaustive
def test_an_own_name_is_bound_once_its_records_are_there(apps: Apps) -> None:
    name = "api.example.org"
    app = apps.app("named", https={"domains": [name]})
    app.deploy()
    proof = _proof(apps, "named")
    records = [f"{name}. CNAME {app.host}.", f'asuid.{name}. TXT "{proof}"']
    assert [line.partition(" (")[0] for line in app.names("plan", app.host)] == records

    def left() -> tuple[str, str]:
        ((code, cause, fix),) = app.names("make", app.host, 30)
        assert [found[:2] for found in app.names("findings", app.host)] == [[code, cause]]
        assert all(record in fix for record in records)
        return code, cause

    assert left() == (
        "certificate-dns",
        f"{name} does not resolve, and this environment is {app.host}",
    )
    _elsewhere(apps, name, proof, CNAME="another.example.org")
    assert "leads to another.example.org" in left()[1]
    _elsewhere(apps, name, "of somebody else", CNAME=app.host)
    assert "not proven to be yours" in left()[1]
    assert app.bound == {}

    _elsewhere(apps, name, proof, CNAME=app.host)
    ((code, _, fix),) = app.names("findings", app.host)
    assert (code, "up staging" in fix) == ("own-name", True)
    assert app.names("make", app.host, 30) == []
    assert app.bound == {name: "SniEnabled"}
    assert app.names("findings", app.host) == []
    assert apps.world.get(f"https://{name}/env/NAME") == (200, "one")
    changes = len(_written(apps))
    assert app.names("make", app.host, 30) == []
    assert len(_written(apps)) == changes
    app.deploy(NAME="two")
    assert apps.world.get(f"https://{name}/env/NAME") == (200, "two")

    # Another app of the same place cannot have it.
    rival = apps.app("rival", https={"domains": [name]})
    rival.deploy()
    ((code, cause, _),) = rival.names("make", rival.host, 30)
    assert (code, "container app named already" in cause) == ("own-name-taken", True)
    app.names("remove")
    assert app.bound == {}
    assert _certificates(apps, name) == []


@pytest.mark.exhaustive
def test_a_certificate_that_takes_long_is_told_and_one_that_failed_is_ordered_again(
    apps: Apps,
) -> None:
    name = "slow.example.org"
    app = apps.app("slow", https={"domains": [name]})
    app.deploy()
    _elsewhere(apps, name, _proof(apps, "slow"), CNAME=app.host)
    apps.world.double.inject(point="app.certificate", where=name, code="Pending")
    for found in (app.names("make", app.host, 1), app.names("findings", app.host)):
        ((code, _, fix),) = found
        assert (code, "up staging" in fix) == ("certificate-pending", True)
    assert app.bound == {name: "Disabled"}
    (certificate,) = _certificates(apps, name)
    apps.world.double.remove(certificate["id"])
    apps.world.double.inject(point="app.certificate", where=name, message="CAA forbids it")
    ((code, cause, _),) = app.names("make", app.host, 30)
    assert (code, cause.endswith("CAA forbids it")) == ("certificate-failed", True)
    assert app.names("findings", app.host)[0][0] == "certificate-failed"
    assert app.names("make", app.host, 30) == []
    assert app.bound == {name: "SniEnabled"}
    assert len(_certificates(apps, name)) == 1


@pytest.mark.exhaustive
def test_records_are_made_in_a_zone_and_those_of_somebody_else_are_left(apps: Apps) -> None:
    world, name = apps.world, "web.zone.example"
    zone = ("--resource-group", GROUP, "--zone-name", "zone.example")
    az = Azure(world.double, world.double.env(world.owner))
    made = az("network", "dns", "zone", "create", "--resource-group", GROUP, "--name", zone[-1])
    settings = {
        "domains": [name, "zone.example"],
        "zone": {"name": "zone.example", "resource_group": GROUP},
    }
    app = apps.app("zoned", https=settings)
    app.person = _least(apps, made["id"])
    app.deploy()
    record = ("network", "dns", "record-set", "cname")
    az(*record, "set-record", *zone, "--record-set-name", "web", "--cname", "mine.example.org")
    plan = app.names("plan", app.host)
    assert all(line.endswith("(made in the zone zone.example)") for line in plan)
    ((code, cause, fix),) = app.names("make", app.host, 30)
    assert code == "dns-record-taken"
    assert "made by somebody else: mine.example.org" in cause
    show = (*record, "show", *zone, "--name", "web")
    assert az(*show)["CNAMERecord"]["cname"] == "mine.example.org"
    # The zone's own name has an A record, which CNAME records cannot be.
    assert app.bound == {"zone.example": "SniEnabled"}
    assert apps.world.get("https://zone.example/env/NAME")[0] == 200

    command = fix.partition("remove it (az ")[2].partition(")")[0].split()
    az(*command, "--yes")
    assert app.names("make", app.host, 30) == []
    assert app.bound == {name: "SniEnabled", "zone.example": "SniEnabled"}
    assert az(*show)["CNAMERecord"]["cname"] == app.host
    assert app.names("findings", app.host) == []
    # A record that led elsewhere before, made by us, is corrected; then all of ours go.
    assert app.names("make", "moved.example.org", 0) == []
    assert az(*show)["CNAMERecord"]["cname"] == "moved.example.org"
    app.names("remove")
    left = [each for each in world.double.resources(made["id"]) if "/roleAssignments/" not in each]
    assert left == [made["id"]]


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


def _least(apps: Apps, zone: str = "") -> Person:
    """A login with no more than the roles that `bootstrap` gives, in a DNS zone too."""
    world = apps.world
    group = f"{world.double.subscription_id}/resourceGroups/{GROUP}"
    roles = [(_role(apps, "actions", 1), group), ("Managed Identity Operator", world.identity)]
    if zone:
        roles.append((_role(apps, "dns actions", 2), zone))
    return world.double.principal(f"deployer{len(zone)}", *roles)


def _role(apps: Apps, step: str, number: int) -> str:
    """A role with the actions that the deploy package says that it needs."""
    world = apps.world
    role = f"{world.double.subscription_id}/providers/Microsoft.Authorization/roleDefinitions/"
    properties = {
        "roleName": step,
        "type": "CustomRole",
        "permissions": [{"actions": App(apps, "any", {}).step(step), "notActions": []}],
        "assignableScopes": [world.double.subscription_id],
    }
    identifier = f"{role}11111111-0000-4000-8000-00000000000{number}"
    world.put(identifier, {"properties": properties}, version="2022-04-01")
    return step


def _proof(apps: Apps, name: str) -> str:
    """What the TXT record of an own name has to say, as Azure shows it."""
    return str(apps.stored(name)["body"]["properties"]["customDomainVerificationId"])


def _elsewhere(apps: Apps, name: str, proof: str, **records: str) -> None:
    """Records at another provider of DNS."""
    given = {name: {kind: [value] for kind, value in records.items()}}
    apps.world.double.ask("dns.elsewhere", {**given, f"asuid.{name}": {"TXT": [proof]}})


def _certificates(apps: Apps, name: str) -> list[dict[str, Any]]:
    _, answer, _ = apps.call("GET", f"{apps.environment}/managedCertificates")
    return [each for each in answer["value"] if each["properties"]["subjectName"] == name]


def _written(apps: Apps) -> list[dict[str, Any]]:
    """The requests that changed something."""
    return [each for each in apps.world.double.requests() if each["method"] in ("PUT", "PATCH")]


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


def test_a_revision_reads_its_share_and_a_key_that_opens_nothing_is_an_event(apps: Apps) -> None:
    world = apps.world
    share = Share(Azure(world.double, world.double.env(world.owner)), world.double, GROUP, "models")
    share.write("words", "of the share")
    app = apps.app("mounts", volumes=[{"share": "models", "path": "/models"}])
    key = app.secrets["edge-storage-key"] = share.keys[0]
    app.deploy()
    assert app.ask("/file/models/words") == (200, "of the share")
    assert app.step("differences", tags=apps.rollout()) == []
    assert key not in apps.said + apps.arguments
    # Nobody reaches a release whose share cannot be mounted; the one before answers.
    share.replace_keys()
    app.settings["variables"] = {"NAME": "two"}
    app.step("apply", tags=apps.rollout())
    eventually(lambda: "FailedMount" in {name for name, _ in app.step("events")})
    assert app.ask() == (200, "one")
