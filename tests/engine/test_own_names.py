"""Own names: their records, which zone they are made in, and what is never changed there."""

from __future__ import annotations

import argparse
import itertools
import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from engine.deploy.az import Az, AzError
from engine.deploy.az_error import Problem
from engine.deploy.bootstrap.plan import plan
from engine.deploy.bootstrap.roles import own_roles
from engine.deploy.commands import down
from engine.deploy.config.rules import domains
from engine.deploy.say import Say
from engine.deploy.targets.aks.environment import AksEnvironment
from engine.deploy.targets.base import Places
from engine.deploy.targets.containerapps.client import AppClient
from engine.deploy.targets.containerapps.environment import AppEnvironment, Https
from engine.deploy.targets.containerapps.own_names import AppNames
from engine.deploy.targets.kind import kind_of, own_names
from engine.deploy.targets.own_names import OwnNames, Record
from pydantic import ValidationError

from tests.engine import bootstrap_world
from tests.engine.test_containerapps_document import environment as app_environment
from tests.engine.test_https import HOST, HTTPS, PLACES, environment

ZONE = {"name": "example.org", "resource_group": "dns"}
NAME = "api.example.org"
MINE = {"project": "iris-service", "environment": "staging"}
PATH = "/subscriptions/S/resourceGroups/dns/providers/Microsoft.Network/dnsZones/example.org"


class ZoneAz:
    """A DNS zone as ``az rest`` shows it, which keeps conditions; `refusal` forbids all."""

    def __init__(self) -> None:
        self.sets: dict[str, dict[str, Any]] = {}
        self.changes: list[str] = []
        self.refusal: AzError | None = None

    def find(self, *arguments: str) -> Any:
        if self.refusal:
            raise self.refusal
        path = self._path(arguments)
        if "/" not in path:
            found = {name: each for name, each in self.sets.items() if name.startswith(f"{path}/")}
            listed = [{"name": name.partition("/")[2], **each} for name, each in found.items()]
            return {"value": listed}
        return self.sets.get(path)

    def change(self, *arguments: str, stdin: str | None = None) -> None:
        path, method = self._path(arguments), arguments[arguments.index("--method") + 1]
        condition = arguments[arguments.index("--headers") + 1]
        found = self.sets.get(path)
        wanted = f"If-Match={found['etag']}" if found else "If-None-Match=*"
        assert condition == wanted, "somebody may have changed it in between"
        self.changes.append(f"{method} {path}")
        if method == "delete":
            del self.sets[path]
        else:
            etag = str(len(self.changes))
            self.sets[path] = {**json.loads(stdin or ""), "etag": etag}

    def has(self, name: str, metadata: dict[str, str], **properties: Any) -> None:
        """A record set that is there."""
        self.sets[name] = {"etag": "0", "properties": {"metadata": metadata, **properties}}

    def _path(self, arguments: tuple[str, ...]) -> str:
        url, _, version = arguments[arguments.index("--url") + 1].partition("?api-version=")
        assert version == "2018-05-01"
        assert url.startswith(f"{PATH}/")
        return url.removeprefix(f"{PATH}/")


@pytest.fixture
def az() -> ZoneAz:
    return ZoneAz()


def named(az: ZoneAz, **fields: Any) -> OwnNames:
    """The own names of a container group."""
    given = environment(https={**HTTPS, "zone": ZONE}, **fields)
    found = own_names(cast("Az", az), bootstrap_world.inputs().project, given, PLACES)
    assert found is not None
    return found


def nowhere(monkeypatch: pytest.MonkeyPatch, **answers: tuple[str, str]) -> None:
    """DNS as it is seen from here: where the CNAME records of a name end, and its address."""

    def resolved(host: str, port: object, flags: int = 0) -> list[Any]:
        if host not in answers:
            raise socket.gaierror
        name, address = answers[host]
        return [(socket.AF_INET, 1, 6, name, (address, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


def test_a_record_is_made_once_and_corrected_when_the_address_is_another(az: ZoneAz) -> None:
    names = named(az)
    assert list(names.plan(HOST)) == [f"{NAME}. CNAME {HOST}. (made in the zone example.org)"]
    assert [each.cause for each in names.findings(HOST)] == [
        f"the zone example.org has no record {NAME}. CNAME {HOST}."
    ]
    assert list(names.make(HOST, 0)) == []
    made = az.sets["CNAME/api"]["properties"]
    assert made == {"TTL": 300, "CNAMERecord": {"cname": HOST}, "metadata": MINE}
    assert list(names.make(HOST, 0)) == []
    assert az.changes == ["put CNAME/api"]
    assert list(names.make("moved.example.net", 0)) == []
    assert az.sets["CNAME/api"]["properties"]["CNAMERecord"] == {"cname": "moved.example.net"}
    names.remove()
    assert az.sets == {}


@pytest.mark.parametrize("metadata", [{}, {**MINE, "environment": "production"}])
def test_a_record_of_somebody_else_is_left_and_told(az: ZoneAz, metadata: dict[str, str]) -> None:
    az.has("CNAME/api", metadata, CNAMERecord={"cname": "elsewhere.example.net."})
    (found,) = named(az).make(HOST, 0)
    assert found.code == "dns-record-taken"
    assert "made by somebody else: elsewhere.example.net" in found.cause
    assert (
        "az network dns record-set cname delete --resource-group dns --zone-name example.org "
        "--name api" in found.fix
    )
    named(az).remove()
    assert az.changes == []


def test_a_record_of_somebody_else_that_says_the_same_is_right_and_stays(az: ZoneAz) -> None:
    az.has("CNAME/api", {}, CNAMERecord={"cname": f"{HOST}."})
    assert list(named(az).make(HOST, 0)) == []
    named(az).remove()
    assert az.changes == []


def test_without_the_role_the_deploy_stays_and_the_way_out_is_told(az: ZoneAz) -> None:
    az.refusal = AzError(Problem("AuthorizationFailed", 403, "no"), "az rest")
    (found,) = named(az).make(HOST, 0)
    assert NAME in found.cause
    assert "engine.deploy bootstrap" in found.fix


def test_a_name_that_the_file_has_no_more_loses_the_record_that_was_made_here(az: ZoneAz) -> None:
    az.has("CNAME/old", MINE, CNAMERecord={"cname": HOST})
    az.has("CNAME/theirs", {}, CNAMERecord={"cname": HOST})
    names = named(az)
    assert names.made() == ("old.example.org",)
    assert "old.example.org (not in the file any more: given up)" in list(names.plan(HOST))
    assert list(names.make(HOST, 0)) == []
    assert set(az.sets) == {"CNAME/theirs", "CNAME/api"}
    az.has("CNAME/old", MINE, CNAMERecord={"cname": HOST})
    names.remove()
    assert set(az.sets) == {"CNAME/theirs"}


class NothingThere:
    """`az` in a subscription without resource groups."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def find(self, *arguments: str) -> None:
        return None

    def json(self, *arguments: str) -> list[object]:
        return []


def test_down_removes_the_records_although_somebody_removed_the_group(
    az: ZoneAz, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    target = SimpleNamespace(read=lambda: None)
    context = SimpleNamespace(own_names=named(az), environment=environment(), target=target)
    monkeypatch.setattr(down, "open_contexts", lambda *_, **__: {"staging": context})
    monkeypatch.setattr(down, "_left_behind", lambda *_, **__: [])
    monkeypatch.setattr(down, "Az", NothingThere)
    options = argparse.Namespace(environment="staging", all=False, yes=True, dry_run=False)
    az.has("CNAME/api", MINE, CNAMERecord={"cname": HOST})
    assert down.run(options, Path(), Say()) == 0
    assert az.sets == {}
    assert NAME in "".join(capfd.readouterr())
    assert down.run(options, Path(), Say()) == 0
    assert "nothing is there" in "".join(capfd.readouterr())


def test_down_removes_what_is_in_a_cluster_of_another_group(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It would run, and bill, although the environment's own group is gone."""
    there = ["service"]
    target = SimpleNamespace(
        what="service iris", read=lambda: there or None, billing=lambda: "x", delete=there.clear
    )
    content = {"stage": "staging", "target": "aks", "region": "westeurope", "name": "iris"}
    content["resource_group"] = "iris"
    for group, gone in (("iris", False), ("shared", True)):
        there[:] = ["service"]
        cluster = {"name": "big", "resource_group": group}
        where = AksEnvironment.model_validate({**content, "cluster": cluster})
        context = SimpleNamespace(own_names=None, environment=where, target=target)
        monkeypatch.setattr(down, "open_contexts", lambda *_, c=context, **__: {"staging": c})
        monkeypatch.setattr(down, "_left_behind", lambda *_, **__: [])
        monkeypatch.setattr(down, "Az", NothingThere)
        options = argparse.Namespace(environment="staging", all=False, yes=True, dry_run=False)
        assert down.run(options, Path(), Say()) == 0
        assert (there == []) is gone
    assert "removing service iris" in "".join(capfd.readouterr())


def test_a_name_that_leads_elsewhere_is_told_with_the_record_to_make(
    az: ZoneAz, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {HOST: (HOST, "10.0.0.1")}
    names = own_names(cast("Az", az), bootstrap_world.inputs().project, environment(), PLACES)
    assert names is not None

    def causes() -> list[str]:
        nowhere(monkeypatch, **answers)
        found = list(names.findings(HOST))
        assert found == list(names.make(HOST, 0))
        assert all(each.fix.endswith(f"{NAME}. CNAME {HOST}.") for each in found)
        return [each.cause for each in found]

    assert causes() == [f"{NAME} does not resolve, and this environment is {HOST}"]
    answers[NAME] = ("www.example.org", "10.9.9.9")
    assert "leads to 10.9.9.9" in causes()[0]
    answers[NAME] = (NAME, "10.0.0.1")  # an A record
    assert causes() == []
    answers[NAME] = (HOST, "10.0.0.7")  # a CNAME, while the group's address changes
    assert causes() == []


def test_a_record_that_is_in_the_zone_and_not_in_dns_points_to_the_registrar(
    az: ZoneAz, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere(monkeypatch)
    az.has("CNAME/api", MINE, CNAMERecord={"cname": HOST})
    (found,) = named(az).findings(HOST)
    assert "does not resolve" in found.cause
    assert "az network dns zone show --resource-group dns --name example.org" in found.fix


class Apps(AppClient):
    """An app with own names, what Azure sees of a name, and certificates in the order of asking."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}
        self.domains: list[dict[str, Any]] = [{"name": "theirs.example", "bindingType": "Disabled"}]
        self.kept: list[dict[str, Any]] = []
        self.states = ["Succeeded"]
        self.ordered: list[str] = []

    def app(self) -> dict[str, Any]:
        shown = {"configuration": {"ingress": {"customDomains": list(self.domains)}}}
        return {"properties": {**shown, "customDomainVerificationId": "PROOF"}}

    def environment(self, environment_id: str) -> dict[str, Any]:
        return {"location": "West Europe", "properties": {"staticIp": "10.0.0.9"}}

    def analysis(self, hostname: str) -> dict[str, Any]:
        assert hostname == NAME
        return {"customDomainVerificationTest": "Passed", **self.seen}

    def certificates(self, environment_id: str) -> list[dict[str, Any]]:
        for each in self.kept:
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            each["properties"]["provisioningState"] = state
        return self.kept

    def order(self, certificate_id: str, location: str, hostname: str, proof: str) -> None:
        assert {"name": hostname, "bindingType": "Disabled"} in self.domains
        assert not self.kept, "the name of a certificate is taken"
        self.ordered.append(proof)
        properties = {"subjectName": hostname, "provisioningState": self.states[0]}
        self.kept = [{"id": certificate_id, "properties": {**properties, "error": "no CAA"}}]

    def forget(self, certificate_id: str) -> None:
        assert all(each.get("certificateId") != certificate_id for each in self.domains)
        self.kept = [each for each in self.kept if each["id"] != certificate_id]

    def patch(self, body: dict[str, Any], check: object = None) -> None:
        self.domains = body["properties"]["configuration"]["ingress"]["customDomains"]

    def wait_until_idle(self, tags: object = None) -> None:
        """It is."""


def of_app(apps: Apps, *domains: str) -> AppNames:
    """The own names of an app; a certificate is looked at each second."""
    seconds = itertools.count()
    given = Https(domains=domains)
    return AppNames(
        *(given, None, apps, app_environment(), "/apps"),
        sleep=lambda _: None,
        clock=lambda: next(seconds),
    )


@pytest.mark.parametrize(
    ("seen", "code", "cause"),
    [
        ({}, "certificate-dns", f"{NAME} does not resolve, and this environment is {HOST}"),
        ({"cNameRecords": ["other.example"]}, "certificate-dns", "leads to other.example, and"),
        ({"aRecords": ["10.1.1.1"]}, "certificate-dns", "leads to 10.1.1.1, and"),
        (
            {"cNameRecords": [HOST], "customDomainVerificationTest": "Failed"},
            "certificate-dns",
            "is not proven to be yours",
        ),
        (
            {
                "cNameRecords": [HOST],
                "hasConflictOnManagedEnvironment": True,
                "conflictingContainerAppResourceId": "/x/containerApps/rival",
            },
            "own-name-taken",
            "is bound to the container app rival already",
        ),
    ],
)
def test_an_app_takes_no_name_before_its_records_lead_to_it(
    seen: dict[str, Any], code: str, cause: str
) -> None:
    apps = Apps()
    apps.seen = seen
    (found,) = of_app(apps, NAME).make(HOST, 9)
    assert found == next(of_app(apps, NAME).findings(HOST))
    assert found.code == code
    assert cause in found.cause
    if code == "certificate-dns":
        assert f'{NAME}. CNAME {HOST}., and asuid.{NAME}. TXT "PROOF"' in found.fix
    assert [each["name"] for each in apps.domains] == ["theirs.example"]
    assert apps.ordered == []


@pytest.mark.parametrize(
    ("seen", "proof"),
    [({"cNameRecords": [f"{HOST}."]}, "CNAME"), ({"aRecords": ["10.0.0.9"]}, "HTTP")],
)
def test_a_name_is_added_bound_and_given_up_beside_those_of_others(
    seen: dict[str, Any], proof: str
) -> None:
    apps = Apps()
    apps.seen, apps.states = seen, ["Pending", "Pending", "Succeeded"]
    assert [each.code for each in of_app(apps, NAME).findings(HOST)] == ["own-name"]
    assert list(of_app(apps, NAME).make(HOST, 9)) == []
    assert apps.ordered == [proof]
    ours = {"name": NAME, "bindingType": "SniEnabled", "certificateId": apps.kept[0]["id"]}
    theirs = {"name": "theirs.example", "bindingType": "Disabled"}
    assert apps.domains == [theirs, ours]
    assert list(of_app(apps, NAME).findings(HOST)) == list(of_app(apps, NAME).make(HOST, 9)) == []
    assert apps.ordered == [proof]
    of_app(apps, NAME).remove()
    assert (apps.domains, apps.kept) == ([theirs], [])


def test_a_name_that_the_file_has_no_more_is_unbound_and_that_of_somebody_else_stays() -> None:
    apps = Apps()
    apps.seen = {"cNameRecords": [HOST]}
    theirs = {"name": "their.example", "bindingType": "SniEnabled", "certificateId": "/their"}
    apps.domains = [theirs]
    assert list(of_app(apps, NAME).make(HOST, 9)) == []
    assert len(apps.domains) == 2
    assert list(of_app(apps).plan(HOST)) == [f"{NAME} (not in the file any more: given up)"]
    assert list(of_app(apps).make(HOST, 9)) == []
    assert (apps.domains, apps.kept) == ([theirs], [])
    assert list(of_app(apps).plan(HOST)) == []


def test_a_certificate_that_is_not_there_yet_is_waited_for_and_a_failed_one_ordered_anew() -> None:
    apps = Apps()
    apps.seen, apps.states = {"cNameRecords": [HOST]}, ["Pending"]
    for found in (of_app(apps, NAME).make(HOST, 9), of_app(apps, NAME).findings(HOST)):
        assert [each.code for each in found] == ["certificate-pending"]
    apps.states = ["Failed"]
    (failed,) = of_app(apps, NAME).findings(HOST)
    assert (failed.code, failed.cause.endswith("no CAA")) == ("certificate-failed", True)
    assert [each.code for each in of_app(apps, NAME).make(HOST, 9)] == ["certificate-failed"]
    apps.states = ["Succeeded"]
    assert list(of_app(apps, NAME).make(HOST, 9)) == []
    assert len(apps.ordered) == 2


def test_records_are_written_as_dns_writes_them() -> None:
    assert str(Record("a.example", "A", "10.0.0.1")) == "a.example. A 10.0.0.1"
    assert str(Record("asuid.a.example", "TXT", "PROOF")) == 'asuid.a.example. TXT "PROOF"'


@pytest.mark.parametrize(
    ("https", "at", "apex"),
    [
        ({"domains": [NAME, NAME]}, ("https", "domains", 1), True),
        ({"domains": ["example.org"], "zone": ZONE}, ("https", "domains", 0), False),
        ({"domains": ["api.example.net"], "zone": ZONE}, ("https", "zone", "name"), True),
        ({"domains": ["notexample.org"], "zone": ZONE}, ("https", "zone", "name"), True),
    ],
)
def test_own_names_that_cannot_be_are_refused(
    https: dict[str, Any], at: tuple[object, ...], apex: bool
) -> None:
    group = environment(https={**HTTPS, **https}).own_domains
    assert group is not None
    assert [each.at for each in domains.broken(group, apex=False)] == [at]
    app = app_environment(https=https).own_domains
    assert app is not None
    assert [each.at for each in domains.broken(app, apex=True)] == ([at] if apex else [])


def test_an_app_has_names_only_for_azure_does_the_rest() -> None:
    for field in ("email", "authority"):
        assert field in AppEnvironment.model_fields["https"].annotation.__args__[0].absent  # type: ignore[union-attr]
        with pytest.raises(ValidationError):
            app_environment(https={"domains": [NAME], field: "ops@example.org"})
    assert kind_of(app_environment()).own_names(Az(Say()), app_environment(), PLACES, None) is None
    places = Places("S", "r", "i", apps_environment="/e")
    with_names = app_environment(https={"domains": [NAME]})
    assert kind_of(with_names).own_names(Az(Say()), with_names, places, None) is not None


@pytest.mark.parametrize("target", ["aci", "containerapps"])
def test_bootstrap_gives_the_role_in_the_zone_and_nowhere_else(target: str) -> None:
    more: dict[str, Any] = {"memory_gb": 2.0, "cpu": 1.0} if target == "containerapps" else {}
    given = HTTPS if target == "aci" else {"domains": [NAME]}

    def steps(https: dict[str, Any]) -> dict[str, Any]:
        made = plan(bootstrap_world.inputs(target, https=https, **more))
        return {step.key: step for step in made}

    added = steps({**given, "zone": ZONE}).keys() - steps(given).keys()
    scope = "iris-service own names on DNS zone example.org"
    who = [f"identity deploy {stage}: {scope}" for stage in ("staging", "production")]
    assert added == {"role dns", *who}
    created = steps({**given, "zone": ZONE})[who[0]].make[0].arguments
    assert created[-1] == PATH.replace("/S/", f"/{bootstrap_world.SUBSCRIPTION}/")
    assert "role dns" in {role.key for role in own_roles()}
    zoned = bootstrap_world.inputs(target, https={**given, "zone": ZONE}, **more)
    environments = zoned.environments["staging"]
    assert "Microsoft.Network" in kind_of(environments).providers(environments)
