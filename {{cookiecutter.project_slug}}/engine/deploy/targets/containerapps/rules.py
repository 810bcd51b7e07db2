"""Rules of Azure Container Apps: those of its own module, and what an app has no use for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from engine.deploy.config.project import Project
from engine.deploy.config.rules.rule import Broken, Rule
from engine.deploy.targets.containerapps.environment import AppEnvironment
from engine.deploy.targets.containerapps.limits import faults

# The fields with limits, each with the fields that its limits follow from.
LIMITED = {
    "name": (),
    "gpu": (),
    "gpu_count": ("gpu",),
    "cpu": ("gpu",),
    "memory_gb": ("gpu", "cpu"),
    "secrets": (),
    "probes": (),
}


def limits_of(field: str) -> Callable[[Project, AppEnvironment], Iterator[Broken]]:
    """The check of one field."""

    def check(project: Project, environment: AppEnvironment) -> Iterator[Broken]:
        for fault in faults(environment, ""):
            at = tuple(fault.field.split("."))
            if at[0] == field:
                yield Broken(at, fault.rule, fault.fix)

    return check


def replicas(project: Project, environment: AppEnvironment) -> Iterator[Broken]:
    """Fewest and most."""
    if environment.replicas.min > environment.replicas.max:
        yield Broken(
            ("replicas", "min"),
            f"must not be more than max, which is {environment.replicas.max}",
            "raise max or lower min",
        )


def outside(project: Project, environment: AppEnvironment) -> Iterator[Broken]:
    """Who is asked never sleeps."""
    if environment.replicas.min == 0 and environment.alerts.outside_check_minutes:
        yield Broken(
            ("alerts", "outside_check_minutes"),
            "each check would start a copy of an app that scales to zero, and bill it",
            "write 0, or replicas: {min: 1}",
        )


RULES = (
    *(Rule((field, *others), limits_of(field)) for field, others in LIMITED.items()),
    Rule(("replicas",), replicas),
    Rule(("replicas", "alerts"), outside),
)
