"""What an endpoint needs, allows and costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, ClassVar

from engine.deploy.az import Az
from engine.deploy.bootstrap.price import Price
from engine.deploy.bootstrap.role import CustomRole
from engine.deploy.config.environment import Environment
from engine.deploy.config.kinds import Absent, between
from engine.deploy.config.project import Project
from engine.deploy.config.rules.rule import Broken, Rule
from engine.deploy.monitoring.rule import WARNING, LogRule, MetricRule
from engine.deploy.targets.base import Places, Target
from engine.deploy.targets.kind import Kind, Metrics

from .target import Endpoint


class EndpointEnvironment(Environment):
    """An environment behind an endpoint."""

    absent: ClassVar[Absent] = {"dns": ("an endpoint has one address", "remove it")}

    instances: Annotated[int, between(1, 4)] = 1


def _few(project: Project, environment: EndpointEnvironment) -> Iterator[Broken]:
    if environment.instances * environment.cpu > 8:
        yield Broken(("instances",), "an endpoint has at most 8 cores", "take fewer of them")


class EndpointKind(Kind[EndpointEnvironment]):
    """See ``Kind``."""

    environment = EndpointEnvironment
    resource_type = "Example.Endpoints/endpoints"
    metrics = Metrics("Cpu", 1.0, "Memory")
    rules = (Rule(("instances", "cpu"), _few),)
    deploy_role = CustomRole(
        *("role endpoints", lambda project: f"{project.name} endpoints"),
        *(("Example.Endpoints/*",), "deploys to an endpoint"),
    )
    prices = (Price(0.1, "core and hour", "the test", "2026"),)

    def target(self, az: Az, environment: EndpointEnvironment, places: Places) -> Target:
        """See ``Kind``."""
        return Endpoint(az, environment, places)

    def warnings(self, environment: EndpointEnvironment) -> Iterable[str]:
        """See ``Kind``."""
        return ("an endpoint may be slow",)

    def log_rules(self, environment: EndpointEnvironment) -> tuple[LogRule, ...]:
        """See ``Kind``."""
        return (LogRule("EndpointSlow", "endpoint", "It is slow.", WARNING),)

    def metric_rules(self, environment: EndpointEnvironment) -> tuple[MetricRule, ...]:
        """See ``Kind``."""
        return ()

    def hour(self, environment: EndpointEnvironment) -> float | None:
        """See ``Kind``."""
        return 0.1 * environment.cpu * environment.instances

    def bill(self, environment: EndpointEnvironment, hour: float) -> str:
        """See ``Kind``."""
        return f"${hour:g} an hour"


KIND = EndpointKind()
