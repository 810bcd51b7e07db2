"""Own names of container groups: a CNAME record, and Caddy orders the certificate by itself."""

from __future__ import annotations

import re

from engine.deploy.finding import Certainty, Finding
from engine.deploy.targets.aci.edge import host_pattern
from engine.deploy.targets.aci.environment import GroupEnvironment, Https
from engine.deploy.targets.own_names import OwnNames, Record, ZoneRecords, led_to


class GroupNames(OwnNames):
    """See ``OwnNames``."""

    def __init__(
        self, environment: GroupEnvironment, https: Https, zone: ZoneRecords | None
    ) -> None:
        super().__init__(https, zone)
        self._ours = re.compile(host_pattern(environment))

    def records(self, domain: str, host: str) -> tuple[Record, ...]:
        """See ``OwnNames``."""
        return (Record(domain, "CNAME", host),)

    def look(self, domain: str, host: str) -> Finding | None:
        """See ``OwnNames``: the name has to lead where the address leads."""
        there = led_to(domain)
        if self._ours.fullmatch(there.name) or there.addresses & led_to(host).addresses:
            return None
        told = ", ".join(sorted(there.addresses))
        return Finding(
            "certificate-dns",
            f"{domain} {f'leads to {told}' if told else 'does not resolve'}, and this environment "
            f"is {host}",
            self.told(domain, host),
            Certainty.LIKELY,
        )

    def unbind(self, domain: str) -> None:
        """See ``OwnNames``: nothing was bound."""
