"""Own names of an environment: the records of DNS that lead to it, and what they need beside.

A record is made where the file names a zone in Azure that holds it; all others a person makes. What
is made here has a mark in its metadata. A record without this mark is never changed.
"""

from __future__ import annotations

import contextlib
import json
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from engine.deploy.az import Az
from engine.deploy.config.domains import OwnDomains, Zone
from engine.deploy.finding import Certainty, Finding
from engine.errors import EngineError

API_VERSION = "2018-05-01"
TTL_SECONDS = 300
Json = dict[str, Any]
_MEMBERS = {"A": "ARecords", "CNAME": "CNAMERecord", "TXT": "TXTRecords"}


@dataclass(frozen=True, slots=True)
class Record:
    """A record of DNS; ``name`` is whole, without a dot at its end."""

    name: str
    kind: Literal["A", "CNAME", "TXT"]
    value: str

    def __str__(self) -> str:
        shown = {"A": self.value, "CNAME": f"{self.value}.", "TXT": f'"{self.value}"'}[self.kind]
        return f"{self.name}. {self.kind} {shown}"

    def properties(self) -> Json:
        """The record set as Azure takes it."""
        value: Any = {
            "A": [{"ipv4Address": self.value}],
            "CNAME": {"cname": self.value},
            "TXT": [{"value": [self.value]}],
        }[self.kind]
        return {"TTL": TTL_SECONDS, _MEMBERS[self.kind]: value}


class ZoneRecords:
    """The records of own names in a DNS zone of Azure.

    Args:
        mark: the metadata of what is made here.
    """

    def __init__(self, az: Az, subscription: str, zone: Zone, mark: Mapping[str, str]) -> None:
        self.zone = zone
        self._az = az
        self._mark = dict(mark)
        self._url = (
            f"/subscriptions/{subscription}/resourceGroups/{zone.resource_group}"
            f"/providers/Microsoft.Network/dnsZones/{zone.name}"
        )

    def lacks(self, record: Record) -> bool:
        """Whether the zone does not say this; another record of the name may be there."""
        found = self._get(record)
        return found is None or record.value not in _values(found)

    def make(self, record: Record) -> Finding | None:
        """Make or change a record; why it was left as it is where somebody else made another.

        Raises:
            AzError: Azure refused.
        """
        found = self._get(record)
        if found is None:
            self._put(record, "If-None-Match=*")
        elif record.value not in _values(found):
            if not self._ours(found):
                return self._taken(record, found)
            self._put(record, f"If-Match={found['etag']}")
        return None

    def remove(self, record: Record) -> None:
        """Remove a record that was made here; any other one stays."""
        found = self._get(record)
        if found is not None and self._ours(found):
            etag = f"If-Match={found['etag']}"
            url = self._at(record)
            self._az.change("rest", "--method", "delete", "--url", url, "--headers", etag)

    def named(self) -> tuple[str, ...]:
        """The names that a record made here leads somewhere, whether a file has them or not."""
        found = []
        for kind in ("A", "CNAME"):
            url: str | None = f"{self._url}/{kind}?api-version={API_VERSION}"
            while url:
                page = self._az.find("rest", "--method", "get", "--url", url) or {}
                found += [str(each["name"]) for each in page.get("value") or [] if self._ours(each)]
                url = page.get("nextLink")
        whole = self.zone.name
        return tuple(whole if name == "@" else f"{name}.{whole}" for name in found)

    def _taken(self, record: Record, found: Json) -> Finding:
        command = (
            f"az network dns record-set {record.kind.lower()} delete --resource-group "
            f"{self.zone.resource_group} --zone-name {self.zone.name} --name "
            f"{self._relative(record)}"
        )
        return Finding(
            "dns-record-taken",
            f"the zone {self.zone.name} has another {record.kind} record of {record.name}, made by "
            f"somebody else: {', '.join(_values(found)) or 'an empty one, or an alias'}",
            f"if nobody needs it, remove it ({command}) and run `up` again; else remove the name "
            "from https.domains",
        )

    def _ours(self, found: Json) -> bool:
        return dict(found["properties"].get("metadata") or {}) == self._mark

    def _get(self, record: Record) -> Json | None:
        found: Json | None = self._az.find("rest", "--method", "get", "--url", self._at(record))
        return found

    def _put(self, record: Record, condition: str) -> None:
        body = {"properties": {**record.properties(), "metadata": self._mark}}
        request = ("rest", "--method", "put", "--url", self._at(record), "--headers", condition)
        self._az.change(*request, "--body", "@-", stdin=json.dumps(body))

    def _at(self, record: Record) -> str:
        path = f"{self._url}/{record.kind}/{self._relative(record)}"
        return f"{path}?api-version={API_VERSION}"

    def _relative(self, record: Record) -> str:
        return record.name.removesuffix(self.zone.name).rstrip(".") or "@"


def _values(found: Json) -> list[str]:
    """What a record set of Azure's says."""
    properties = found["properties"]
    values = [str(each["ipv4Address"]) for each in properties.get("ARecords") or []]
    values += ["".join(each["value"]) for each in properties.get("TXTRecords") or []]
    if named := (properties.get("CNAMERecord") or {}).get("cname"):
        values.append(str(named).rstrip(".").lower())
    return values


class OwnNames(ABC):
    """The own names of one environment. ``host`` is the name that Azure gave to it."""

    def __init__(self, given: OwnDomains, zone: ZoneRecords | None) -> None:
        self.domains = given.domains
        self._zone = zone

    @abstractmethod
    def records(self, domain: str, host: str) -> tuple[Record, ...]:
        """The records that a name needs."""

    @abstractmethod
    def look(self, domain: str, host: str) -> Finding | None:
        """What is wrong with a name as seen from outside; None: nothing."""

    def bind(self, domain: str, host: str, patience: float) -> Finding | None:
        """Do what a name needs once its records are there; why it is not done yet."""
        return None if self.in_zone(domain) else self.look(domain, host)

    @abstractmethod
    def unbind(self, domain: str) -> None:
        """Undo ``bind``."""

    def bound(self) -> tuple[str, ...]:
        """The names that ``bind`` bound, whether the file has them or not."""
        return ()

    def made(self) -> tuple[str, ...]:
        """The names that a deploy of this environment made, whether the file has them or not.

        Raises:
            AzError: Azure refused.
        """
        return tuple(dict.fromkeys((*(self._zone.named() if self._zone else ()), *self.bound())))

    def in_zone(self, domain: str) -> bool:
        """Whether the records of a name are made here."""
        return self._zone is not None and self._zone.zone.covers(domain)

    def plan(self, host: str) -> Iterator[str]:
        """The records, and who makes them, a line each."""
        for domain in self.domains:
            who = "you make it, or https.zone names a zone in Azure"
            if self._zone is not None and self.in_zone(domain):
                who = f"made in the zone {self._zone.zone.name}"
            yield from (f"{record} ({who})" for record in self.records(domain, host))
        with contextlib.suppress(EngineError):  # `up` says it
            for domain in self._dropped():
                yield f"{domain} (not in the file any more: given up)"

    def make(self, host: str, patience: float) -> Iterator[Finding]:
        """Make what can be made; what is left. ``patience``: seconds for a certificate.

        A name that is not in the file any more is given up.
        """
        told = False
        for domain in self.domains:
            try:
                found = self._make_records(domain, host) or self.bind(domain, host, patience)
            except EngineError as error:
                found = Finding("own-name", f"{domain} is not ready: {error.cause}", error.fix)
            if found is not None:
                told = True
                yield found
        try:
            for domain in self._dropped():
                self._undo(domain)
        except EngineError as error:
            if not told:
                cause = f"a name that is not in the file any more may be left: {error.cause}"
                yield Finding("own-name", cause, error.fix, Certainty.POSSIBLE)

    def findings(self, host: str) -> Iterator[Finding]:
        """What is wrong; changes nothing."""
        for domain in self.domains:
            try:
                found = self._look_at_zone(domain, host) or self.look(domain, host)
            except EngineError as error:
                cause = f"{domain} could not be looked at: {error.cause}"
                found = Finding("own-name", cause, error.fix, Certainty.POSSIBLE)
            if found is not None:
                yield found

    def remove(self) -> None:
        """Undo what ``make`` did.

        Raises:
            AzError: Azure refused.
        """
        for domain in dict.fromkeys((*self.domains, *self.made())):
            self._undo(domain)

    def _dropped(self) -> list[str]:
        return [each for each in self.made() if each not in self.domains]

    def _undo(self, domain: str) -> None:
        self.unbind(domain)
        if self._zone is not None and self.in_zone(domain):
            for record in self.records(domain, ""):
                self._zone.remove(record)

    def _make_records(self, domain: str, host: str) -> Finding | None:
        if self._zone is None or not self.in_zone(domain):
            return None
        made = [self._zone.make(record) for record in self.records(domain, host)]
        return next(filter(None, made), None)

    def _look_at_zone(self, domain: str, host: str) -> Finding | None:
        if self._zone is None or not self.in_zone(domain):
            return None
        for record in self.records(domain, host):
            if self._zone.lacks(record):
                return Finding(
                    "certificate-dns",
                    f"the zone {self._zone.zone.name} has no record {record}",
                    "`up` makes it, and says what prevents it",
                    Certainty.LIKELY,
                )
        return None

    def told(self, domain: str, host: str) -> str:
        """What a person does about the records of a name."""
        if self._zone is not None and self.in_zone(domain):
            return (
                f"the zone {self._zone.zone.name} says so already: new records take minutes, and "
                "the registrar of the domain has to name the zone's name servers (az network dns "
                f"zone show --resource-group {self._zone.zone.resource_group} --name "
                f"{self._zone.zone.name} --query nameServers)"
            )
        return "make the record: " + ", and ".join(map(str, self.records(domain, host)))


@dataclass(frozen=True, slots=True)
class Answer:
    """What DNS says of a name: where its CNAME records end, and the addresses."""

    name: str = ""
    addresses: frozenset[str] = frozenset()


def led_to(host: str) -> Answer:
    """Ask DNS for a name."""
    try:
        found = socket.getaddrinfo(host, None, flags=socket.AI_CANONNAME)
    except (OSError, UnicodeError):
        return Answer()
    name = next((each[3] for each in found if each[3]), "").rstrip(".").lower()
    return Answer(name, frozenset(str(each[4][0]) for each in found))
