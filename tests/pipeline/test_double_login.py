"""Logging in to the double: secrets, and tokens of GitHub's jobs that must match exactly."""

from __future__ import annotations

import pytest

from tests.azure_double.client import AzureDouble, Person

from .commands import Azure, CommandError, run

pytestmark = pytest.mark.slow

SUBJECT = "repo:octo-org@1/iris@2:environment:staging"
LOGIN = ("az", "login", "--service-principal", "--output", "none")


def login(double: AzureDouble, client: str, token: str) -> None:
    env = double.env()
    run(env, *LOGIN, "-u", client, "--tenant", double.tenant, "--federated-token", token)


def test_the_owner_sees_the_subscription(az: Azure) -> None:
    shown = az("account", "show")
    assert shown["id"] == az.double.subscription
    assert shown["tenantId"] == az.double.tenant
    assert az("account", "list")[0]["isDefault"]


def test_a_wrong_secret_is_refused(double: AzureDouble) -> None:
    person = double.principal("somebody")
    wrong = Person(person.name, person.client_id, person.object_id, "wrong")
    with pytest.raises(RuntimeError, match="AADSTS7000215"):
        double.env(wrong)


def test_an_unknown_application_is_refused(double: AzureDouble) -> None:
    nobody = Person("nobody", "00000000-0000-4000-8000-00000000dead", "", "x")
    with pytest.raises(RuntimeError, match="AADSTS700016"):
        double.env(nobody)


def test_a_job_logs_in_by_its_token_and_can_do_what_its_role_says(az: Azure) -> None:
    scope = az.group("rg")
    identity = az.identity("rg", "iris-deploy")
    az.trust("rg", "iris-deploy", SUBJECT)
    az.assign(identity, "Reader", scope)
    job = az.as_job(identity, SUBJECT)
    assert [each["name"] for each in job("identity", "list", "--resource-group", "rg")] == [
        "iris-deploy"
    ]
    with pytest.raises(CommandError, match=r"AuthorizationFailed.*userAssignedIdentities/write"):
        job.identity("rg", "another")


def test_an_identity_without_any_role_has_no_subscription(az: Azure) -> None:
    az.group("rg")
    identity = az.identity("rg", "iris-deploy")
    az.trust("rg", "iris-deploy", SUBJECT)
    with pytest.raises(CommandError, match="No subscriptions found"):
        az.as_job(identity, SUBJECT)


@pytest.mark.parametrize(
    ("subject", "claims", "code"),
    [
        ("repo:octo-org/iris:environment:staging", {}, "AADSTS700213"),
        ("repo:octo-org@1/iris@2:environment:production", {}, "AADSTS700213"),
        ("repo:octo-org@1/iris@2:environment:Staging", {}, "AADSTS7002138"),
        (SUBJECT, {"audience": "https://github.com/octo-org"}, "AADSTS700212"),
        (SUBJECT, {"issuer": "https://token.example.com"}, "AADSTS700211"),
    ],
)
def test_a_token_that_does_not_match_is_refused(
    az: Azure, subject: str, claims: dict[str, str], code: str
) -> None:
    az.group("rg")
    identity = az.identity("rg", "iris-deploy")
    az.trust("rg", "iris-deploy", SUBJECT)
    with pytest.raises(CommandError, match=f"{code}:"):
        login(az.double, identity["clientId"], az.double.oidc_token(subject, **claims))


def test_a_token_that_github_did_not_sign_is_refused(az: Azure) -> None:
    az.group("rg")
    identity = az.identity("rg", "iris-deploy")
    az.trust("rg", "iris-deploy", SUBJECT)
    head, body, _ = az.double.oidc_token(SUBJECT).split(".")
    with pytest.raises(CommandError, match="AADSTS"):
        login(az.double, identity["clientId"], f"{head}.{body}.{'A' * 43}")


def test_a_job_gets_its_token_where_the_runner_says(double: AzureDouble) -> None:
    given = double.oidc_environment(SUBJECT)
    url = f"{given['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience=api://AzureADTokenExchange"
    bearer = f"Authorization: bearer {given['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"
    answer = run(double.env(), "curl", "--silent", "--fail", "--header", bearer, url)
    assert answer.startswith('{"value": "ey')
    with pytest.raises(CommandError):
        run(double.env(), "curl", "--silent", "--fail", url)


def test_twenty_credentials_and_no_pair_twice(az: Azure) -> None:
    az.group("rg")
    identity = az.identity("rg", "iris-deploy")
    az.trust("rg", "iris-deploy", SUBJECT)
    with pytest.raises(CommandError, match="combination already exists"):
        az.trust("rg", "iris-deploy", SUBJECT, name="again")
    url = f"https://management.azure.com{identity['id']}/federatedIdentityCredentials"
    script = f"""
        token=$(az account get-access-token --query accessToken --output tsv)
        for number in $(seq 20); do
            one='{{"issuer": "https://i", "subject": "'$number'", "audiences": ["a"]}}'
            curl --silent --request PUT --header "Authorization: Bearer $token" \
                --data "{{\\"properties\\": $one}}" "{url}/number-$number?api-version=2024-11-30"
        done
    """
    assert run(az.env, "bash", "-c", script).count("at most 20") == 1
