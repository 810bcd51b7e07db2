"""Microsoft.Network: Traffic Manager profiles, whose shared names the double's proxy answers.

What Azure takes is in `profile_rules`, how clients see a name in `shared_name`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from ..arm.azure import Azure, ControlHandler, Provider
from ..arm.call import Answer, Call, demand, lister, remove
from ..arm.errors import ArmError, not_modelled
from ..arm.routes import ResourceType, Route
from ..arm.store import Resource
from ..profile_rules import EXTERNAL, PROFILE, TYPE, bad, check_rules, check_tags
from ..shape import check
from ..shared_name import CHECKING, DEGRADED, SharedName, enabled
from .dns import Zones
from .networks import Networks

NAMESPACE = "Microsoft.Network"
DOMAIN = "trafficmanager.net"
VERSIONS = frozenset({"2022-04-01", "2026-09-01"})
"""The newest stable one with examples in the specification, and the one that az 2.91 sends."""


class TrafficManager(Provider):
    """Profiles; each publishes ``<relativeName>.trafficmanager.net`` as long as it exists."""

    namespace = NAMESPACE

    def __init__(self, azure: Azure) -> None:
        super().__init__(azure)
        self.profiles = ResourceType(
            NAMESPACE, "trafficManagerProfiles", VERSIONS, on_delete=self._withdraw
        )
        self._zones = Zones(azure)
        self._networks = Networks(azure)
        self._names: dict[str, SharedName] = {}

    def types(self) -> Iterable[ResourceType]:
        """Profiles, and what DNS zones and networks consist of."""
        return (self.profiles, *self._zones.types(), *self._networks.types())

    def routes(self) -> Iterable[Route]:
        """Put, patch, get, delete and list, and whether a name is free."""
        yield from self._zones.routes()
        yield from self._networks.routes()
        profiles = self.profiles
        yield profiles.put(self.put)
        yield profiles.patch(self.patch)
        yield profiles.get(self.show)
        yield profiles.delete(remove)
        yield profiles.list(lister(profiles.name))
        yield Route(
            "POST",
            f"/providers/{NAMESPACE}/checkTrafficManagerNameAvailability",
            self.is_free,
            "",
            TYPE,
            VERSIONS,
        )

    def control(self) -> Mapping[str, ControlHandler]:
        """``tm.lookups``: which endpoint each answer of a shared name led to, oldest first; and
        those of DNS zones.
        """
        return {"tm.lookups": self._lookups, **self._zones.control()}

    async def reset(self) -> None:
        """No shared name answers any more."""
        for name in list(self._names):
            self.azure.hosts.remove(name)
        self._names.clear()

    async def put(self, call: Call) -> Answer:
        """Create or replace, with all endpoints at once."""
        check(call.body, PROFILE)
        check_rules(call.body)
        host = _host(call.body)
        existing = self.azure.store.get(call.id)
        self._require_free(host, existing)
        if existing and _host(existing.body) != host:
            raise bad("The property 'properties.dnsConfig.relativeName' cannot be changed.")
        body = _shown(call.body, call.id, host)
        resource = self.azure.store.put(call.id, body)
        if host not in self._names:
            self._names[host] = SharedName(resource, self.azure.hosts)
            name = self._names[host]
            self.azure.hosts.add(host, name.answer, name.tunnel)
        self._names[host].changed(resource)
        return Answer(200 if existing else 201, self._status(resource))

    async def patch(self, call: Call) -> Answer:
        """Change the tags, as a whole; of other changes in part no page says what they merge."""
        if set(call.body) != {"tags"}:
            raise not_modelled("a PATCH of anything but the tags of a Traffic Manager profile")
        check(call.body, {"tags": {"*": str}})
        check_tags(call.body["tags"])
        resource = call.resource()
        resource.body["tags"] = dict(call.body["tags"])
        return Answer(200, self._status(resource))

    async def show(self, call: Call) -> Answer:
        """The profile with what its probes found."""
        return Answer(200, self._status(call.resource()))

    async def is_free(self, call: Call) -> Answer:
        """Whether nobody has a name yet; names are shared by all of Azure."""
        name = str(demand(call.body, "name")).lower()
        if str(demand(call.body, "type")).lower() != TYPE.lower():
            raise bad(f"The type '{call.body['type']}' is not supported.")
        planned = self.azure.faults.take("tm.name-taken", name)
        taken = planned is not None or f"{name}.{DOMAIN}" in self._names
        reason = {"reason": "AlreadyExists"} if taken else {}
        return Answer(200, {"name": name, "type": TYPE, "nameAvailable": not taken, **reason})

    def _require_free(self, host: str, existing: Resource | None) -> None:
        planned = self.azure.faults.take("tm.name-taken", host.partition(".")[0])
        if planned is not None or (host in self._names and existing is None):
            raise ArmError(
                409,
                "Conflict",
                f"Domain name {host} already exists. Please choose a different DNS prefix.",
            )

    def _status(self, resource: Resource) -> dict[str, Any]:
        shown = resource.shown()
        properties = shown["properties"]
        found = self._names[_host(resource.body)].states()
        for each in properties["endpoints"]:
            each["properties"]["endpointMonitorStatus"] = found[each["name"]]
        properties["monitorConfig"]["profileMonitorStatus"] = _profile_state(properties, found)
        return shown

    async def _withdraw(self, resource: Resource) -> None:
        host = _host(resource.body)
        self._names.pop(host, None)
        self.azure.hosts.remove(host)

    async def _lookups(self, values: dict[str, Any]) -> Any:
        return self._names[values["host"]].lookups


def _host(body: Mapping[str, Any]) -> str:
    label: str = body["properties"]["dnsConfig"]["relativeName"]
    return f"{label.lower()}.{DOMAIN}"


def _shown(sent: dict[str, Any], identifier: str, host: str) -> dict[str, Any]:
    """What was sent, with defaults and what only Azure says."""
    body = copy.deepcopy(sent)
    properties = body["properties"]
    body["tags"] = body.get("tags") or {}
    properties.setdefault("profileStatus", "Enabled")
    properties["dnsConfig"] |= {"fqdn": host, "ttl": properties["dnsConfig"].get("ttl", 60)}
    monitor = properties["monitorConfig"]
    monitor.setdefault("intervalInSeconds", 30)
    monitor.setdefault("timeoutInSeconds", 10 if monitor["intervalInSeconds"] == 30 else 9)
    monitor.setdefault("toleratedNumberOfFailures", 3)
    properties.setdefault("trafficViewEnrollmentStatus", "Disabled")
    properties["endpoints"] = [
        {
            "id": f"{identifier}/externalEndpoints/{each['name']}",
            "name": each["name"],
            "type": EXTERNAL,
            "properties": {
                "endpointStatus": "Enabled",
                "weight": 1,
                "priority": position,
                **each["properties"],
            },
        }
        for position, each in enumerate(properties.get("endpoints") or [], 1)
    ]
    return body


def _profile_state(properties: Mapping[str, Any], found: Mapping[str, str]) -> str:
    if properties["profileStatus"] == "Disabled":
        return "Disabled"
    states = [found[each["name"]] for each in properties["endpoints"] if enabled(each)]
    if not states:
        return "Inactive"
    if CHECKING in states:
        return "CheckingEndpoints"
    return DEGRADED if DEGRADED in states else "Online"
