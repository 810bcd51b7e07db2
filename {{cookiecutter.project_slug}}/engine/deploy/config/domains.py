"""Own names of an environment, and the DNS zone in Azure that holds their records."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from engine.deploy.config.kinds import Domain, ResourceGroup, Section

Domains = Annotated[tuple[Domain, ...], Field(strict=False)]


class Zone(Section):
    """A DNS zone of Azure, in the subscription of the environment."""

    name: Domain = Field(description="The name of the zone, such as example.org.")
    resource_group: ResourceGroup = Field(description="The resource group that the zone is in.")

    def covers(self, name: str) -> bool:
        """Whether records of a name belong into this zone."""
        return name == self.name or name.endswith(f".{self.name}")


class OwnDomains(Section):
    """What the files of all targets say of own names."""

    domains: Domains = Field(
        (), description="Own names, besides the address; each is a CNAME record to it."
    )
    zone: Zone | None = Field(
        None, description="DNS zone in Azure in which the records of own names are made."
    )
