"""What an environment file says of a container group, besides what every environment says."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from engine.deploy.config.domains import OwnDomains
from engine.deploy.config.environment import Environment
from engine.deploy.config.kinds import (
    Absent,
    DnsLabel,
    Email,
    HttpsUrl,
    PrivateRange,
    Section,
    SubnetId,
    between,
)
from engine.deploy.config.volumes import Volumes

Reuse = Literal["Unsecure", "TenantReuse", "SubscriptionReuse", "ResourceGroupReuse", "Noreuse"]
RestartPolicy = Literal["Always", "OnFailure", "Never"]
Switch = Literal["in_place", "beside"]


class Dns(Section):
    """The address of a container group: ``<label>[.<hash>].<region>.azurecontainer.io``."""

    label: DnsLabel | None = Field(None, description="Default: the name of the environment.")
    reuse: Reuse = Field(
        "ResourceGroupReuse",
        description="Who may take the label when this group is gone; all but Unsecure put a hash "
        "into the address.",
    )


LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


class Https(OwnDomains):
    """HTTPS on port 443, by a second container in the group that orders certificates."""

    email: Email = Field(description="Who is written to when a certificate is about to end.")
    authority: HttpsUrl = Field(LETS_ENCRYPT, description="The directory of an ACME authority.")


class Network(Section):
    """A subnet for the container group: it has a private address then, and no other."""

    subnet: SubnetId | None = Field(
        None, description="Azure's id of a subnet; default: bootstrap makes a network with one."
    )
    addresses: PrivateRange = Field(
        "10.20.0.0/24", description="Of the network that bootstrap makes."
    )


class GroupEnvironment(Environment):
    """An environment on Azure Container Instances."""

    absent: ClassVar[Absent] = {
        "replicas": (
            "a container group is one container and does not scale",
            "remove it, or write target: containerapps, which scales with the load and to zero",
        )
    }

    allow_retired_gpu: bool = Field(
        False, description="Ask for a GPU although Container Instances has none any more."
    )
    copies: Annotated[int, between(1, 10)] = Field(
        1, description="Container groups behind one name; more than 1 switch as beside does."
    )
    switch: Switch = Field(
        "in_place",
        description="beside: a release is made beside the old one, verified, and switched to by "
        "the name.",
    )
    dns: Dns = Dns()
    https: Https | None = Field(
        None, description="HTTPS with certificates of Let's Encrypt; without it plain HTTP."
    )
    network: Network | None = Field(
        None, description="A private address in a subnet; without it a public one."
    )
    volumes: Volumes = Field(
        (), description="File shares of the environment's storage account, mounted read-only."
    )
    restart_policy: RestartPolicy = "Always"
    container_logs: bool = Field(
        True, description="The container's log goes to the project's Log Analytics workspace."
    )

    @property
    def own_domains(self) -> OwnDomains | None:
        """See ``Environment``."""
        return self.https

    @property
    def mounts(self) -> bool:
        """Whether a container group mounts a file share."""
        return bool(self.volumes) or self.https is not None

    @property
    def beside(self) -> bool:
        """Whether container groups change behind a shared name, and not in place."""
        return self.copies > 1 or self.switch == "beside"

    @property
    def dns_label(self) -> str:
        """The first part of the address."""
        return self.dns.label or self.name
