"""Azure Machine Learning: what an endpoint needs, measures, allows and costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from engine.deploy.az import Az
from engine.deploy.bootstrap.inputs import Inputs
from engine.deploy.bootstrap.price import HOURS_A_MONTH
from engine.deploy.bootstrap.step import Step
from engine.deploy.monitoring.rule import MetricRule
from engine.deploy.targets.azureml import bootstrap, rules, sizes
from engine.deploy.targets.azureml.environment import EndpointEnvironment
from engine.deploy.targets.azureml.target import OnlineEndpoint
from engine.deploy.targets.base import Places, Target
from engine.deploy.targets.kind import Kind, Metrics


class OnlineEndpointKind(Kind[EndpointEnvironment]):
    """See ``Kind``."""

    environment = EndpointEnvironment
    resource_type = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
    metrics = Metrics("CpuUtilizationPercentage", 100.0, "CpuMemoryUtilizationPercentage")
    rules = rules.RULES
    deploy_role = bootstrap.ROLE
    prices = (sizes.HOUR,)
    has_key = True

    def target(self, az: Az, environment: EndpointEnvironment, places: Places) -> Target:
        """See ``Kind``."""
        return OnlineEndpoint(az, environment, places)

    def resource(self, environment: EndpointEnvironment, name: str) -> str:
        """See ``Kind``: an endpoint is in a workspace."""
        provider, outer, inner = self.resource_type.split("/")
        return f"{provider}/{outer}/{environment.workspace_name}/{inner}/{name}"

    def measured(self, environment: EndpointEnvironment) -> Metrics:
        """See ``Kind``: Azure measures shares of an instance."""
        size = sizes.size_of(environment)
        if size is None:
            return self.metrics
        one_percent = size.memory_gb * 1e9 / 100
        return replace(self.metrics, per_core=100.0 / size.cores, memory_bytes=one_percent)

    def warnings(self, environment: EndpointEnvironment) -> Iterable[str]:
        """See ``Kind``."""
        return rules.warnings(environment)

    def providers(self, environment: EndpointEnvironment) -> tuple[str, ...]:
        """See ``Kind``."""
        return (self.provider, *(() if environment.workspace else bootstrap.PROVIDERS))

    def bootstrap(
        self, inputs: Inputs, stage: str, environment: EndpointEnvironment
    ) -> tuple[Step, ...]:
        """See ``Kind``."""
        return bootstrap.steps(inputs, stage, environment)

    def metric_rules(self, environment: EndpointEnvironment) -> tuple[MetricRule, ...]:
        """See ``Kind``: Azure measures a deployment, and each release has its own."""
        return ()

    def hour(self, environment: EndpointEnvironment) -> float | None:
        """See ``Kind``."""
        size = sizes.size_of(environment)
        return size.cores * sizes.HOUR.dollars if size and size.family == "Fs_v2" else None

    def bill(self, environment: EndpointEnvironment, hour: float) -> str:
        """See ``Kind``."""
        month = hour * environment.instances * HOURS_A_MONTH
        size = sizes.size_of(environment)
        return (
            f"about ${hour:.3f} an hour for each {size.name if size else 'instance'}; "
            f"{environment.instances} always run: ${month:.0f} a month, and twice as many during "
            "a rollout"
        )


KIND = OnlineEndpointKind()
