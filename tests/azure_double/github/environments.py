"""Deployment environments: reviewers and branch policies."""

from __future__ import annotations

from typing import Any

from .answers import Answer, GitHubError, not_found
from .state import Environment, Repository, State

MOST_REVIEWERS = 6
_KNOWN = {"wait_timer", "prevent_self_review", "reviewers", "deployment_branch_policy"}


def routes(repo: str, env: str) -> list[tuple[str, str, Any]]:
    """Method, pattern and handler of each call."""
    one = f"{repo}/environments/{env}"
    policies = f"{one}/deployment-branch-policies"
    return [
        ("GET", f"{repo}/environments", show_all),
        ("GET", one, show),
        ("PUT", one, put),
        ("GET", f"{one}/secrets", show_secrets),
        ("GET", policies, show_policies),
        ("POST", policies, add_policy),
    ]


def find(repository: Repository, values: dict[str, str]) -> Environment:
    """The environment of a call.

    Raises:
        GitHubError: 404.
    """
    found = repository.environments.get(values["environment"].lower())
    if found is None:
        raise not_found()
    return found


def show_all(
    state: State, one: Repository, _values: dict[str, str], _body: dict[str, Any]
) -> Answer:
    """All environments."""
    shown = [_shown(state, each) for each in one.environments.values()]
    return 200, {"total_count": len(shown), "environments": shown}


def show(state: State, one: Repository, values: dict[str, str], _body: dict[str, Any]) -> Answer:
    """One environment."""
    return 200, _shown(state, find(one, values))


def put(state: State, one: Repository, values: dict[str, str], body: dict[str, Any]) -> Answer:
    """Create or replace the protection rules; what the body leaves out is reset."""
    if unknown := body.keys() - _KNOWN:
        raise GitHubError(422, f"unknown keys {sorted(unknown)}")
    reviewers = body.get("reviewers") or []
    if len(reviewers) > MOST_REVIEWERS:
        raise GitHubError(422, f"an environment has at most {MOST_REVIEWERS} reviewers")
    for each in reviewers:
        if each.get("type") not in ("User", "Team") or each.get("id") not in state.users.values():
            raise GitHubError(422, f"Failed to find the reviewer {each}")
    policy = body.get("deployment_branch_policy")
    if policy and policy.get("protected_branches") == policy.get("custom_branch_policies"):
        raise GitHubError(
            422, "protected_branches and custom_branch_policies cannot have the same value"
        )
    key = values["environment"].lower()
    if key not in one.environments:
        one.environments[key] = Environment(state.new_id(), values["environment"])
    one.environments[key].settings = body
    return 200, _shown(state, one.environments[key])


def show_policies(
    _state: State, one: Repository, values: dict[str, str], _body: dict[str, Any]
) -> Answer:
    """The branches that may deploy."""
    policies = find(one, values).branch_policies
    return 200, {"total_count": len(policies), "branch_policies": policies}


def add_policy(
    state: State, one: Repository, values: dict[str, str], body: dict[str, Any]
) -> Answer:
    """One more branch; the environment must have custom policies."""
    environment = find(one, values)
    policy = environment.settings.get("deployment_branch_policy") or {}
    if not policy.get("custom_branch_policies"):
        raise not_found()
    if any(each["name"] == body["name"] for each in environment.branch_policies):
        raise GitHubError(303, "The branch policy already exists")
    made = {"id": state.new_id(), "name": body["name"], "type": body.get("type", "branch")}
    environment.branch_policies.append(made)
    return 200, made


def show_secrets(
    _state: State, one: Repository, values: dict[str, str], _body: dict[str, Any]
) -> Answer:
    """The names of the secrets; there is no way to make one here."""
    find(one, values)
    return 200, {"total_count": 0, "secrets": []}


def _shown(state: State, environment: Environment) -> dict[str, Any]:
    settings, rules = environment.settings, []
    if minutes := settings.get("wait_timer"):
        rules.append({"type": "wait_timer", "wait_timer": minutes})
    if reviewers := settings.get("reviewers"):
        logins = {number: login for login, number in state.users.items()}
        shown = [
            {"type": each["type"], "reviewer": {"id": each["id"], "login": logins[each["id"]]}}
            for each in reviewers
        ]
        rules.append(
            {
                "type": "required_reviewers",
                "prevent_self_review": settings.get("prevent_self_review", False),
                "reviewers": shown,
            }
        )
    if settings.get("deployment_branch_policy"):
        rules.append({"type": "branch_policy"})
    return {
        "id": environment.id,
        "name": environment.name,
        "protection_rules": rules,
        "deployment_branch_policy": settings.get("deployment_branch_policy"),
    }
