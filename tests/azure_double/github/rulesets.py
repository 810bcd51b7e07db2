"""Rulesets of branches, by the schema that GitHub publishes for its REST API."""

from __future__ import annotations

from typing import Any

from .answers import Answer, GitHubError, not_found
from .state import Repository, State

ENFORCEMENTS = ("disabled", "active", "evaluate")
_FIELDS = {"name", "target", "enforcement", "bypass_actors", "conditions", "rules"}
_BOOLEANS = (
    "dismiss_stale_reviews_on_push",
    "require_code_owner_review",
    "require_last_push_approval",
    "required_review_thread_resolution",
)
_NEEDED: dict[str, dict[str, type]] = {
    "deletion": {},
    "non_fast_forward": {},
    "pull_request": {"required_approving_review_count": int, **dict.fromkeys(_BOOLEANS, bool)},
    "required_status_checks": {
        "required_status_checks": list,
        "strict_required_status_checks_policy": bool,
    },
}
"""The kinds of rules that are modelled, with the parameters that each must have."""


def routes(repo: str) -> list[tuple[str, str, Any]]:
    """Method, pattern and handler of each call."""
    return [
        ("GET", f"{repo}/rulesets", show_all),
        ("POST", f"{repo}/rulesets", add),
        ("PUT", f"{repo}/rulesets/(?P<number>[0-9]+)", change),
    ]


def show_all(
    _state: State, one: Repository, _values: dict[str, str], _body: dict[str, Any]
) -> Answer:
    """All rulesets; a list leaves out their rules."""
    shown = ("id", "name", "target", "enforcement")
    return 200, [{name: each[name] for name in shown} for each in one.rulesets]


def add(state: State, one: Repository, _values: dict[str, str], body: dict[str, Any]) -> Answer:
    """One more ruleset."""
    _check(body)
    if any(each["name"] == body["name"] for each in one.rulesets):
        raise GitHubError(422, "Validation Failed: Name must be unique")
    made = {"target": "branch", **body, "id": state.new_id()}
    one.rulesets.append(made)
    return 201, made


def change(_state: State, one: Repository, values: dict[str, str], body: dict[str, Any]) -> Answer:
    """Change a ruleset; what the body leaves out stays."""
    for each in one.rulesets:
        if str(each["id"]) == values["number"]:
            _check(each | body)
            each.update(body)
            return 200, each
    raise not_found()


def _check(body: dict[str, Any]) -> None:
    if unknown := body.keys() - _FIELDS - {"id"}:
        raise GitHubError(422, f"Invalid request: {sorted(unknown)}")
    if not body.get("name") or body.get("enforcement") not in ENFORCEMENTS:
        raise GitHubError(422, "Invalid request: name and enforcement are needed")
    names = (body.get("conditions") or {}).get("ref_name") or {}
    if not isinstance(names.get("include"), list) or not isinstance(names.get("exclude"), list):
        raise GitHubError(422, "Invalid request: ref_name has the lists include and exclude")
    for actor in body.get("bypass_actors") or []:
        if actor["actor_type"] == "RepositoryRole" and not isinstance(actor["actor_id"], int):
            raise GitHubError(422, "Invalid request: actor_id is a number")
    for rule in body.get("rules") or []:
        if not isinstance(rule, dict) or rule.get("type") not in _NEEDED:
            raise GitHubError(422, f"Invalid rules: {rule}")
        given, needed = rule.get("parameters") or {}, _NEEDED[rule["type"]]
        if given.keys() != needed.keys() or any(
            not isinstance(given[name], kind) for name, kind in needed.items()
        ):
            raise GitHubError(422, f"Invalid parameters of {rule['type']}: {given}")
