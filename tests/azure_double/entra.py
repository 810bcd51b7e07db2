"""Microsoft Entra: discovery, and tokens for client secrets and federated credentials.

Microsoft Entra documentation: a workload identity federation compares issuer, subject and
audience of the assertion with the credential exactly, the subject with regard to case.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import jwt

from .arm.access import Principal
from .arm.app import strike
from .arm.azure import Azure
from .arm.errors import ArmError
from .arm.store import Resource
from .github.oidc import Issuer
from .requestlog import Entry
from .settings import LOGIN_HOST
from .wire import DropConnection, Request, Response, json_response

FEDERATED = "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class LoginError(Exception):
    """A refused login; the text begins with the AADSTS code."""

    def __init__(self, code: int, text: str, *, error: str = "invalid_client") -> None:
        super().__init__(f"AADSTS{code}: {text}")
        self.code = code
        self.error = error


class Entra:
    """The handler for the login host."""

    def __init__(self, azure: Azure, issuer: Issuer) -> None:
        self._azure = azure
        self._issuer = issuer

    async def __call__(self, request: Request) -> Response:
        """Answer discovery and token requests; 501 for anything else."""
        entry = self._azure.log.begin(request.host, request.method, request.path, request.query)
        try:
            drop = await strike(self._azure, entry)
            status, body = await self._answer(request, entry)
        except LoginError as refused:
            entry.error = f"AADSTS{refused.code}"
            status, body = 400 if refused.error == "unauthorized_client" else 401, _refusal(refused)
            drop = ""
        except ArmError as injected:
            entry.error = injected.code
            status, body, drop = injected.status, injected.body(), ""
        entry.status = status
        if drop:
            raise DropConnection
        return json_response(status, body)

    async def _answer(self, request: Request, entry: Entry) -> tuple[int, dict[str, Any]]:
        path = request.path
        if path.endswith("/discovery/instance"):
            return 200, _instance_discovery()
        if path.endswith("/.well-known/openid-configuration"):
            return 200, self._configuration(path.split("/")[1])
        if request.method == "POST" and path.endswith("/oauth2/v2.0/token"):
            form = dict(parse_qsl((await request.read()).decode()))
            entry.body = form
            return 200, self._token(path.split("/")[1], form, entry)
        return 501, {"error": f"the Azure double does not model {request.method} {path}"}

    def _token(self, tenant: str, form: dict[str, str], entry: Entry) -> dict[str, Any]:
        known = self._azure.settings.tenant
        if tenant.lower() != known:
            raise LoginError(90002, f"Tenant '{tenant}' not found.", error="invalid_request")
        if form.get("grant_type") != "client_credentials":
            raise LoginError(70003, "The app requested an unsupported grant type.")
        client = form.get("client_id", "")
        principal = self._azure.principals.by_client(client)
        if principal is None:
            raise LoginError(
                700016,
                f"Application with identifier '{client}' was not found in the directory 'Double'. "
                "This can happen if the application has not been installed by the administrator "
                "of the tenant.",
                error="unauthorized_client",
            )
        entry.principal = principal.name
        if "client_assertion" in form:
            self._check_assertion(principal, form)
        elif not principal.secret or form.get("client_secret") != principal.secret:
            raise LoginError(
                7000215,
                "Invalid client secret provided. Ensure the secret being sent in the request is "
                f"the client secret value, for a secret added to app '{client}'.",
            )
        audience = form.get("scope", "").removesuffix("/.default")
        token = self._azure.tokens.issue(principal, audience)
        return {
            "token_type": "Bearer",
            "expires_in": self._azure.tokens.lifetime - 1,
            "ext_expires_in": self._azure.tokens.lifetime - 1,
            "access_token": token,
        }

    def _check_assertion(self, principal: Principal, form: dict[str, str]) -> None:
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise LoginError(50027, "The client assertion has an unknown type.")
        try:
            claims = self._issuer.verify(form["client_assertion"])
        except jwt.ExpiredSignatureError as error:
            now = datetime.now(UTC).isoformat()
            raise LoginError(
                700024,
                f"Client assertion is not within its valid time range. Current time: {now}.",
            ) from error
        if claims is None:
            raise LoginError(
                700211,
                "No matching federated identity record found: the assertion's signature "
                "does not belong to its issuer.",
            )
        credentials = self._credentials(principal)
        of_issuer = [each for each in credentials if each["issuer"] == claims["iss"]]
        if not of_issuer:
            raise LoginError(
                700211,
                "No matching federated identity record found for presented assertion issuer "
                f"'{claims['iss']}'. Please check your federated identity credential Subject, "
                "Audience and Issuer against the presented assertion.",
            )
        of_subject = [each for each in of_issuer if each["subject"] == claims["sub"]]
        if not of_subject:
            raise _wrong_subject(claims["sub"], of_issuer)
        if not any(claims["aud"] in each["audiences"] for each in of_subject):
            raise LoginError(
                700212,
                "No matching federated identity record found for presented assertion audience "
                f"'{claims['aud']}'. Please check your federated identity credential Subject, "
                "Audience and Issuer against the presented assertion.",
            )

    def _credentials(self, principal: Principal) -> list[dict[str, Any]]:
        found: list[Resource] = []
        if principal.resource_id:
            found = self._azure.store.list(FEDERATED, principal.resource_id)
        return [each.properties for each in found]

    def _configuration(self, tenant: str) -> dict[str, Any]:
        base = f"https://{LOGIN_HOST}/{tenant}"
        return {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "issuer": f"https://{LOGIN_HOST}/{self._azure.settings.tenant}/v2.0",
            "tenant_region_scope": "EU",
        }


def _wrong_subject(presented: str, credentials: list[dict[str, Any]]) -> LoginError:
    if any(each["subject"].lower() == presented.lower() for each in credentials):
        return LoginError(
            7002138,
            "No matching federated identity record found for presented assertion subject "
            f"'{presented}'. The subject matches a federated identity record in everything but "
            "the case of its letters.",
        )
    return LoginError(
        700213,
        "No matching federated identity record found for presented assertion subject "
        f"'{presented}'. Check your federated identity credential Subject, Audience and Issuer "
        "against the presented assertion. "
        "https://learn.microsoft.com/entra/workload-id/workload-identity-federation",
    )


def _refusal(refused: LoginError) -> dict[str, Any]:
    return {
        "error": refused.error,
        "error_description": str(refused),
        "error_codes": [refused.code],
    }


def _instance_discovery() -> dict[str, Any]:
    return {
        "tenant_discovery_endpoint": f"https://{LOGIN_HOST}/common/v2.0/.well-known/"
        "openid-configuration",
        "api-version": "1.1",
        "metadata": [
            {
                "preferred_network": LOGIN_HOST,
                "preferred_cache": "login.windows.net",
                "aliases": [LOGIN_HOST, "login.windows.net"],
            }
        ],
    }
