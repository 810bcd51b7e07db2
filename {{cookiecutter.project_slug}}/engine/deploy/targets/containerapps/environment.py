"""What an environment file says of an app, besides what every environment says."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from engine.deploy.config.domains import OwnDomains
from engine.deploy.config.environment import Environment
from engine.deploy.config.kinds import Absent, Section, between
from engine.deploy.config.volumes import Volumes


class Replicas(Section):
    """How many copies run."""

    min: Annotated[int, between(0, 1000)] = Field(1, description="0: scale to zero when idle.")
    max: Annotated[int, between(1, 1000)] = Field(1, description="Most copies under load.")
    concurrent_requests: Annotated[int, between(1, 10_000)] = Field(
        20, description="Requests at the same time for each copy before another one is started."
    )


class Https(OwnDomains):
    """Own names; the address of an app has HTTPS in any case."""

    absent: ClassVar[Absent] = {
        "email": ("Azure renews the certificates of an app by itself", "remove the line"),
        "authority": ("Azure chooses the authority of an app's certificates", "remove the line"),
    }


class AppEnvironment(Environment):
    """An environment on Azure Container Apps."""

    absent: ClassVar[Absent] = {
        "dns": ("the address of an app comes from its environment in Azure", "remove it"),
        "container_logs": (
            "the Container Apps environment sends the logs of its apps, always",
            "remove it",
        ),
        "restart_policy": (
            "Container Apps always starts a container again that has ended",
            "remove the line",
        ),
        "copies": (
            "an app has replicas behind one name by itself",
            "write replicas: {min: 2, max: 2} instead of copies: 2",
        ),
        "switch": (
            "Container Apps always verifies a release beside the old one",
            "remove the line",
        ),
        "network": (
            "the network of an app is that of its Container Apps environment, chosen when that is "
            "made",
            "write target: aci for a private address, or remove the line",
        ),
        "allow_retired_gpu": ("Container Apps has GPUs: t4 and a100", "remove the line"),
    }

    replicas: Replicas = Replicas()
    https: Https | None = Field(None, description="Own names, with certificates of Azure's.")
    volumes: Volumes = Field(
        (), description="File shares of the environment's storage account, mounted read-only."
    )

    @property
    def own_domains(self) -> OwnDomains | None:
        """See ``Environment``."""
        return self.https
