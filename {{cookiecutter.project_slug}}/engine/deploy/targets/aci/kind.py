"""Container Instances: what a container group needs, measures, allows and costs."""

from __future__ import annotations

from collections.abc import Iterable

from engine.deploy.az import Az
from engine.deploy.bootstrap.price import HOURS_A_MONTH, RETAIL, Price
from engine.deploy.bootstrap.role import Role
from engine.deploy.monitoring.rule import (
    ERROR,
    MEMORY_SHARE,
    STARTS,
    WARNING,
    LogRule,
    MetricRule,
)
from engine.deploy.targets.aci import diagnosis, rules
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.aci.target import ContainerInstances
from engine.deploy.targets.base import Places, Target
from engine.deploy.targets.kind import Kind, Metrics

CPU = Price(0.0405, "vCPU and hour", RETAIL, "2026-08-27")
MEMORY = Price(0.00445, "GB and hour", RETAIL, "2026-08-27")


class ContainerInstancesKind(Kind[GroupEnvironment]):
    """See ``Kind``."""

    environment = GroupEnvironment
    resource_type = "Microsoft.ContainerInstance/containerGroups"
    metrics = Metrics("CpuUsage", 1e3, "MemoryUsage")
    rules = rules.RULES
    deploy_role = Role(
        "Azure Container Instances Contributor Role", "5d977122-f97e-4b4d-a52f-6b43003ddb4d"
    )
    prices = (CPU, MEMORY)
    takes_workspace = True
    diagnoses = diagnosis.RULES

    def target(self, az: Az, environment: GroupEnvironment, places: Places) -> Target:
        """See ``Kind``."""
        return ContainerInstances(az, environment, places)

    def warnings(self, environment: GroupEnvironment) -> Iterable[str]:
        """See ``Kind``."""
        return rules.warnings(environment)

    def log_rules(self, environment: GroupEnvironment) -> tuple[LogRule, ...]:
        """See ``Kind``: Azure has no metric of restarts here."""
        if not self.sends_log(environment):
            return ()
        return (
            LogRule(
                "Restarting",
                "restarting",
                f"The container was started more than {STARTS} times in half an hour.",
                ERROR,
                column="Starts",
                over=STARTS,
                minutes=30,
            ),
        )

    def sends_log(self, environment: GroupEnvironment) -> bool:
        """See ``Kind``."""
        return environment.container_logs

    def metric_rules(self, environment: GroupEnvironment) -> tuple[MetricRule, ...]:
        """See ``Kind``."""
        share = f"more than {MEMORY_SHARE:.0%} of its {environment.memory_gb:g} GB"
        return (
            MetricRule(
                *("MemoryNearLimit", "MemoryUsage", f"The container uses {share} of memory."),
                *(WARNING, "Average", MEMORY_SHARE * environment.memory_gb * 1e9),
            ),
        )

    def hour(self, environment: GroupEnvironment) -> float | None:
        """See ``Kind``."""
        if environment.gpu != "none":
            return None
        return environment.cpu * CPU.dollars + environment.memory_gb * MEMORY.dollars

    def bill(self, environment: GroupEnvironment, hour: float) -> str:
        """See ``Kind``."""
        month = f"${hour * HOURS_A_MONTH:.0f} a month"
        return f"about ${hour:.3f} an hour, {month} when it never stops"


KIND = ContainerInstancesKind()
