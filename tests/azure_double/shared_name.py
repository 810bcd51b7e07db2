"""A shared name of Traffic Manager as its clients see it: an endpoint's name, kept for the TTL.

Traffic Manager answers questions of DNS and sees no request. All clients of the double's proxy use
one resolver, which keeps an answer for as long as its TTL says; so a change of the profile is seen
late, and until then requests go where they went before. The client's Host header is passed on.

A connection that is kept alive asks no DNS: it leads where it was opened to, whatever the profile
says since. When what is there ends, the connection is closed, and a client opens another one.

An endpoint is probed when its name is asked for and its last probe is older than the interval:
without clients nobody would see the difference.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from weakref import WeakKeyDictionary

from .arm.store import Resource
from .hosts import Hosts, Unreachable
from .wire import DropConnection, Request, Response

CHECKING, ONLINE, DEGRADED, DISABLED = "CheckingEndpoint", "Online", "Degraded", "Disabled"
_OK = 200
_Json = dict[str, Any]


class SharedName:
    """One name. ``lookups`` are the endpoints that were answered, the oldest first.

    Args:
        profile: the resource; its body is read at every question.
        hosts: who answers for the endpoints' targets.
        clock: seconds.
        chosen: picks one of several by weight; a random one by default.
    """

    def __init__(
        self,
        profile: Resource,
        hosts: Hosts,
        clock: Callable[[], float] = time.monotonic,
        choose: Callable[[list[_Json], list[int]], _Json] | None = None,
    ) -> None:
        self._profile = profile
        self._hosts = hosts
        self._clock = clock
        self._choose = choose or _weighted
        self._kept: tuple[float, str] = (float("-inf"), "")
        self._failures: dict[str, int] = {}
        self._probed: dict[str, float] = {}
        self._opened: WeakKeyDictionary[object, str] = WeakKeyDictionary()
        self.lookups: list[str] = []

    def changed(self, profile: Resource) -> None:
        """The profile was written; what the resolver has kept stays until its time is over."""
        self._profile = profile
        targets = {each["properties"]["target"].lower() for each in self._endpoints()}
        for known in (self._failures, self._probed):
            for target in known.keys() - targets:
                del known[target]

    def states(self) -> dict[str, str]:
        """The monitor status of each endpoint by its name."""
        return {each["name"]: self._state(each) for each in self._endpoints()}

    async def answer(self, request: Request) -> Response:
        """Pass a request to the endpoint that its connection leads to, or the name does now.

        Raises:
            Unreachable: the name has no answer, or nobody has the target's name any more.
            DropConnection: what the connection has led to is gone.
        """
        opened = self._opened.get(request.connection) if request.connection else None
        target = opened or await self._resolved()
        handler = self._hosts.find(target)
        try:
            if handler is None:
                raise Unreachable(f"{request.host} leads to {target}, which does not exist")
            answer = await handler(request)
        except Unreachable:
            if opened:
                raise DropConnection from None
            raise
        if request.connection is not None:
            self._opened[request.connection] = target
        return answer

    async def tunnel(self, port: int) -> tuple[str, int] | None:
        """Where TLS to the name goes: to the endpoint that DNS answers."""
        try:
            target = await self._resolved()
        except Unreachable:
            return None
        there = self._hosts.tunnel(target)
        return await there(port) if there else None

    async def _resolved(self) -> str:
        until, target = self._kept
        if self._clock() < until:
            return target
        properties = self._profile.body["properties"]
        possible = [each for each in self._endpoints() if enabled(each)]
        if properties["profileStatus"] != "Enabled" or not possible:
            raise Unreachable("the name does not resolve: no endpoint is enabled")
        for each in possible:
            await self._probe(each)
        # Azure docs, endpoint monitoring: if all are degraded, all are answered.
        good = [each for each in possible if self._state(each) != DEGRADED] or possible
        chosen = self._choose(good, [each["properties"]["weight"] for each in good])
        target = str(chosen["properties"]["target"]).lower()
        self._kept = (self._clock() + properties["dnsConfig"]["ttl"], target)
        self.lookups.append(chosen["name"])
        return target

    async def _probe(self, endpoint: _Json) -> None:
        target = endpoint["properties"]["target"].lower()
        monitor = self._profile.body["properties"]["monitorConfig"]
        if self._clock() < self._probed.get(target, float("-inf")) + monitor["intervalInSeconds"]:
            return
        self._probed[target] = self._clock()
        handler = self._hosts.find(target)
        headers = [("host", target), ("user-agent", "Azure Traffic Manager Endpoint Monitor")]
        place = ("GET", "http", target, monitor["port"], monitor["path"])
        try:
            answer = await handler(Request(*place, headers, _nothing())) if handler else None
            good = answer is not None and answer.status == _OK
            if answer is not None and not isinstance(answer.body, bytes):
                async for _ in answer.body:
                    pass
        except Unreachable:
            good = False
        self._failures[target] = 0 if good else self._failures.get(target, 0) + 1

    def _state(self, endpoint: _Json) -> str:
        if not enabled(endpoint):
            return DISABLED
        failures = self._failures.get(endpoint["properties"]["target"].lower())
        if failures is None:
            return CHECKING
        monitor = self._profile.body["properties"]["monitorConfig"]
        return DEGRADED if failures > monitor["toleratedNumberOfFailures"] else ONLINE

    def _endpoints(self) -> list[_Json]:
        found: list[_Json] = self._profile.body["properties"]["endpoints"]
        return found


def enabled(endpoint: _Json) -> bool:
    """Whether Traffic Manager may answer with it."""
    return bool(endpoint["properties"]["endpointStatus"] == "Enabled")


def _weighted(endpoints: list[_Json], weights: list[int]) -> _Json:
    return random.choices(endpoints, weights)[0]


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
