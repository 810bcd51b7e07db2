"""What an alert rule is made of."""

from __future__ import annotations

from dataclasses import dataclass

CRITICAL, ERROR, WARNING = 0, 1, 2
"""Azure's severities, of which 0 is the worst."""

STARTS = 2
MEMORY_SHARE = 0.9
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
