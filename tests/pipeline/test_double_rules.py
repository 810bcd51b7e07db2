"""The double refuses what Azure refuses, and what it does not know."""

from __future__ import annotations

import json
import time

import pytest

from tests.azure_double.client import AzureDouble

from .commands import Azure, CommandError, run

pytestmark = pytest.mark.slow

ISSUES = "https://management.azure.com"


def rest(az: Azure, method: str, path: str, body: object = None) -> object:
    given = [] if body is None else ["--body", json.dumps(body)]
    return az("rest", "--method", method, "--url", f"{ISSUES}{path}", *given)


def test_what_is_not_modelled_is_501(az: Azure) -> None:
    with pytest.raises(CommandError, match=r"does not model GET .*Microsoft\.Storage"):
        az("storage", "account", "list")
    assert az.double.requests(path="*Storage*")[0]["status"] == 501


@pytest.mark.parametrize(
    ("method", "code"), [("get", "InvalidResourceType"), ("put", "NoRegisteredProviderFound")]
)
def test_a_wrong_api_version_is_refused(az: Azure, method: str, code: str) -> None:
    path = f"{az.group('rg')}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/x"
    with pytest.raises(CommandError, match=f"{code}.*2024-11-30"):
        rest(az, method, f"{path}?api-version=1999-01-01")
    with pytest.raises(CommandError, match="MissingApiVersionParameter"):
        rest(az, method, path)


def test_names_of_resources_ignore_case_and_doubled_slashes(az: Azure) -> None:
    az.group("Rg")
    identity = az.identity("Rg", "One")
    shouted = identity["id"].upper().replace("/SUBSCRIPTIONS/", "//subscriptions//")
    shown = rest(az, "get", f"{shouted}?api-version=2024-11-30")
    assert isinstance(shown, dict)
    assert shown["id"] == identity["id"]
    assert len(az.double.resources(az.group("Rg"))) == 2


def test_nothing_is_made_in_a_group_that_does_not_exist(az: Azure) -> None:
    with pytest.raises(CommandError, match=r"ResourceGroupNotFound.*'missing'"):
        az.identity("missing", "one")
    with pytest.raises(CommandError, match="ResourceNotFound"):
        az("identity", "show", "--resource-group", "rg" if az.group("rg") else "", "--name", "one")


def test_a_group_takes_everything_with_it(az: Azure) -> None:
    az.group("rg")
    identity = az.identity("rg", "one")
    az.trust("rg", "one", "repo:o/r:ref:refs/heads/main")
    az("group", "delete", "--name", "rg", "--yes")
    with pytest.raises(CommandError, match="AADSTS700016"):
        az.as_job(identity, "repo:o/r:ref:refs/heads/main")
    assert az("group", "exists", "--name", "rg") is False
    assert not [each for each in az.double.resources() if "/resourcegroups/" in each.lower()]
    assert az.identity("rg" if az.group("rg") else "", "one")["clientId"] != identity["clientId"]


def test_an_unregistered_provider_is_refused_to_who_may_not_register(double: AzureDouble) -> None:
    az = Azure(double, double.env(double.owner))
    scope = az.group("rg")
    somebody = double.principal("somebody", ("Contributor", scope))
    theirs = Azure(double, double.env(somebody))
    with pytest.raises(CommandError, match="MissingSubscriptionRegistration"):
        theirs.identity("rg", "one")
    namespace = ("--namespace", "Microsoft.ManagedIdentity", "--query", "registrationState")
    az("provider", "register", *namespace)
    time.sleep(0.5)
    assert az("provider", "show", *namespace) == "Registered"
    assert theirs.identity("rg", "one")["name"] == "one"


def test_a_contributor_cannot_give_roles(az: Azure) -> None:
    scope = az.group("rg")
    identity = az.identity("rg", "one")
    somebody = az.double.principal("somebody", ("Contributor", scope))
    theirs = Azure(az.double, az.double.env(somebody))
    with pytest.raises(CommandError, match=r"AuthorizationFailed.*roleAssignments/write"):
        theirs.assign(identity, "Reader", scope)
    with pytest.raises(CommandError, match=r"AuthorizationFailed.*resourceGroups/write"):
        theirs.group("another")


def test_lists_hold_what_the_caller_may_read(az: Azure) -> None:
    az.group("rg")
    az.group("hidden")
    one, two = az.identity("rg", "one"), az.identity("hidden", "one")
    theirs = az.double.principal("somebody", ("Reader", one["id"]))
    job = Azure(az.double, az.double.env(theirs))
    assert [each["id"] for each in job("resource", "list")] == [one["id"]]
    assert [each["id"] for each in job("identity", "list")] == [one["id"]]
    assert job("group", "list") == []
    assert {each["id"] for each in az("resource", "list")} == {one["id"], two["id"]}


def test_a_role_is_given_once_and_takes_its_time(az: Azure) -> None:
    scope = az.group("rg")
    identity = az.identity("rg", "one")
    az.trust("rg", "one", "repo:o/r:environment:e")
    az.assign(identity, "Contributor", scope)
    az.assign(identity, "Contributor", scope)
    statuses = [each["status"] for each in az.double.requests("PUT", "*/roleAssignments/*")]
    assert statuses == [201, 409]
    slow = az.identity("rg", "two")
    az.trust("rg", "two", "repo:o/r:environment:e")
    az.double.inject(point="authorization.propagation", where=scope, detail={"seconds": 3600})
    az.assign(slow, "Contributor", scope)
    with pytest.raises(CommandError, match=r"AuthorizationFailed.*Identities/read"):
        az.as_job(slow, "repo:o/r:environment:e")("identity", "list", "--resource-group", "rg")


def test_a_custom_role_allows_what_it_lists(az: Azure) -> None:
    scope = az.group("rg")
    role = {"Name": "records", "Description": "x", "AssignableScopes": [scope]}
    role["Actions"] = ["Microsoft.Resources/deployments/read"]
    az("role", "definition", "create", "--role-definition", json.dumps(role))
    identity = az.identity("rg", "one")
    az.trust("rg", "one", "repo:o/r:environment:e")
    az.assign(identity, "records", scope)
    job = az.as_job(identity, "repo:o/r:environment:e")
    assert job("deployment", "group", "list", "--resource-group", "rg") == []
    with pytest.raises(CommandError, match=r"AuthorizationFailed.*Identities/read"):
        job("identity", "list", "--resource-group", "rg")


@pytest.mark.parametrize("role", ["Managed Identity Operator", "Owner"])
def test_only_people_may_ask_the_directory(az: Azure, role: str) -> None:
    scope = az.group("rg")
    identity = az.identity("rg", "one")
    az.trust("rg", "one", "repo:o/r:environment:e")
    az.assign(identity, role, scope)
    job = az.as_job(identity, "repo:o/r:environment:e")
    with pytest.raises(CommandError, match="Insufficient privileges"):
        job("ad", "sp", "show", "--id", identity["clientId"])
    assert az("ad", "sp", "show", "--id", identity["clientId"])["id"] == identity["principalId"]


def test_unknown_hosts_are_refused(double: AzureDouble) -> None:
    env = double.env()
    with pytest.raises(CommandError, match="502"):
        run(env, "curl", "--silent", "--show-error", "https://example.com")
    assert "knows no host" in run(env, "curl", "--silent", "http://x.westeurope.azurecontainer.io")
    assert [each["error"] for each in double.requests()] == ["UnknownHost", "UnknownHost"]


def test_the_double_ends_with_its_standard_input(double: AzureDouble) -> None:
    with AzureDouble(double.folder / "second") as second:
        assert second.owner.client_id != double.owner.client_id
    with pytest.raises(OSError, match="refused"):
        second.ask("requests")
