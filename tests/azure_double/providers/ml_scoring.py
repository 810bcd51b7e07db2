"""The front of online endpoints: key, choice of the deployment, limits, and 424 for errors."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

from ..arm import ids
from ..arm.azure import Azure
from ..arm.store import Resource
from ..hosts import Unreachable
from ..wire import Handler, Request, Response, text_response
from .app_replicas import RunningRevision

KEY = "key"
HEADER = "azureml-model-deployment"
DOMAIN = "inference.ml.azure.com"
WAITING = 2
"""So many times the concurrency of a deployment may be in flight; what is more is refused."""


def shares(endpoint: Resource) -> dict[str, int]:
    """The deployments with traffic, each with its share in percent."""
    traffic = endpoint.properties.get("traffic") or {}
    return {name: share for name, share in traffic.items() if share}


class Scoring:
    """Answers at the addresses of endpoints. ``running`` has what runs, by the keys of ids."""

    def __init__(self, azure: Azure, running: Mapping[str, RunningRevision]) -> None:
        self._azure = azure
        self._running = running
        self._in_flight: dict[str, int] = {}

    def publish(self, endpoint: Resource) -> str:
        """Let an endpoint's host be answered; its name."""
        host = _host(endpoint)
        self._azure.hosts.add(host, self._handler(endpoint.id))
        return host

    def withdraw(self, endpoint: Resource) -> None:
        """Nothing answers any more."""
        self._azure.hosts.remove(_host(endpoint))

    def _handler(self, identifier: str) -> Handler:
        async def handler(request: Request) -> Response:
            return await self._answer(self._azure.store.require(identifier), request)

        return handler

    async def _answer(self, endpoint: Resource, request: Request) -> Response:
        if request.scheme != "https":
            raise Unreachable("an endpoint takes HTTPS only")
        key = endpoint.hidden.get(KEY)
        if key is None or request.header("authorization") != f"Bearer {key}":
            return text_response(401, "key_auth_access_denied")
        name = request.header(HEADER) or _chosen(shares(endpoint))
        path = f"{endpoint.id}/deployments/{name}"
        deployment, running = self._azure.store.get(path), self._running.get(ids.key(path))
        if not name or deployment is None or running is None:
            return text_response(404, "There is no deployment that could answer.")
        return await self._pass(deployment, running, request)

    async def _pass(
        self, deployment: Resource, running: RunningRevision, request: Request
    ) -> Response:
        settings = deployment.properties.get("requestSettings") or {}
        at_once = int(settings.get("maxConcurrentRequestsPerInstance", 1))
        seconds = int(settings.get("requestTimeout", "PT5S")[2:-1])
        most = WAITING * at_once * deployment.body["sku"]["capacity"]
        if self._in_flight.get(deployment.id, 0) >= most:
            return text_response(429, "Too many requests")
        own = ("authorization", HEADER)
        request.headers = [each for each in request.headers if each[0].lower() not in own]
        self._in_flight[deployment.id] = self._in_flight.get(deployment.id, 0) + 1
        try:
            async with asyncio.timeout(seconds):
                answer = await running.answer(request)
        except TimeoutError:
            return text_response(408, "upstream request timeout")
        finally:
            self._in_flight[deployment.id] -= 1
        answer.headers.append(("azureml-model-deployment", deployment.name))
        if answer.status != 200:
            answer.headers.append(("ms-azureml-model-error-statuscode", str(answer.status)))
            answer.headers.append(("ms-azureml-model-error-reason", "model_error"))
            answer.status = 424
        return answer


def _chosen(shares: Mapping[str, int]) -> str:
    if not shares:
        return ""
    return random.choices(list(shares), list(shares.values()))[0]


def _host(endpoint: Resource) -> str:
    return f"{endpoint.name}.{endpoint.body['location']}.{DOMAIN}"
