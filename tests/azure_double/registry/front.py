"""The login server of one registry: who may, then the real registry or ACR's own calls."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlencode

from ..arm.azure import Azure
from ..arm.store import Resource
from ..forward import forward
from ..hosts import Unreachable
from ..listen import Server, serve
from ..wire import Request, Response, json_response
from . import acr_api, layers, permissions, tickets
from .answers import not_modelled, unauthorized
from .process import Process
from .tokenservice import TokenService

REGISTRY_PATH = re.compile(r"^/v2/(?P<repository>.+?)/(manifests|blobs|tags)/")
BY_METHOD = {
    "GET": permissions.PULL,
    "HEAD": permissions.PULL,
    "POST": permissions.PUSH,
    "PATCH": permissions.PUSH,
    "PUT": permissions.PUSH,
    "DELETE": permissions.DELETE,
}


class Front:
    """A registry's port on 127.0.0.1, with TLS, and the process behind it.

    Attributes:
        login_server: host and port, as in the registry's ``loginServer``.
    """

    def __init__(self, azure: Azure, folder: Path) -> None:
        self._azure = azure
        self._process = Process(folder)
        self._server: Server | None = None
        self._registry: Resource | None = None
        self._tokens: TokenService | None = None
        self.login_server = ""

    async def start(self) -> None:
        """Start the process and listen.

        Raises:
            RegistryMissing: there is no docker-registry.
        """
        await self._process.start()
        self._server = await serve(self._handle, tls=self._azure.tls)
        self.login_server = f"127.0.0.1:{self._server.port}"

    def belongs_to(self, registry: Resource) -> None:
        """From now on the roles on this resource count."""
        self._registry = registry
        self._tokens = TokenService(self._azure, registry)

    async def stop(self) -> None:
        """Close the port and end the process."""
        if self._server:
            await self._server.close()
        await self._process.stop()

    async def _handle(self, request: Request) -> Response:
        entry = self._azure.log.begin(
            self.login_server, request.method, request.path, request.query
        )
        response = await self._answer(request)
        entry.status = response.status
        return response

    async def _answer(self, request: Request) -> Response:
        if self._registry is None or self._tokens is None:
            return not_modelled("a registry that does not exist yet")
        if request.path == "/oauth2/exchange" and request.method == "POST":
            return await self._tokens.exchange(request)
        if request.path == "/oauth2/token" and request.method in ("GET", "POST"):
            return await self._tokens.token(request)
        if request.path == "/v2/":
            return self._version(request)
        ours = acr_api.answers(request)
        kind, name, action = acr_api.needed(request) if ours else _needed(request)
        if not kind:
            return not_modelled(f"{request.method} {request.path} of a registry")
        if not tickets.opens(self._registry, _token(request), kind, name, action):
            return self._refuse(f"{kind}:{name}:{action}")
        if ours:
            return acr_api.answer(request, self._registry, self._process.storage)
        return await self._pass_on(request)

    def _version(self, request: Request) -> Response:
        if self._registry is not None and tickets.is_valid(self._registry, _token(request)):
            return json_response(200, {}, {"docker-distribution-api-version": "registry/2.0"})
        return self._refuse("")

    def _refuse(self, scope: str) -> Response:
        challenge = (
            f'Bearer realm="https://{self.login_server}/oauth2/token",service="{self.login_server}"'
        )
        if scope:
            challenge += f',scope="{scope}"'
        return unauthorized(f"needs a token for {scope}" if scope else "no token", challenge)

    async def _pass_on(self, request: Request) -> Response:
        """To the real registry; a blob of another repository may be mounted only by its reader."""
        query, target = dict(request.query), ""
        if other := query.get("from"):
            assert self._registry is not None
            token = _token(request)
            if not tickets.opens(self._registry, token, "repository", other, permissions.PULL):
                kept = {name: value for name, value in query.items() if name not in _MOUNT}
                path = request.target.partition("?")[0]
                target = f"{path}?{urlencode(kept)}" if kept else path
        layers.offer(self._process.storage, request)
        try:
            answer = await forward(request, "127.0.0.1", self._process.port, target)
        except Unreachable as problem:
            return json_response(502, {"errors": [{"code": "UNKNOWN", "message": str(problem)}]})
        layers.keep(self._process.storage, request, answer)
        return answer


_MOUNT = ("mount", "from")


def _needed(request: Request) -> tuple[str, str, str]:
    """Type, name and action of the token that a call of the registry's API needs."""
    found = REGISTRY_PATH.match(request.path)
    action = BY_METHOD.get(request.method, "")
    return ("repository", found["repository"], action) if found and action else ("", "", "")


def _token(request: Request) -> str:
    kind, _, token = request.header("authorization").partition(" ")
    return token if kind.lower() == "bearer" else ""
