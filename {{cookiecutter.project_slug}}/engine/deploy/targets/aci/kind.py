"""Container Instances: what a container group needs, measures, allows and costs."""

from __future__ import annotations

from collections.abc import Iterable

from engine.deploy.az import Az
from engine.deploy.bootstrap import shares
from engine.deploy.bootstrap.inputs import Inputs
from engine.deploy.bootstrap.price import HOURS_A_MONTH, RETAIL, Price
from engine.deploy.bootstrap.role import CustomRole, Role
from engine.deploy.bootstrap.step import Step
from engine.deploy.bootstrap.storage import PROVIDER
from engine.deploy.config import names
from engine.deploy.finding import Finding
from engine.deploy.monitoring.rule import (
    ERROR,
    MEMORY_SHARE,
    STARTS,
    WARNING,
    LogRule,
    MetricRule,
)
from engine.deploy.targets.aci import certificates, diagnosis, edge, network, rules
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.aci.fleet import rules as fleet_rules
from engine.deploy.targets.aci.fleet.profile import shared_host
from engine.deploy.targets.aci.fleet.target import Fleet
from engine.deploy.targets.aci.inside import InsideSubnet
from engine.deploy.targets.aci.own_names import GroupNames
from engine.deploy.targets.aci.target import ContainerInstances
from engine.deploy.targets.base import Inside, Places, Target
from engine.deploy.targets.kind import Kind, Metrics
from engine.deploy.targets.own_names import OwnNames, ZoneRecords

CPU = Price(0.0405, "vCPU and hour", RETAIL, "2026-08-27")
MEMORY = Price(0.00445, "GB and hour", RETAIL, "2026-08-27")
ENDPOINT = Price(0.54, "external endpoint of Traffic Manager and month", RETAIL, "2026")
QUESTIONS = Price(0.54, "million questions to Traffic Manager", RETAIL, "2026")


SWITCHES = Role("Traffic Manager Contributor", "a4b10055-b0c7-44c2-b00f-c7b5b3550cf7")


_RESTARTING = LogRule(
    "Restarting",
    "restarting",
    f"The container was started more than {STARTS} times in half an hour.",
    ERROR,
    column="Starts",
    over=STARTS,
    minutes=30,
)


class ContainerInstancesKind(Kind[GroupEnvironment]):
    """See ``Kind``."""

    environment = GroupEnvironment
    resource_type = "Microsoft.ContainerInstance/containerGroups"
    metrics = Metrics("CpuUsage", 1e3, "MemoryUsage")
    rules = (*rules.RULES, *fleet_rules.RULES)
    deploy_role = Role(
        "Azure Container Instances Contributor Role", "5d977122-f97e-4b4d-a52f-6b43003ddb4d"
    )
    prices = (
        *(CPU, MEMORY, ENDPOINT, QUESTIONS, shares.PRICE),
        *(network.GATEWAY, network.ADDRESS, network.TRAFFIC),
    )
    takes_workspace = True
    own_roles = (shares.ROLE, network.ROLE)
    diagnoses = (*diagnosis.RULES, *certificates.RULES)

    def target(self, az: Az, environment: GroupEnvironment, places: Places) -> Target:
        """See ``Kind``."""
        fleet = Fleet(az, environment, places)
        if environment.beside:
            return fleet
        return ContainerInstances(az, environment, places, fleet)

    def probe_address(self, environment: GroupEnvironment, address: str) -> str:
        """See ``Kind``."""
        return address.replace("https://", "http://", 1) if environment.https else address

    def outside(self, environment: GroupEnvironment, address: str) -> Iterable[Finding]:
        """See ``Kind``: the certificate."""
        return certificates.outside(environment, address)

    def own_names(
        self, az: Az, environment: GroupEnvironment, places: Places, zone: ZoneRecords | None
    ) -> OwnNames | None:
        """See ``Kind``."""
        https = environment.https
        return GroupNames(environment, https, zone) if https and https.domains else None

    def storage(self, environment: GroupEnvironment, subscription: str) -> tuple[str, str] | None:
        """See ``Kind``; a release with a share may have to be restored although the file names none
        any more.
        """
        group = environment.resource_group
        return group, names.storage_account(subscription, group)

    def mounts(self, environment: GroupEnvironment) -> bool:
        """See ``Kind``."""
        return environment.mounts

    def needs_edge(self, environment: GroupEnvironment) -> bool:
        """See ``Kind``."""
        return environment.https is not None

    def shared_host(self, environment: GroupEnvironment) -> str | None:
        """See ``Kind``."""
        if not environment.beside:
            return None
        host, port = shared_host(environment), environment.port
        return host if port == 80 or environment.https else f"{host}:{port}"

    def roles(self, environment: GroupEnvironment) -> tuple[Role | CustomRole, ...]:
        """See ``Kind``."""
        switches = (SWITCHES,) if environment.beside else ()
        return (*switches, shares.ROLE) if environment.mounts else switches

    def roles_elsewhere(self, environment: GroupEnvironment) -> tuple[CustomRole, ...]:
        """See ``Kind``: on the subnet."""
        return (network.ROLE,) if environment.network else ()

    def private(self, environment: GroupEnvironment) -> bool:
        """See ``Kind``."""
        return environment.network is not None

    def inside(self, az: Az, environment: GroupEnvironment, places: Places) -> Inside | None:
        """See ``Kind``."""
        return InsideSubnet(az, environment, places) if environment.network else None

    def providers(self, environment: GroupEnvironment) -> tuple[str, ...]:
        """See ``Kind``."""
        zone = environment.https is not None and environment.https.zone is not None
        named = environment.beside or zone or environment.network is not None
        networks = (network.PROVIDER,) if named else ()
        return (self.provider, *networks, *((PROVIDER,) if environment.mounts else ()))

    def bootstrap(
        self, inputs: Inputs, stage: str, environment: GroupEnvironment
    ) -> tuple[Step, ...]:
        """See ``Kind``."""
        certificates = environment.https is not None
        mounted = shares.steps(
            inputs, stage, environment, environment.volumes, certificates=certificates
        )
        return (*mounted, *network.steps(inputs, stage, environment))

    def warnings(self, environment: GroupEnvironment) -> Iterable[str]:
        """See ``Kind``."""
        return (*rules.warnings(environment), *fleet_rules.warnings(environment))

    def bills_on(self, environment: GroupEnvironment) -> str:
        """See ``Kind``."""
        return network.bills_on(environment)

    def log_rules(self, environment: GroupEnvironment) -> tuple[LogRule, ...]:
        """See ``Kind``: Azure has no metric of restarts here, binds an alert on the memory to one
        group, where those of a fleet come and go, and averages over the containers of a group.
        """
        rules = []
        if _measures_itself(environment) and environment.telemetry:
            near = ("MemoryNearLimit", "memory_near_limit", _memory_says(environment, "A copy"))
            over = _memory_limit(environment)
            rules.append(LogRule(*near, WARNING, column="Bytes", over=over, minutes=15))
        if self.sends_log(environment):
            rules.append(_RESTARTING)
        return tuple(rules)

    def sends_log(self, environment: GroupEnvironment) -> bool:
        """See ``Kind``."""
        return environment.container_logs

    def metric_rules(self, environment: GroupEnvironment) -> tuple[MetricRule, ...]:
        """See ``Kind``; of a fleet, or with HTTPS, there is one on the log instead."""
        if _measures_itself(environment):
            return ()
        near = ("MemoryNearLimit", "MemoryUsage", _memory_says(environment, "The container"))
        return (MetricRule(*near, WARNING, "Average", _memory_limit(environment)),)

    def hour(self, environment: GroupEnvironment) -> float | None:
        """See ``Kind``."""
        if environment.gpu != "none":
            return None
        return _hour(environment.cpu, environment.memory_gb) + _edge_hour(environment)

    def bill(self, environment: GroupEnvironment, hour: float) -> str:
        """See ``Kind``."""
        all_copies = hour * environment.copies
        month = all_copies * HOURS_A_MONTH
        edges = _edge_hour(environment) * environment.copies * HOURS_A_MONTH
        secure = f", of which HTTPS is ${edges:.2f}" if environment.https else ""
        if not environment.beside:
            return (
                f"about ${hour:.3f} an hour, ${month:.0f} a month when it never stops{secure}"
                f"{network.bill(environment)}"
            )
        named = environment.copies * ENDPOINT.dollars
        return (
            f"about ${all_copies:.3f} an hour for {environment.copies} group(s), "
            f"${month + named:.0f} a month when they never stop, of which Traffic Manager is "
            f"${named:.2f}, and ${QUESTIONS.dollars:.2f} for each million questions"
            f"{secure}"
        )


def _hour(cpu: float, memory_gb: float) -> float:
    return cpu * CPU.dollars + memory_gb * MEMORY.dollars


def _edge_hour(environment: GroupEnvironment) -> float:
    """What ends HTTPS costs in one group."""
    return _hour(edge.CPU, edge.MEMORY_GB) if environment.https else 0.0


def _measures_itself(environment: GroupEnvironment) -> bool:
    """Whether Azure's metric of a group's memory is not that of the service."""
    return environment.beside or environment.https is not None


def _memory_limit(environment: GroupEnvironment) -> float:
    """Bytes beyond which an alert speaks."""
    return MEMORY_SHARE * environment.memory_gb * 1e9


def _memory_says(environment: GroupEnvironment, who: str) -> str:
    share = f"more than {MEMORY_SHARE:.0%} of its {environment.memory_gb:g} GB"
    return f"{who} uses {share} of memory."


KIND = ContainerInstancesKind()
