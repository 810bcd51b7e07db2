"""Refresh and access tokens of a registry, signed with the registry's own key."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from ..arm.store import Resource

REFRESH_SECONDS, ACCESS_SECONDS = 3 * 3600, 75 * 60
ISSUER = "Azure Container Registry"
KEY = "signing_key"
"""Where the key lies in a registry's hidden values, as hexadecimal digits."""


@dataclass(frozen=True)
class Scope:
    """One thing that a token opens, for example repository, irises, [pull, push]."""

    type: str
    name: str
    actions: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Scope:
        """From ``repository:team/irises:pull,push``.

        Raises:
            ValueError: it does not have three parts.
        """
        kind, _, rest = text.partition(":")
        name, found, actions = rest.rpartition(":")
        if not found or not name:
            raise ValueError(f'"{text}" is not a scope of the form type:name:actions')
        return cls(kind, name, tuple(actions.split(",")))


def refresh(registry: Resource, object_id: str) -> str:
    """A refresh token: proof of who somebody is, for this registry."""
    return _signed(registry, object_id, REFRESH_SECONDS, {"grant_type": "refresh_token"})


def access(registry: Resource, object_id: str, scopes: Iterable[Scope]) -> str:
    """An access token for what was granted."""
    listed = [{"type": s.type, "name": s.name, "actions": list(s.actions)} for s in scopes]
    claims = {"grant_type": "access_token", "access": listed}
    return _signed(registry, object_id, ACCESS_SECONDS, claims)


def bearer(registry: Resource, refresh_token: str) -> str:
    """The object id of the principal whose refresh token it is; "" if it is none."""
    claims = _claims(registry, refresh_token)
    return str(claims["sub"]) if claims.get("grant_type") == "refresh_token" else ""


def opens(registry: Resource, access_token: str, kind: str, name: str, action: str) -> bool:
    """Whether an access token is valid and allows an action on a repository or the catalog."""
    return any(
        (scope["type"], scope["name"]) == (kind, name) and action in scope["actions"]
        for scope in _claims(registry, access_token).get("access", [])
    )


def is_valid(registry: Resource, access_token: str) -> bool:
    """Whether it is an access token of this registry at all."""
    return "access" in _claims(registry, access_token)


def _signed(registry: Resource, object_id: str, seconds: int, claims: Mapping[str, Any]) -> str:
    now = int(time.time())
    service = registry.properties["loginServer"]
    fixed = {"iss": ISSUER, "aud": service, "sub": object_id, "iat": now, "exp": now + seconds}
    token: str = jwt.encode({**fixed, **claims}, _key(registry), algorithm="HS256")
    return token


def _claims(registry: Resource, token: str) -> dict[str, Any]:
    service = registry.properties["loginServer"]
    try:
        claims: dict[str, Any] = jwt.decode(
            token, _key(registry), algorithms=["HS256"], audience=service
        )
    except jwt.InvalidTokenError:
        return {}
    return claims


def _key(registry: Resource) -> bytes:
    return bytes.fromhex(registry.hidden[KEY])
