"""Variables of repositories and of environments; unlike secrets they can be read back."""

from __future__ import annotations

import re
from typing import Any

from .answers import Answer, GitHubError, not_found
from .environments import find
from .state import Repository, State

NAME = re.compile(r"(?!GITHUB_)[A-Z_][A-Z0-9_]*", re.I)


def routes(repo: str, env: str) -> list[tuple[str, str, Any]]:
    """Method, pattern and handler of each call."""
    found = []
    for base in (f"{repo}/actions/variables", f"{repo}/environments/{env}/variables"):
        found += [
            ("GET", base, show_all),
            ("POST", base, add),
            ("GET", f"{base}/(?P<name>[^/]+)", show),
            ("PATCH", f"{base}/(?P<name>[^/]+)", change),
            ("DELETE", f"{base}/(?P<name>[^/]+)", delete),
        ]
    return found


def show_all(
    _state: State, one: Repository, values: dict[str, str], _body: dict[str, Any]
) -> Answer:
    """All variables of the repository or environment."""
    shown = [{"name": name, "value": value} for name, value in _kept(one, values).items()]
    return 200, {"total_count": len(shown), "variables": shown}


def show(_state: State, one: Repository, values: dict[str, str], _body: dict[str, Any]) -> Answer:
    """One variable."""
    kept, name = _kept(one, values), values["name"].upper()
    if name not in kept:
        raise not_found()
    return 200, {"name": name, "value": kept[name]}


def add(_state: State, one: Repository, values: dict[str, str], body: dict[str, Any]) -> Answer:
    """A new variable; names are kept in upper case."""
    kept, name = _kept(one, values), str(body.get("name", "")).upper()
    if not NAME.fullmatch(name):
        raise GitHubError(422, f"Variable name {name!r} is invalid")
    if name in kept:
        raise GitHubError(409, "Already exists - Variable already exists")
    kept[name] = str(body["value"])
    return 201, {}


def change(_state: State, one: Repository, values: dict[str, str], body: dict[str, Any]) -> Answer:
    """Another value."""
    kept, name = _kept(one, values), values["name"].upper()
    if name not in kept:
        raise not_found()
    kept[name] = str(body["value"])
    return 204, None


def delete(_state: State, one: Repository, values: dict[str, str], _body: dict[str, Any]) -> Answer:
    """No more variable."""
    kept, name = _kept(one, values), values["name"].upper()
    if name not in kept:
        raise not_found()
    del kept[name]
    return 204, None


def _kept(one: Repository, values: dict[str, str]) -> dict[str, str]:
    return find(one, values).variables if values.get("environment") else one.variables
