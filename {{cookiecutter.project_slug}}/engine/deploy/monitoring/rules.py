"""The alerts: what each one means, what it asks, and from when on it speaks.

Their names are those of the Prometheus rules and of the headings in docs/runbook.md. One of them
Azure's data cannot tell: EventLoopBlocked needs a histogram's buckets, which it does not keep.
"""

from __future__ import annotations

from engine.deploy.config.environment import Environment
from engine.deploy.monitoring.rule import CRITICAL, ERROR, WARNING, LogRule
from engine.deploy.targets.kind import kind_of

ERRORS_PERCENT = 1.0
REFUSED_REQUESTS = 10
DEVICE_MEMORY_PERCENT = 95


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
            f"More than {REFUSED_REQUESTS} requests were refused: no room (429, 503).",
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
    if environment.telemetry:
        rules += [
            LogRule(
                "Drifted",
                "drifted",
                "Requests or answers are not like those of the model's training.",
                WARNING,
                minutes=30,
            ),
            LogRule(
                "AccuracyLow",
                "accuracy_low",
                "By feedback, more answers are wrong than FEEDBACK_ACCURACY promises.",
                WARNING,
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
    rules += kind_of(environment).log_rules(environment)
    return tuple(rules)
