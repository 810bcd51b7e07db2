"""Microsoft.Network: DNS zones with records of the types A, CNAME and TXT; and all other DNS.

Strict to the specification of 2018-05-01 (dns.json) and to RFC 1034, 3.6.2: a name with a CNAME has
no other record, and the name of a zone can have none.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from ..arm.azure import Azure, ControlHandler
from ..arm.call import Answer, Call, lister, remove, show
from ..arm.errors import ArmError
from ..arm.routes import ResourceType, Route
from ..arm.store import Resource
from ..shape import check

NAMESPACE = "Microsoft.Network"
ZONES = f"{NAMESPACE}/dnsZones"
VERSIONS = frozenset({"2018-05-01", "2023-07-01-preview"})
"""The newest stable one, and the one that az 2.91 sends."""
KINDS: dict[str, dict[str, Any]] = {
    "A": {"ARecords?": [{"ipv4Address": str}]},
    "CNAME": {"CNAMERecord?": {"cname": str}},
    "TXT": {"TXTRecords?": [{"value": [str]}]},
}


class Zones:
    """The calls on zones and record sets."""

    def __init__(self, azure: Azure) -> None:
        self.azure = azure
        self.zones = ResourceType(NAMESPACE, "dnsZones", VERSIONS)
        self.sets = {kind: ResourceType(NAMESPACE, f"dnsZones/{kind}", VERSIONS) for kind in KINDS}

    def types(self) -> Iterable[ResourceType]:
        """Zones, and a type for each kind of record."""
        return (self.zones, *self.sets.values())

    def routes(self) -> Iterable[Route]:
        """Zones and record sets: put, get, list and delete."""
        yield self.zones.put(self.put_zone)
        yield self.zones.get(show)
        yield self.zones.list(lister(ZONES))
        yield self.zones.delete(remove)
        yield self.zones.below("GET", "recordsets", self.list_sets, "recordsets/read")
        for each in self.sets.values():
            yield each.put(self.put)
            yield each.get(show)
            yield each.list(lister(each.name))
            yield each.delete(self.delete)

    def control(self) -> Mapping[str, ControlHandler]:
        """``dns.elsewhere``: records that no zone of Azure's has, ``{"name": {"A": ["…"]}}``."""
        return {"dns.elsewhere": self._elsewhere}

    async def put_zone(self, call: Call) -> Answer:
        """Make a zone."""
        if str(call.body.get("location")).lower() != "global":
            raise _bad("The location of a DNS zone must be 'global'.")
        name = call.values["name"]
        servers = [f"ns{number}-01.azure-dns.example." for number in (1, 2)]
        properties = {"nameServers": servers, "zoneType": "Public"}
        body = {"location": "global", "tags": call.body.get("tags") or {}, "properties": properties}
        existing = self.azure.store.get(call.id)
        made = self.azure.store.put(call.id, {**body, "name": name})
        return Answer(200 if existing else 201, made.shown())

    async def list_sets(self, call: Call) -> Answer:
        """All record sets of a zone."""
        found = [
            each
            for kind in self.sets.values()
            for each in self.azure.store.list(kind.name, call.id)
        ]
        return Answer(200, {"value": [each.shown() for each in found]})

    async def put(self, call: Call) -> Answer:
        """Make or replace a record set."""
        kind = call.id.split("/")[-2]
        shape = {"TTL": int, "metadata?": {"*": str}, **KINDS[kind]}
        check(call.body, {"properties": shape, "etag?": str})
        zone = self.azure.store.require(call.id.rpartition(f"/{kind}/")[0])
        existing = self.azure.store.get(call.id)
        _require(call, existing)
        self._check_alone(zone, kind, call.values["name"])
        if not 1 <= call.body["properties"]["TTL"] <= 2**31 - 1:
            raise _bad("The value of 'TTL' must be between 1 and 2147483647.")
        fqdn = f"{_whole(call.values['name'], zone.name)}."
        properties = {**call.body["properties"], "fqdn": fqdn, "provisioningState": "Succeeded"}
        made = self.azure.store.put(call.id, {"etag": str(uuid.uuid4()), "properties": properties})
        return Answer(200 if existing else 201, made.shown())

    async def delete(self, call: Call) -> Answer:
        """Delete a record set, if it is the one that is meant."""
        _require(call, self.azure.store.get(call.id))
        return await remove(call)

    def _check_alone(self, zone: Resource, kind: str, name: str) -> None:
        if kind == "CNAME" and name == "@":
            raise _bad("A CNAME record set cannot be created at the zone apex.")
        for other in KINDS:
            clash = other != kind and "CNAME" in (other, kind)
            if clash and self.azure.store.get(f"{zone.id}/{other}/{name}"):
                raise _bad(
                    f"The record set '{name}' of type {kind} cannot be created: a record set of "
                    f"type {other} with the same name exists, and a CNAME excludes all others."
                )

    async def _elsewhere(self, given: dict[str, Any]) -> None:
        self.azure.elsewhere.update(given)


def lookup(azure: Azure, name: str, kind: str) -> list[str]:
    """What DNS says of a name: the values of its records of one type."""
    name = name.lower()
    zones = [each for each in azure.store.list(ZONES) if f".{name}".endswith(f".{each.name}")]
    for zone in sorted(zones, key=lambda each: len(each.name), reverse=True)[:1]:
        relative = name.removesuffix(zone.name).rstrip(".") or "@"
        found = azure.store.get(f"{zone.id}/{kind}/{relative}")
        return _values(found.properties) if found else []
    return list(azure.elsewhere.get(name, {}).get(kind, []))


def _values(properties: Mapping[str, Any]) -> list[str]:
    values = [each["ipv4Address"] for each in properties.get("ARecords") or []]
    values += ["".join(each["value"]) for each in properties.get("TXTRecords") or []]
    named = (properties.get("CNAMERecord") or {}).get("cname")
    return [*values, *([named] if named else [])]


def _require(call: Call, existing: Resource | None) -> None:
    """The conditions of RFC 9110, 13.1."""
    etag = existing.body["etag"] if existing else None
    none, match = call.headers.get("if-none-match"), call.headers.get("if-match")
    if (none == "*" and existing) or (match and match not in ("*", etag)):
        raise ArmError(412, "PreconditionFailed", "The condition of the request is not met.")


def _whole(relative: str, zone: str) -> str:
    return zone if relative == "@" else f"{relative}.{zone}"


def _bad(message: str) -> ArmError:
    return ArmError(400, "BadRequest", message)
