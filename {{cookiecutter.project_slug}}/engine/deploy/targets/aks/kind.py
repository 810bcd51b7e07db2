"""Azure Kubernetes Service: what a service on a cluster needs, allows and costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.deploy.az import Az
from engine.deploy.azure_ids import same
from engine.deploy.bootstrap.inputs import Inputs
from engine.deploy.bootstrap.looks import Tool
from engine.deploy.bootstrap.step import Step
from engine.deploy.monitoring.rule import LogRule, MetricRule
from engine.deploy.targets.aks import alerts, bootstrap, preflight, rules
from engine.deploy.targets.aks.access import access_of
from engine.deploy.targets.aks.client import KubeClient
from engine.deploy.targets.aks.environment import AksEnvironment
from engine.deploy.targets.aks.kubectl import Kubectl
from engine.deploy.targets.aks.target import Aks
from engine.deploy.targets.base import Places, Target
from engine.deploy.targets.kind import Kind, Metrics


class AksKind(Kind[AksEnvironment]):
    """See ``Kind``. Azure measures the machines of a cluster, and not one service on them."""

    environment = AksEnvironment
    resource_type = "Microsoft.ContainerService/managedClusters"
    metrics = Metrics("node_cpu_usage_millicores", 1e3, "node_memory_working_set_bytes")
    rules = rules.RULES
    deploy_role = None
    prices = ()

    def target(self, az: Az, environment: AksEnvironment, places: Places) -> Target:
        """See ``Kind``; all targets of a command share one token, which is asked for once."""
        cluster, namespace = environment.own_cluster, environment.own_namespace
        client = az.kept(
            (cluster.resource_group, cluster.name, namespace),
            lambda: KubeClient(lambda: access_of(az, cluster), namespace),
        )
        return Aks(environment, places, client, lambda: preflight.findings(az, environment))

    def warnings(self, environment: AksEnvironment) -> Iterable[str]:
        """See ``Kind``."""
        return rules.warnings(environment)

    def bootstrap(
        self, inputs: Inputs, stage: str, environment: AksEnvironment
    ) -> tuple[Step, ...]:
        """See ``Kind``."""
        return bootstrap.steps(inputs, stage, environment)

    def tools(self, az: Az, environments: Iterable[AksEnvironment]) -> Mapping[str, Tool]:
        """See ``Kind``: objects of Kubernetes."""
        return {
            "kubectl": Kubectl(
                az, {each.own_cluster.name: each.own_cluster for each in environments}
            )
        }

    def metric_rules(self, environment: AksEnvironment) -> tuple[MetricRule, ...]:
        """See ``Kind``: the log and the service's own metrics say it for each pod."""
        return ()

    def log_rules(self, environment: AksEnvironment) -> tuple[LogRule, ...]:
        """See ``Kind``."""
        return alerts.log_rules(environment)

    def hour(self, environment: AksEnvironment) -> float | None:
        """See ``Kind``: machines are paid, of a size that is the cluster's."""
        return None

    def apart(self, environment: AksEnvironment) -> bool:
        """See ``Kind``: where the cluster is shared."""
        return not same(environment.own_cluster.resource_group, environment.resource_group)

    def unpriced(self, environment: AksEnvironment) -> str:
        """See ``Kind``."""
        return f"what the machines of cluster {environment.own_cluster.name} cost"

    def bill(self, environment: AksEnvironment, hour: float) -> str:
        """See ``Kind``."""
        return f"about ${hour:.3f} an hour per pod"


KIND = AksKind()
