"""GitHub's API in the double, asked by the real `gh`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.azure_double.client import AzureDouble

from .commands import CommandError, run

pytestmark = pytest.mark.slow

REPO = "repos/octo-org/iris"


def gh(double: AzureDouble, path: str, method: str = "GET", body: Any = None) -> Any:
    given = () if body is None else ("--input", "-")
    text = run(
        double.env(), "gh", "api", "--method", method, path, *given, stdin=json.dumps(body or {})
    )
    return json.loads(text) if text else None


def test_the_token_is_known(double: AzureDouble) -> None:
    run(double.env(), "gh", "auth", "status")
    with pytest.raises(CommandError, match="Bad credentials"):
        run({**double.env(), "GH_TOKEN": "ghp_wrong"}, "gh", "api", "user")


@pytest.mark.parametrize("subjects", ["immutable", "classic", "unsaid"])
def test_the_prefix_of_subjects(double: AzureDouble, subjects: str) -> None:
    made = double.github_repository("octo-org/iris", subjects)
    shown = gh(double, REPO)
    answer = gh(double, f"{REPO}/actions/oidc/customization/sub")
    numbers = f"repo:octo-org@{shown['owner']['id']}/iris@{shown['id']}"
    assert made["subject_prefix"] == (numbers if subjects == "immutable" else "repo:octo-org/iris")
    expected = {"use_default": True}
    if subjects != "unsaid":
        expected["use_immutable_subject"] = subjects == "immutable"
        expected["sub_claim_prefix"] = made["subject_prefix"]
    assert answer == expected


def test_an_environment_with_a_reviewer_and_branches(double: AzureDouble) -> None:
    double.github_repository("octo-org/iris")
    double.github_user("ann")
    ann = gh(double, "users/ann")["id"]
    one = f"{REPO}/environments/production"
    body = {
        "reviewers": [{"type": "User", "id": ann}],
        "deployment_branch_policy": {"protected_branches": False, "custom_branch_policies": True},
    }
    gh(double, one, "PUT", body)
    gh(double, f"{one}/deployment-branch-policies", "POST", {"name": "main"})
    kinds = [each["type"] for each in gh(double, one)["protection_rules"]]
    assert kinds == ["required_reviewers", "branch_policy"]
    assert gh(double, f"{one}/deployment-branch-policies")["branch_policies"][0]["name"] == "main"
    stored = double.github_state("octo-org/iris")["environments"]["production"]
    assert stored["settings"] == body
    with pytest.raises(CommandError, match="reviewer"):
        gh(double, one, "PUT", {"reviewers": [{"type": "User", "id": 1}]})
    with pytest.raises(CommandError, match="Not Found"):
        gh(double, f"{REPO}/environments/nowhere")


@pytest.mark.parametrize("base", [f"{REPO}/actions", f"{REPO}/environments/staging"])
def test_variables(double: AzureDouble, base: str) -> None:
    double.github_repository("octo-org/iris")
    gh(double, f"{REPO}/environments/staging", "PUT", {})
    gh(double, f"{base}/variables", "POST", {"name": "azure_tenant_id", "value": "one"})
    with pytest.raises(CommandError, match="409"):
        gh(double, f"{base}/variables", "POST", {"name": "AZURE_TENANT_ID", "value": "two"})
    gh(double, f"{base}/variables/AZURE_TENANT_ID", "PATCH", {"value": "two"})
    listed = gh(double, f"{base}/variables")
    assert listed["variables"] == [{"name": "AZURE_TENANT_ID", "value": "two"}]


def test_permissions_of_workflows(double: AzureDouble) -> None:
    """As GitHub's description of the API has it: two optional fields, and 204 for a change."""
    double.github_repository("octo-org/iris")
    path = f"{REPO}/actions/permissions/workflow"
    new = {"default_workflow_permissions": "read", "can_approve_pull_request_reviews": False}
    assert gh(double, path) == new
    assert gh(double, path, "PUT", {"can_approve_pull_request_reviews": True}) is None
    assert gh(double, path) == new | {"can_approve_pull_request_reviews": True}
    with pytest.raises(CommandError, match="422"):
        gh(double, path, "PUT", {"can_approve_pull_request_reviews": "true"})


def test_what_is_not_modelled_and_what_was_planned(double: AzureDouble) -> None:
    double.github_repository("octo-org/iris")
    with pytest.raises(CommandError, match="does not model GET /repos/octo-org/iris/issues"):
        gh(double, f"{REPO}/issues")
    double.inject(where="PUT */environments/*", status=422, message="the plan lacks reviewers")
    with pytest.raises(CommandError, match="the plan lacks reviewers"):
        gh(double, f"{REPO}/environments/staging", "PUT", {})
