"""ACR's token service: an Entra token buys a refresh token, and that an access token."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import parse_qsl

from ..arm.azure import Azure
from ..arm.errors import ArmError
from ..arm.store import Resource
from ..wire import Request, Response, json_response
from . import permissions, tickets
from .answers import unauthorized

LOGIN_NAME = "00000000-0000-0000-0000-000000000000"
"""The user name that stands for "the password is a refresh token"."""


class TokenService:
    """The token service of one registry."""

    def __init__(self, azure: Azure, registry: Resource) -> None:
        self._azure = azure
        self._registry = registry

    async def exchange(self, request: Request) -> Response:
        """``POST /oauth2/exchange``: a refresh token for whoever an Entra token belongs to."""
        form = await _form(request)
        if form.get("grant_type") != "access_token":
            return _bad_request(f"grant_type {form.get('grant_type')} is not supported")
        try:
            principal = self._azure.tokens.principal(form.get("access_token", ""))
        except ArmError as problem:
            return unauthorized(problem.message)
        return json_response(
            200, {"refresh_token": tickets.refresh(self._registry, principal.object_id)}
        )

    async def token(self, request: Request) -> Response:
        """``GET|POST /oauth2/token``: an access token for what the caller may do of what it asks.

        Docker asks with GET and basic authentication, az with POST and a form.
        """
        if request.method == "POST":
            form = await _form(request)
            refresh = form.get("refresh_token", "")
            wanted = form.get("scope", "").split()
            service = form.get("service", "")
        else:
            refresh = _basic(request)
            pairs = parse_qsl(request.target.partition("?")[2])
            wanted = [part for name, value in pairs if name == "scope" for part in value.split()]
            service = request.query.get("service", "")
        if service != self._registry.properties["loginServer"]:
            return _bad_request(f"service {service} is not this registry")
        object_id = tickets.bearer(self._registry, refresh)
        if not object_id:
            return unauthorized("the refresh token is not valid")
        return self._grant(object_id, wanted)

    def _grant(self, object_id: str, wanted: list[str]) -> Response:
        try:
            asked = [tickets.Scope.parse(text) for text in wanted]
        except ValueError as problem:
            return _bad_request(str(problem))
        scopes = [self._granted(object_id, scope) for scope in asked]
        if asked and not any(scope.actions for scope in scopes):
            return unauthorized("the principal has no role for what it asks on this registry")
        token = tickets.access(self._registry, object_id, scopes)
        return json_response(200, {"access_token": token})

    def _granted(self, object_id: str, scope: tickets.Scope) -> tickets.Scope:
        access = self._azure.access
        if scope.type == "registry":  # registry:catalog:*
            found = permissions.granted(access, object_id, self._registry, [scope.name])
            return tickets.Scope(scope.type, scope.name, scope.actions if found else ())
        found = permissions.granted(access, object_id, self._registry, scope.actions)
        return tickets.Scope(scope.type, scope.name, tuple(found))


async def _form(request: Request) -> Mapping[str, str]:
    return dict(parse_qsl((await request.read()).decode("latin-1")))


def _basic(request: Request) -> str:
    """The refresh token that docker sends as a password, or ""."""
    kind, _, encoded = request.header("authorization").partition(" ")
    if kind.lower() != "basic":
        return ""
    try:
        user, _, password = base64.b64decode(encoded).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return password if user == LOGIN_NAME else ""


def _bad_request(message: str) -> Response:
    return json_response(400, {"errors": [{"code": "BAD_REQUEST", "message": message}]})
