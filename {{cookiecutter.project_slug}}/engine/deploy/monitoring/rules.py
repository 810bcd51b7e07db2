"""The alerts: what each one means, what it asks, and from when on it speaks.

Their names are those of the Prometheus rules and of the headings in docs/runbook.md. One of them
Azure's data cannot tell: EventLoopBlocked needs a histogram's buckets, which it does not keep.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.deploy.config.environment import Environment

CRITICAL, ERROR, WARNING = 0, 1, 2
"""Azure's severities, of which 0 is the worst."""

ERRORS_PERCENT = 1.0
REFUSED_REQUESTS = 10
STARTS = 2
MEMORY_SHARE = 0.9
DEVICE_MEMORY_PERCENT = 95
WINDOW_MINUTES = 10


@dataclass(frozen=True, slots=True)
class LogRule:
    """A rule on the logs.

    Args:
        name: as in docs/runbook.md.
        query: its file in ``queries/alerts/``.
        says: one sentence for the mail.
        severity: Azure's, 0 to 4.
        column: the measured column; None: the rows are counted.
        over: it speaks beyond this value.
        minutes: how much of the past is looked at; never less than the time between two looks.
    """

    name: str
    query: str
    says: str
    severity: int
    column: str | None = None
    over: float = 0
    minutes: int = WINDOW_MINUTES


def log_rules(environment: Environment, objective_ms: float) -> tuple[LogRule, ...]:
    """The rules on what the service writes; ``objective_ms`` is p95_ms of load/slo.yaml."""
    rules = [
        LogRule(
            "NotReady",
            "not_ready",
            "A copy of the service says that it is not ready.",
            CRITICAL,
            minutes=30,
        ),
        LogRule(
            "ErrorRatioHigh",
            "error_ratio_high",
            f"More than {ERRORS_PERCENT:g} % of the answers are errors of the service (5xx).",
            ERROR,
            column="Percent",
            over=ERRORS_PERCENT,
        ),
        LogRule(
            "LatencyHigh",
            "latency_high",
            f"5 of 100 requests take longer than {objective_ms:g} ms, the objective of "
            "load/slo.yaml.",
            WARNING,
            column="Milliseconds",
            over=objective_ms,
        ),
        LogRule(
            "Overloaded",
            "overloaded",
            f"More than {REFUSED_REQUESTS} requests were refused for want of room (429, 503).",
            WARNING,
            column="Refused",
            over=REFUSED_REQUESTS,
        ),
        LogRule(
            "GoldenCheckFailed",
            "golden_check_failed",
            "The model answers differently from its training.",
            CRITICAL,
            minutes=30,
        ),
    ]
    if environment.gpu != "none":
        rules.append(
            LogRule(
                "ProviderFallback",
                "provider_fallback",
                "A GPU was asked for, and the service computes on the CPU.",
                WARNING,
                minutes=30,
            )
        )
    if environment.gpu != "none" and environment.telemetry:
        rules.append(
            LogRule(
                "DeviceMemoryNearLimit",
                "device_memory_near_limit",
                f"More than {DEVICE_MEMORY_PERCENT} % of the GPU's memory is in use.",
                WARNING,
                column="Percent",
                over=DEVICE_MEMORY_PERCENT,
            )
        )
    if environment.target == "aci" and environment.container_logs:
        rules.append(
            LogRule(
                "Restarting",
                "restarting",
                f"The container was started more than {STARTS} times in half an hour.",
                ERROR,
                column="Starts",
                over=STARTS,
                minutes=30,
            )
        )
    return tuple(rules)


@dataclass(frozen=True, slots=True)
class MetricRule:
    """A rule on what Azure measures of the resource itself. ``minutes``: the window."""

    name: str
    metric: str
    says: str
    severity: int
    aggregation: str
    over: float
    minutes: int = 15


def metric_rules(environment: Environment) -> tuple[MetricRule, ...]:
    """The rules on Azure's own metrics, which need nothing of the service."""
    share = f"more than {MEMORY_SHARE:.0%} of its {environment.memory_gb:g} GB"
    if environment.target == "aci":
        limit = MEMORY_SHARE * environment.memory_gb * 1e9
        return (
            MetricRule(
                *("MemoryNearLimit", "MemoryUsage", f"The container uses {share} of memory."),
                *(WARNING, "Average", limit),
            ),
        )
    limit = MEMORY_SHARE * environment.memory_gb * 2**30
    return (
        MetricRule(
            *("MemoryNearLimit", "WorkingSetBytes", f"A copy uses {share} of memory."),
            *(WARNING, "Maximum", limit),
        ),
        MetricRule(
            *("Restarting", "RestartCount", f"A copy was restarted more than {STARTS} times."),
            *(ERROR, "Maximum", STARTS),
        ),
    )
