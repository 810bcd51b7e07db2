"""GitHub's REST API for repositories, environments, variables and token subjects."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from ..arm.app import strike
from ..arm.azure import Azure
from ..arm.errors import ArmError
from ..wire import DropConnection, Request, Response, json_response
from . import environments, rulesets, variables
from .answers import Answer, GitHubError, not_found
from .state import Repository, State

Handle = Callable[[State, Repository, dict[str, str], dict[str, Any]], Answer]

VIEWER = "token-owner"
HEADERS = {
    "x-github-api-version-selected": "2022-11-28",
    # What `gh auth login` asks for; `gh auth status` complains where they are missing.
    "x-oauth-scopes": "repo, read:org, workflow",
}
_REPO = r"/repos/(?P<owner>[^/]+)/(?P<repo>[^/]+)"
_ENV = r"(?P<environment>[^/]+)"


class GitHub:
    """The handler for the API host."""

    def __init__(self, azure: Azure, token: str) -> None:
        self._azure = azure
        self._token = token
        self.state = State()
        self._routes: list[tuple[str, re.Pattern[str], Handle]] = [
            (method, re.compile(path), handle)
            for method, path, handle in (
                ("GET", _REPO, show_repository),
                ("GET", f"{_REPO}/actions/oidc/customization/sub", show_subject),
                ("GET", f"{_REPO}/actions/permissions/workflow", show_permissions),
                ("PUT", f"{_REPO}/actions/permissions/workflow", set_permissions),
                *environments.routes(_REPO, _ENV),
                *variables.routes(_REPO, _ENV),
                *rulesets.routes(_REPO),
            )
        ]

    async def __call__(self, request: Request) -> Response:
        """Log, strike with a fault, answer as GitHub does; 501 for what is not modelled."""
        entry = self._azure.log.begin(request.host, request.method, request.path, request.query)
        try:
            drop = await strike(self._azure, entry)
            text = await request.read()
            entry.body = json.loads(text) if text else None
            self._authenticate(request)
            entry.principal = "github"
            status, body = self._answer(request, entry.body or {})
        except GitHubError as error:
            status, body, drop = error.status, {"message": error.message}, ""
            entry.error = error.message
        except ArmError as injected:
            status, body, drop = injected.status, {"message": injected.message}, ""
            entry.error = injected.code
        entry.status = status
        if drop:
            raise DropConnection
        return json_response(status, body, HEADERS)

    def _authenticate(self, request: Request) -> None:
        if request.header("authorization").partition(" ")[2] != self._token:
            raise GitHubError(401, "Bad credentials")

    def _answer(self, request: Request, body: dict[str, Any]) -> Answer:
        path = request.path.removeprefix("/repositories/")
        if path != request.path:
            path = self._by_name(path)
        if path == "/graphql":
            return self._viewer(str(body.get("query")))
        if path == "/":
            return 200, {}
        if path == "/user":
            return 200, {"login": VIEWER, "id": self.state.user(VIEWER), "type": "User"}
        if request.method == "GET" and path.startswith("/users/"):
            return self._user(path.removeprefix("/users/"))
        for method, pattern, handle in self._routes:
            found = pattern.fullmatch(path)
            if found and method == request.method:
                values = found.groupdict()
                return handle(self.state, self._repository(values), values, body)
        raise GitHubError(501, f"the double does not model {request.method} {request.path}")

    def _by_name(self, path: str) -> str:
        """/repositories/ID/… is another name of /repos/OWNER/NAME/…"""
        number, _, rest = path.partition("/")
        for each in self.state.repositories.values():
            if str(each.id) == number:
                return f"/repos/{each.owner}/{each.name}/{rest}".rstrip("/")
        raise not_found()

    def _repository(self, values: dict[str, str]) -> Repository:
        found = self.state.repositories.get(f"{values['owner']}/{values['repo']}".lower())
        if found is None:
            raise not_found()
        return found

    def _user(self, login: str) -> Answer:
        for name, number in self.state.users.items():
            if name.lower() == login.lower():
                return 200, {"login": name, "id": number, "type": "User"}
        raise not_found()

    def _viewer(self, query: str) -> Answer:
        """The one GraphQL query that is modelled: `gh auth status` asks who it is."""
        if "viewer" not in query or "repository" in query:
            raise GitHubError(501, f"the double does not model the query {query}")
        return 200, {"data": {"viewer": {"login": VIEWER}}}


def show_repository(
    _state: State, one: Repository, _values: dict[str, str], _body: dict[str, Any]
) -> Answer:
    """The numbers are what matters."""
    return 200, {
        "id": one.id,
        "name": one.name,
        "full_name": f"{one.owner}/{one.name}",
        "owner": {"login": one.owner, "id": one.owner_id, "type": "Organization"},
        "private": True,
        "visibility": "private",
        "default_branch": "main",
        "permissions": {"admin": True, "push": True, "pull": True},
    }


def show_subject(
    _state: State, one: Repository, _values: dict[str, str], _body: dict[str, Any]
) -> Answer:
    """How the subjects of this repository's jobs are made."""
    shown: dict[str, Any] = {"use_default": True}
    if one.subjects != "unsaid":
        shown["use_immutable_subject"] = one.subjects == "immutable"
        shown["sub_claim_prefix"] = one.subject_prefix
    return 200, shown


def show_permissions(
    _state: State, one: Repository, _values: dict[str, str], _body: dict[str, Any]
) -> Answer:
    """What the token of a workflow may do where the workflow does not say."""
    return 200, one.workflow_permissions


def set_permissions(
    _state: State, one: Repository, _values: dict[str, str], body: dict[str, Any]
) -> Answer:
    """Both fields are optional; each has the type that the API's description gives."""
    kinds = {"default_workflow_permissions": str, "can_approve_pull_request_reviews": bool}
    for name, value in body.items():
        if not isinstance(value, kinds.get(name, ())):
            raise GitHubError(422, f"Invalid request: {name} is {value!r}")
    if body.get("default_workflow_permissions", "read") not in ("read", "write"):
        raise GitHubError(422, "default_workflow_permissions is read or write")
    one.workflow_permissions = one.workflow_permissions | body
    return 204, None
