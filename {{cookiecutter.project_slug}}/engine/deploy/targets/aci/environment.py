"""What an environment file says of a container group, besides what every environment says."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from engine.deploy.config.environment import Environment
from engine.deploy.config.kinds import Absent, DnsLabel, Section

Reuse = Literal["Unsecure", "TenantReuse", "SubscriptionReuse", "ResourceGroupReuse", "Noreuse"]
RestartPolicy = Literal["Always", "OnFailure", "Never"]


class Dns(Section):
    """The address of a container group: ``<label>[.<hash>].<region>.azurecontainer.io``."""

    label: DnsLabel | None = Field(None, description="Default: the name of the environment.")
    reuse: Reuse = Field(
        "ResourceGroupReuse",
        description="Who may take the label when this group is gone; all but Unsecure put a hash "
        "into the address.",
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
    dns: Dns = Dns()
    restart_policy: RestartPolicy = "Always"
    container_logs: bool = Field(
        True, description="The container's log goes to the project's Log Analytics workspace."
    )

    @property
    def dns_label(self) -> str:
        """The first part of the address."""
        return self.dns.label or self.name
