"""The way from an address to a revision: shares of traffic, addresses of revisions, labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..arm.store import Resource
from ..hosts import Hosts, Unreachable
from ..wire import Handler, Request, Response, text_response
from .app_domains import bound
from .app_replicas import RunningRevision

Find = Callable[[str], RunningRevision | None]
GONE = "Error 404 - This Container App is stopped or does not exist."


class Ingress:
    """The front of one app. The store's resource says who gets which share, at every request.

    Args:
        app: the resource; it is read, never changed.
        domain: of its environment.
        find: what runs for the name of a revision.
    """

    def __init__(self, app: Resource, domain: str, hosts: Hosts, find: Find) -> None:
        self._app = app
        self._domain = domain
        self._hosts = hosts
        self._find = find
        self._published: list[str] = []
        self._credit: dict[str, float] = {}

    def address(self, name: str = "") -> str:
        """The host name of the app, or of one of its revisions."""
        return f"{name or self._app.name}.{self._domain}"

    def publish(self, revisions: list[str]) -> None:
        """Have host names answered: the app's, its own ones, its labels', those of revisions."""
        self.withdraw()
        self._publish(self.address(), self._split)
        for name in revisions:
            self._publish(self.address(name), self._to(name))
        for name in bound(self._app):
            self._publish(name, self._split)
        for share in self._traffic():
            if share.get("label"):
                host = f"{self._app.name}---{share['label']}.{self._domain}"
                self._publish(host, self._to(self._name(share)))

    def withdraw(self) -> None:
        """Nothing answers any more."""
        for host in self._published:
            self._hosts.remove(host)
        self._published = []

    def share(self, revision: str) -> int:
        """The per cent of the traffic that a revision gets."""
        return sum(each["weight"] for each in self._traffic() if self._name(each) == revision)

    def _publish(self, host: str, handler: Handler) -> None:
        self._hosts.add(host, handler)
        self._published.append(host)

    async def _split(self, request: Request) -> Response:
        """Every share exactly: who has waited longest for what is due is next."""
        shares: dict[str, int] = {}
        for each in self._traffic():
            if each["weight"]:
                name = self._name(each)
                shares[name] = shares.get(name, 0) + each["weight"]
        if not shares:
            return text_response(404, GONE)
        self._credit = {name: self._credit.get(name, 0) + weight for name, weight in shares.items()}
        chosen = max(self._credit, key=lambda name: self._credit[name])
        self._credit[chosen] -= sum(shares.values())
        return await self._pass(chosen, request)

    def _to(self, name: str) -> Handler:
        async def handler(request: Request) -> Response:
            return await self._pass(name, request)

        return handler

    async def _pass(self, name: str, request: Request) -> Response:
        if request.port not in (80, 443):
            raise Unreachable(f"the ingress of {self._app.name} has the ports 80 and 443 only")
        ingress = self._app.properties["configuration"]["ingress"]
        if request.scheme == "http" and not ingress.get("allowInsecure"):
            location = f"https://{request.host}{request.target}"
            return Response(301, b"", [("location", location)])
        running = self._find(name)
        if running is None:
            return text_response(404, GONE)
        return await running.answer(request)

    def _traffic(self) -> list[dict[str, Any]]:
        ingress = self._app.properties["configuration"].get("ingress") or {}
        return [{"weight": 0, **each} for each in ingress.get("traffic") or []]

    def _name(self, share: dict[str, Any]) -> str:
        if share.get("latestRevision"):
            return str(self._app.properties["latestRevisionName"])
        return str(share["revisionName"])
