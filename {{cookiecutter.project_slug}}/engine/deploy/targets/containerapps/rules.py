"""Rules of Azure Container Apps: those of its own module, and what an app has no use for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from engine.deploy.config.environment import Environment
from engine.deploy.config.project import Project
from engine.deploy.config.rules.rule import Broken, Rule
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
    "restart_policy": (),
}


def limits_of(field: str) -> Callable[[Project, Environment], Iterator[Broken]]:
    """The check of one field."""

    def check(project: Project, environment: Environment) -> Iterator[Broken]:
        for fault in faults(environment, ""):
            at = tuple(fault.field.split("."))
            if at[0] == field:
                yield Broken(at, fault.rule, fault.fix)

    return check


def copies(project: Project, environment: Environment) -> Iterator[Broken]:
    """Copies of container groups."""
    if environment.copies != 1:
        yield Broken(
            ("copies",),
            "an app has replicas behind one name by itself",
            f"write replicas: {{min: {environment.copies}, max: {environment.copies}}} instead",
        )


def replicas(project: Project, environment: Environment) -> Iterator[Broken]:
    """Fewest and most."""
    if environment.replicas.min > environment.replicas.max:
        yield Broken(
            ("replicas", "min"),
            f"must not be more than max, which is {environment.replicas.max}",
            "raise max or lower min",
        )


def address(project: Project, environment: Environment) -> Iterator[Broken]:
    """Only a container group has a label."""
    if "dns" in environment.model_fields_set:
        yield Broken(
            ("dns",), "the address of an app comes from its environment in Azure", "remove it"
        )


def logs(project: Project, environment: Environment) -> Iterator[Broken]:
    """The log of an app is sent by the environment that it runs in."""
    if "container_logs" in environment.model_fields_set:
        yield Broken(
            ("container_logs",),
            "the Container Apps environment sends the logs of its apps, always",
            "remove it",
        )


def outside(project: Project, environment: Environment) -> Iterator[Broken]:
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
    Rule(("copies",), copies),
    Rule(("dns",), address),
    Rule(("container_logs",), logs),
    Rule(("replicas", "alerts"), outside),
)
