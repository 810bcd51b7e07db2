"""Access tokens: signed with a key of the run, so that a made-up token is refused."""

from __future__ import annotations

import secrets
import time
import uuid
from typing import Any

import jwt

from .access import Principal, Principals
from .errors import ArmError

LIFETIME_SECONDS = 3600
OLD_MANAGEMENT = "https://management.core.windows.net"


class Tokens:
    """Makes tokens for Entra and checks them for everyone else."""

    def __init__(self, principals: Principals, tenant: str) -> None:
        self._principals = principals
        self._tenant = tenant
        self._key = secrets.token_bytes(32)
        self.lifetime = LIFETIME_SECONDS

    def issue(self, principal: Principal, audience: str) -> str:
        """A token, by default for one hour, for example for ``https://management.azure.com``."""
        now = int(time.time())
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{self._tenant}/",
            "iat": now,
            "nbf": now,
            "exp": now + self.lifetime,
            "appid": principal.client_id,
            "oid": principal.object_id,
            "sub": principal.object_id,
            "tid": self._tenant,
            "idtyp": "app",
            "ver": "1.0",
            "jti": str(uuid.uuid4()),
        }
        token: str = jwt.encode(claims, self._key, algorithm="HS256")
        return token

    def principal(self, token: str, audience: str = "") -> Principal:
        """Whose token it is.

        Args:
            token: as sent, without "Bearer".
            audience: what it must be for; "" lets any pass.

        Raises:
            ArmError: 401, it is not ours, has expired, is for something else, or its principal
                does not exist any more.
        """
        claims = self._claims(token)
        if audience and _same(claims["aud"]) != audience:
            raise ArmError(
                401,
                "InvalidAuthenticationTokenAudience",
                f"The access token has been obtained for wrong audience or resource "
                f"'{claims['aud']}'. It should exactly match one of the allowed audiences "
                f"'{audience}'.",
            )
        principal = self._principals.by_object(claims["oid"])
        if principal is None:
            raise ArmError(
                401, "InvalidAuthenticationToken", "The principal of the token does not exist."
            )
        return principal

    def _claims(self, token: str) -> dict[str, Any]:
        if not token:
            raise ArmError(
                401,
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
            )
        try:
            claims: dict[str, Any] = jwt.decode(
                token, self._key, algorithms=["HS256"], options={"verify_aud": False}
            )
        except jwt.ExpiredSignatureError as error:
            raise ArmError(
                401, "ExpiredAuthenticationToken", "The access token expiry is in the past."
            ) from error
        except jwt.InvalidTokenError as error:
            raise ArmError(
                401, "InvalidAuthenticationToken", "The access token is invalid."
            ) from error
        return claims


def _same(audience: str) -> str:
    """The management API has two names of which `az` uses the older; a final slash is optional."""
    plain = audience.rstrip("/")
    return "https://management.azure.com" if plain == OLD_MANAGEMENT else plain
