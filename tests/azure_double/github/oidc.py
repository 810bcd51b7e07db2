"""GitHub's token issuer: what a job with ``id-token: write`` proves its identity with."""

from __future__ import annotations

import secrets
import time
from typing import Any
from urllib.parse import unquote

import jwt

from ..settings import OIDC_HOST
from ..wire import Request, Response, json_response

ISSUER = f"https://{OIDC_HOST}"
AUDIENCE = "api://AzureADTokenExchange"
LIFETIME_SECONDS = 300


class Issuer:
    """Mints tokens for any subject that a test asks for, and lets Entra verify them.

    `url` gives a job's ACTIONS_ID_TOKEN_REQUEST_URL; the request token there is `request_token`.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self.request_token = secrets.token_hex(16)
        self.lifetime = LIFETIME_SECONDS

    def url(self, subject: str) -> str:
        """The address where a job with this subject asks for its token."""
        return f"{ISSUER}/token/{subject}?api-version=2.0"

    def mint(self, subject: str, audience: str = AUDIENCE, issuer: str = ISSUER) -> str:
        """A signed token, by default valid for five minutes."""
        now = int(time.time())
        claims = {
            "iss": issuer,
            "sub": subject,
            "aud": audience,
            "iat": now,
            "nbf": now - 60,
            "exp": now + self.lifetime,
            "jti": secrets.token_hex(8),
        }
        token: str = jwt.encode(claims, self._key, algorithm="HS256")
        return token

    def verify(self, token: str) -> dict[str, Any] | None:
        """The claims of a token that this issuer signed, else None.

        Raises:
            ExpiredSignatureError: it was valid, and is not any more.
        """
        try:
            claims: dict[str, Any] = jwt.decode(
                token, self._key, algorithms=["HS256"], options={"verify_aud": False}
            )
        except jwt.ExpiredSignatureError:
            raise
        except jwt.InvalidTokenError:
            return None
        return claims

    async def __call__(self, request: Request) -> Response:
        """Answer a job: ``GET …/token/SUBJECT?audience=…`` with the request token as bearer."""
        if request.header("authorization").lower() != f"bearer {self.request_token}":
            return json_response(401, {"message": "the request token is wrong"})
        path = unquote(request.target.partition("?")[0])
        subject = path.removeprefix("/token/")
        audience = request.query.get("audience", f"{ISSUER}/default")
        return json_response(200, {"value": self.mint(subject, audience)})
