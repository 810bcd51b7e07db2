"""Container Apps: what an app needs, measures, allows and costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from engine.deploy.az import Az
from engine.deploy.bootstrap import shares
from engine.deploy.bootstrap.inputs import Inputs
from engine.deploy.bootstrap.price import HOURS_A_MONTH, RETAIL, Price
from engine.deploy.bootstrap.role import CustomRole, Role
from engine.deploy.bootstrap.step import Step
from engine.deploy.bootstrap.storage import PROVIDER
from engine.deploy.config import names
from engine.deploy.config.project import Project
from engine.deploy.diagnosis.shares import refused
from engine.deploy.monitoring.rule import ERROR, MEMORY_SHARE, STARTS, WARNING, MetricRule
from engine.deploy.targets.base import Places, Target
from engine.deploy.targets.containerapps import bootstrap, rules
from engine.deploy.targets.containerapps.client import AppClient
from engine.deploy.targets.containerapps.environment import AppEnvironment, Https
from engine.deploy.targets.containerapps.own_names import AppNames
from engine.deploy.targets.containerapps.target import ContainerApps
from engine.deploy.targets.kind import Kind, Metrics
from engine.deploy.targets.own_names import OwnNames, ZoneRecords

CPU = Price(0.000024, "vCPU and second", RETAIL, "2026-08-01")
MEMORY = Price(0.000003, "GiB and second", RETAIL, "2026-08-01")
GPUS = {
    "t4": Price(0.000073, "T4 and second", RETAIL, "2026-08-01"),
    "a100": Price(0.000529, "A100 and second", RETAIL, "2026-08-01"),
}


class ContainerAppsKind(Kind[AppEnvironment]):
    """See ``Kind``."""

    environment = AppEnvironment
    resource_type = "Microsoft.App/containerApps"
    metrics = Metrics("UsageNanoCores", 1e9, "WorkingSetBytes")
    rules = rules.RULES
    deploy_role = bootstrap.ROLE
    prices = (CPU, MEMORY, *GPUS.values(), shares.PRICE)
    own_roles = (shares.ROLE,)
    diagnoses = (refused,)

    def target(self, az: Az, environment: AppEnvironment, places: Places) -> Target:
        """See ``Kind``."""
        return ContainerApps(az, environment, places)

    def warnings(self, environment: AppEnvironment) -> Iterable[str]:
        """See ``Kind``."""
        return rules.warnings(environment)

    def places(self, project: Project, environment: AppEnvironment, found: Places) -> Places:
        """See ``Kind``: the id of the Container Apps environment, which bootstrap makes."""
        return replace(
            found,
            apps_environment=(
                f"/subscriptions/{found.subscription}/resourceGroups/{environment.resource_group}"
                f"/providers/Microsoft.App/managedEnvironments/"
                f"{bootstrap.apps_environment(project, environment.stage)}"
            ),
        )

    def providers(self, environment: AppEnvironment) -> tuple[str, ...]:
        """See ``Kind``."""
        zone = environment.https is not None and environment.https.zone is not None
        storage = (PROVIDER,) if environment.volumes else ()
        return (self.provider, *(("Microsoft.Network",) if zone else ()), *storage)

    def storage(self, environment: AppEnvironment, subscription: str) -> tuple[str, str] | None:
        """See ``Kind``; as for container groups."""
        group = environment.resource_group
        return group, names.storage_account(subscription, group)

    def mounts(self, environment: AppEnvironment) -> bool:
        """See ``Kind``."""
        return bool(environment.volumes)

    def roles(self, environment: AppEnvironment) -> tuple[Role | CustomRole, ...]:
        """See ``Kind``."""
        return (shares.ROLE,) if environment.volumes else ()

    def own_names(
        self, az: Az, environment: AppEnvironment, places: Places, zone: ZoneRecords | None
    ) -> OwnNames | None:
        """See ``Kind``; without https in the file an app may still have names of before."""
        if places.apps_environment is None:
            return None
        group = environment.resource_group
        client = AppClient(az, places.subscription, group, environment.name)
        return AppNames(
            environment.https or Https(), zone, client, environment, places.apps_environment
        )

    def bootstrap(
        self, inputs: Inputs, stage: str, environment: AppEnvironment
    ) -> tuple[Step, ...]:
        """See ``Kind``."""
        return bootstrap.steps(inputs, stage, environment)

    def metric_rules(self, environment: AppEnvironment) -> tuple[MetricRule, ...]:
        """See ``Kind``."""
        share = f"more than {MEMORY_SHARE:.0%} of its {environment.memory_gb:g} GB"
        return (
            MetricRule(
                *("MemoryNearLimit", "WorkingSetBytes", f"A copy uses {share} of memory."),
                *(WARNING, "Maximum", MEMORY_SHARE * environment.memory_gb * 2**30),
            ),
            MetricRule(
                *("Restarting", "RestartCount", f"A copy was restarted more than {STARTS} times."),
                *(ERROR, "Maximum", STARTS),
            ),
        )

    def hour(self, environment: AppEnvironment) -> float | None:
        """See ``Kind``."""
        second = environment.cpu * CPU.dollars + environment.memory_gb * MEMORY.dollars
        if environment.gpu != "none":
            if environment.gpu not in GPUS:
                return None
            second += environment.gpu_count * GPUS[environment.gpu].dollars
        return second * 3600

    def bill(self, environment: AppEnvironment, hour: float) -> str:
        """See ``Kind``."""
        copies = environment.replicas.min
        if copies == 0:
            return f"about ${hour:.3f} an hour per copy while there are requests, nothing when idle"
        month = f"at most ${hour * HOURS_A_MONTH * copies:.0f} a month"
        return f"about ${hour:.3f} an hour per copy; {copies} always run: {month}"


KIND = ContainerAppsKind()
