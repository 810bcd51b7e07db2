"""What an environment file says of a service on Kubernetes, besides what every environment says."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from engine.deploy.config.environment import Environment
from engine.deploy.config.kinds import Absent, Domain, GroupName, ResourceGroup, Section, between


class Cluster(Section):
    """The cluster, which bootstrap makes where it is not there."""

    name: GroupName
    resource_group: ResourceGroup


class Replicas(Section):
    """How many pods run."""

    min: Annotated[int, between(1, 1000)] = Field(1, description="Pods that always run.")
    max: Annotated[int, between(1, 1000)] = Field(1, description="Most pods under load.")
    cpu_percent: Annotated[int, between(1, 100)] = Field(
        70, description="Above this share of their CPU another pod is started."
    )


class AksEnvironment(Environment):
    """An environment on Azure Kubernetes Service."""

    absent: ClassVar[Absent] = {
        "dns": ("the address of a service comes from the cluster's gateway", "remove it"),
        "container_logs": ("the cluster sends the logs of its pods", "remove it"),
        "restart_policy": (
            "a Deployment always starts a container again that has ended",
            "remove the line",
        ),
        "copies": (
            "a Deployment has pods behind one name by itself",
            "write replicas: {min: 2, max: 2} instead of copies: 2",
        ),
        "switch": ("a release is always verified beside the old one", "remove the line"),
        "allow_retired_gpu": ("Kubernetes has GPUs: t4 and a100", "remove the line"),
    }

    cluster: Cluster | None = Field(
        None, description="Default: one of its own, NAME-cluster in resource_group."
    )
    namespace: GroupName | None = Field(None, description="Default: the environment's name.")
    replicas: Replicas = Replicas()
    host: Domain | None = Field(None, description="A name of your own that leads to the gateway.")
    gpu_pool: GroupName = Field("gpu", description="The node pool with GPUs, where gpu is set.")
    replace: bool = Field(
        False,
        description="With a GPU: the old release ends before the new one starts, with a gap; for "
        "a pool that has no free GPU.",
    )

    @property
    def own_cluster(self) -> Cluster:
        """The cluster that this environment is in."""
        given = Cluster(name=f"{self.name}-cluster", resource_group=self.resource_group)
        return self.cluster or given

    @property
    def own_namespace(self) -> str:
        """Of all objects of this environment."""
        return self.namespace or self.name
