"""HTTPS of a container group: its document, its names, what it needs, what can be wrong with it."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
from dataclasses import replace
from typing import Any

import pytest
from engine.deploy.az import Az
from engine.deploy.bootstrap.costs import running
from engine.deploy.bootstrap.plan import plan
from engine.deploy.bootstrap.roles import own_roles
from engine.deploy.config import names
from engine.deploy.config.rules.rule import Broken
from engine.deploy.diagnose import diagnose
from engine.deploy.diagnosis.evidence import Evidence, Readiness
from engine.deploy.say import Say
from engine.deploy.targets.aci import certificates, edge, rules
from engine.deploy.targets.aci.document import render, secret_names, with_secrets
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.aci.evidence import read_group
from engine.deploy.targets.aci.fleet.profile import document as profile_document
from engine.deploy.targets.aci.live import live_of
from engine.deploy.targets.aci.shape import blockers, differences, restorable, unrestorable
from engine.deploy.targets.base import STORAGE_KEY, Document, Places, images
from engine.deploy.targets.kind import kind_of
from engine.deploy.telemetry import TelemetrySecrets, looked_up
from engine.errors import EngineError
from pydantic import ValidationError

from tests.engine import bootstrap_world
from tests.engine.project import ROOT
from tests.engine.test_aci_document import FIELDS, IDENTITY, RELEASE, SERVER, WORKSPACE

EDGE = f"{SERVER}/iris-service-edge@sha256:{'c' * 64}"
PLACES = Places("S", SERVER, IDENTITY, workspace=WORKSPACE, edge=EDGE)
HTTPS: dict[str, Any] = {"email": "ops@example.org", "domains": ["api.example.org"]}
HOST = "iris-service-staging.abc123.westeurope.azurecontainer.io"
ADDRESS = f"https://{HOST}"
ACCOUNT = names.storage_account("S", "iris-service-staging")


def environment(**fields: object) -> GroupEnvironment:
    return GroupEnvironment.model_validate({**FIELDS, "https": HTTPS, **fields})


def document(**fields: object) -> Document:
    return render(environment(**fields), RELEASE, PLACES, {})


def answered(**edge_view: Any) -> Document:
    """What Azure says of the group: no key, the containers in the order of their names."""
    group = copy.deepcopy(restorable(document()))
    properties = group["properties"]
    del properties["volumes"][0]["azureFile"]["storageAccountKey"]
    running_view = {"currentState": {"state": "Running"}, "restartCount": 0}
    for each in properties["containers"]:
        own = edge_view if each["name"] == "edge" else {}
        each["properties"]["instanceView"] = {**running_view, **own}
    properties["ipAddress"]["fqdn"] = HOST
    return {**group, "properties": {**properties, "provisioningState": "Succeeded"}}


def test_only_what_ends_https_is_open_to_the_world() -> None:
    properties = document()["properties"]
    assert [each["port"] for each in properties["ipAddress"]["ports"]] == [80, 443]
    by_name = {each["name"]: each["properties"] for each in properties["containers"]}
    assert [each["port"] for each in by_name["service"]["ports"]] == [8000]
    assert by_name["edge"]["image"] == EDGE
    variables = {each["name"]: each["value"] for each in by_name["edge"]["environmentVariables"]}
    assert variables["EDGE_SERVICE"] == "127.0.0.1:8000"
    assert variables["EDGE_AUTHORITY"] == "https://acme-v02.api.letsencrypt.org/directory"


def test_the_key_of_the_share_is_a_secret_and_azures_answer_without_it_is_no_difference() -> None:
    sent = document()
    assert STORAGE_KEY in secret_names(sent)
    values = {name: f"planted-{name}" for name in secret_names(sent)}
    share = with_secrets(sent, values)["properties"]["volumes"][0]["azureFile"]
    assert share["storageAccountKey"] == f"planted-{STORAGE_KEY}"
    assert differences(answered(), sent) == ()
    assert unrestorable(answered(), WORKSPACE, ACCOUNT) == ()
    assert unrestorable(answered(), WORKSPACE, "another") != ()


def test_from_plain_http_and_back_the_group_is_made_anew() -> None:
    plain = render(environment(https=None), RELEASE, PLACES, {})
    assert "volumes" not in plain["properties"]
    for one, other in ((plain, document()), (document(), plain)):
        assert any("containers[edge]" in path for path in blockers(one, other))


def test_without_its_image_the_way_out_is_told() -> None:
    with pytest.raises(EngineError, match="no image") as caught:
        render(environment(), RELEASE, Places("S", SERVER, IDENTITY, workspace=WORKSPACE), {})
    assert "engine.deploy push" in caught.value.fix


@pytest.mark.parametrize(
    ("name", "single", "fleet"),
    [
        (HOST, True, True),
        ("iris-service-staging.westeurope.azurecontainer.io", True, True),
        ("iris-service-staging-green-2.abc123.westeurope.azurecontainer.io", False, True),
        ("iris-service-staging.trafficmanager.net", False, True),
        ("api.example.org", True, True),
        ("apixexample.org", False, False),
        ("www.api.example.org", False, False),
        ("iris-service-staging.a.b.westeurope.azurecontainer.io", False, False),
        ("iris-service-staging.abc.northeurope.azurecontainer.io", False, False),
        ("another.abc123.westeurope.azurecontainer.io", False, False),
        (f"{HOST}.evil.example", False, False),
    ],
)
def test_certificates_are_ordered_for_own_names_only(name: str, single: bool, fleet: bool) -> None:
    # As engine/edge/Caddyfile puts it together.
    for copies, allowed in ((1, single), (2, fleet)):
        pattern = f"^({edge.host_pattern(environment(copies=copies))})$"
        assert (re.search(pattern, name) is not None) is allowed


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"port": 443}, ("port",)),
        ({"port": 80}, ("port",)),
        ({"https": {**HTTPS, "domains": ["a.example", "a.example"]}}, ("https", "domains", 1)),
    ],
)
def test_what_https_leaves_to_nobody_else_is_refused(
    fields: dict[str, object], at: tuple[str, ...]
) -> None:
    broken: list[Broken] = list(rules.https(None, environment(**fields)))  # type: ignore[arg-type]
    assert [each.at for each in broken] == [at]
    assert list(rules.https(None, environment())) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"email": "nobody"},
        {"domains": ["https://api.example.org"]},
        {"domains": ["*.example.org"]},
        {"domains": ["localhost"]},
        {"authority": "http://acme.example.org/dir"},
    ],
)
def test_names_and_addresses_that_no_authority_takes_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        environment(https={**HTTPS, **change})


@pytest.mark.parametrize("name", ["#a", "`a", "{a}", "a'b+c"])
def test_legal_but_odd_values_reach_caddy_as_they_are(name: str) -> None:
    if shutil.which("caddy") is None:
        # Where everything must run, its absence is a failure.
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say("Caddy is not installed, which says what it reads: https://caddyserver.com")
    domain = "xn--e1afmkfd.xn--p1ai"
    odd = {"email": f"{name}@{domain}", "domains": [f"api.{domain}"]}
    probes = {"readiness": {"path": "/readyz?verbose=1"}}
    group = render(environment(https=odd, probes=probes), RELEASE, PLACES, {})
    (container,) = (each for each in group["properties"]["containers"] if each["name"] == "edge")
    given = {
        each["name"]: each["value"] for each in container["properties"]["environmentVariables"]
    }
    read = subprocess.run(
        ["caddy", "adapt", "--config", ROOT / "engine" / "edge" / "Caddyfile"],
        env={"PATH": os.environ["PATH"], "HOME": "/nowhere", **given},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert read.returncode == 0, read.stderr
    assert f'"email":"{odd["email"]}"' in read.stdout
    assert '"path":["/readyz"]' in read.stdout
    assert re.fullmatch(edge.host_pattern(environment(https=odd)), f"api.{domain}")


def test_the_address_is_https_and_readiness_is_asked_before_a_certificate_is_ordered() -> None:
    live = live_of(answered())
    assert live.address == ADDRESS
    assert live.running
    kind = kind_of(environment())
    assert kind.probe_address(environment(), ADDRESS) == f"http://{HOST}"
    plain = environment(https=None)
    assert kind.probe_address(plain, f"http://{HOST}:8000") == f"http://{HOST}:8000"


def test_a_fleet_is_asked_on_port_80_by_traffic_manager_and_on_443_by_clients() -> None:
    fleet = environment(copies=2)
    monitor = profile_document(fleet, {}, {})["properties"]["monitorConfig"]
    assert (monitor["protocol"], monitor["port"], monitor["path"]) == ("HTTP", 80, "/readyz")
    assert kind_of(fleet).shared_host(fleet) == "iris-service-staging.trafficmanager.net"


def test_https_that_crashes_is_a_failure_although_the_service_runs() -> None:
    ended = {"state": "Terminated", "exitCode": 1}
    live = live_of(answered(currentState=ended, restartCount=3))
    assert live.running
    assert live.failure is not None
    assert live.failure.startswith("HTTPS: the container keeps ending with exit code 1")


def test_what_runs_beside_the_service_is_not_taken_for_its_image() -> None:
    assert list(images(restorable(document()))) == [RELEASE.image]


class KeysAz(Az):
    """Has the keys of a storage account."""

    def find(self, *arguments: str, limit: float = 0) -> Any:
        assert arguments[:4] == ("storage", "account", "keys", "list")
        assert arguments[-1] == ACCOUNT
        return [{"keyName": "key1", "value": "planted-storage-key"}, {"value": "second"}]


def test_a_release_with_https_can_be_restored_by_a_deploy_of_one_without() -> None:
    plain = environment(https=None)
    assert kind_of(plain).storage(plain, "S") == ("iris-service-staging", ACCOUNT)
    assert STORAGE_KEY in looked_up(plain)
    assert STORAGE_KEY not in secret_names(render(plain, RELEASE, PLACES, {}))


def test_the_key_is_read_when_it_is_needed_and_never_shown() -> None:
    az = KeysAz(Say())
    storage = kind_of(environment()).storage(environment(), "S")
    assert storage == ("iris-service-staging", ACCOUNT)
    read = TelemetrySecrets(az, bootstrap_world.inputs().project, storage)
    assert read.values({STORAGE_KEY}) == {STORAGE_KEY: "planted-storage-key"}
    assert "planted" not in az.say.redact("the key planted-storage-key")


def test_bootstrap_makes_account_share_and_role_where_https_is_asked_for() -> None:
    def keys(**fields: Any) -> set[str]:
        return {step.key for step in plan(bootstrap_world.inputs(**fields))}

    more = keys(https=HTTPS) - keys()
    assert {"storage staging", "share staging", "role certificates"} <= more
    assert not keys() - keys(https=HTTPS)
    assert sum("certificates on group" in key for key in more) == 2
    steps = {step.key: step for step in plan(bootstrap_world.inputs(https=HTTPS))}
    name = names.storage_account(bootstrap_world.SUBSCRIPTION, "iris-service-staging")
    assert re.fullmatch("[a-z0-9]{24}", name)
    assert name in steps["storage staging"].make[0].arguments
    assert "role certificates" in {role.key for role in own_roles()}


def test_memory_is_watched_by_what_the_service_measures_for_azure_averages_over_containers() -> (
    None
):
    def watched(of: GroupEnvironment) -> tuple[list[str], list[str]]:
        kind = kind_of(of)
        metric = [each.name for each in kind.metric_rules(of)]
        return metric, [each.name for each in kind.log_rules(of) if each.name == "MemoryNearLimit"]

    assert watched(environment()) == ([], ["MemoryNearLimit"])
    assert watched(environment(https=None)) == (["MemoryNearLimit"], [])


def test_the_price_says_what_https_is_of_it() -> None:
    # 0.1 vCPU at $0.0405 and 0.2 GB at $0.00445 an hour, for 730 hours.
    assert "of which HTTPS is $3.61" in running(environment())
    assert "of which HTTPS is $7.21" in running(environment(copies=2))
    assert "HTTPS" not in running(environment(https=None))


def group(**fields: Any) -> Evidence:
    shown = {**answered(), **fields}
    return Evidence(target="aci", stage="staging", group=read_group(shown))


def test_ports_of_a_group_with_https_are_no_mismatch() -> None:
    assert diagnose(group()) == ()


def test_a_share_that_cannot_be_mounted_is_named_with_its_fix() -> None:
    event = {"name": "FailedMountAzureFileVolume", "type": "Warning", "count": 7}
    shown = answered()
    message = "Failed to mount Azure File Volume."
    shown["properties"]["instanceView"] = {"events": [{**event, "message": message}]}
    (found,) = diagnose(group(**shown))
    assert found.code == "file-share"
    assert "key replaced" in found.fix
    assert "cannot be mounted" in str(live_of(shown).failure)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("HTTP 429 urn:ietf:params:acme:error:rateLimited - too many", "certificate-limit"),
        ("HTTP 400 urn:ietf:params:acme:error:dns - NXDOMAIN looking up A", "certificate-name"),
        ("HTTP 403 urn:ietf:params:acme:error:unauthorized - wrong", "certificate-name"),
        ("rename /data/acme/x.tmp: operation not permitted", "certificate-storage"),
    ],
)
def test_why_an_order_failed_is_read_in_the_log(line: str, code: str) -> None:
    lines = certificates.log_lines([f'{{"level":"error","error":"{line}"}}', '{"level":"info"}'])
    assert len(lines) == 1
    shown = group().group
    assert shown is not None
    told = Evidence(
        target="aci",
        group=_with_log(shown, lines),
        readiness=Readiness("unreachable", detail="the TLS connection cannot be made"),
    )
    assert diagnose(told)[0].code == code


def _with_log(shown: Any, lines: tuple[str, ...]) -> Any:
    return replace(shown, edge_log=lines)
