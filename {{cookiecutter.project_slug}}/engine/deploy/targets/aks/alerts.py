"""Alerts that Azure Kubernetes Service allows, both of them questions to the logs.

Azure's own metrics are those of a whole cluster, and the bound of an alert is that of one service.
So memory is what the service measures of itself, and restarts are what Container insights sees.
"""

from __future__ import annotations

from engine.deploy.monitoring.rule import ERROR, MEMORY_SHARE, STARTS, WARNING, LogRule
from engine.deploy.targets.aks.environment import AksEnvironment

RESTARTING = LogRule(
    "Restarting",
    "restarting",
    f"The container of a pod was started more than {STARTS} times in half an hour.",
    ERROR,
    column="Starts",
    over=STARTS,
    minutes=30,
)


def log_rules(environment: AksEnvironment) -> tuple[LogRule, ...]:
    """See ``Kind.log_rules``; without telemetry nobody knows how much memory a pod uses."""
    share = f"more than {MEMORY_SHARE:.0%} of its {environment.memory_gb:g} GB"
    near = LogRule(
        "MemoryNearLimit",
        "memory_near_limit",
        f"A pod uses {share} of memory.",
        WARNING,
        column="Bytes",
        over=MEMORY_SHARE * environment.memory_gb * 2**30,
        minutes=15,
    )
    return (*((near,) if environment.telemetry else ()), RESTARTING)
