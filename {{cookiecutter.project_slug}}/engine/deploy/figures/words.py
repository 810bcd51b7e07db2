"""The figures as cells of a table; what is not known is "-"."""

from __future__ import annotations

from engine.deploy.figures.platform import Usage
from engine.deploy.figures.service import Figures

HEAD = ("ready", "requests/s", "errors", "p95", "refused", "memory", "cpu")
NEAR_LIMIT = 0.9
UNKNOWN = ("-",) * len(HEAD)


def cells(figures: Figures, usage: Usage, memory_gb: float) -> tuple[str, ...]:
    """One row; ``memory_gb`` is the limit where the service does not say it."""
    return (
        "-" if figures.ready is None else ("yes" if figures.ready else "no"),
        "-" if figures.rate is None else f"{figures.rate:.1f}",
        "-" if figures.errors is None else f"{figures.errors:.1%}",
        "-" if figures.p95_seconds is None else f"{figures.p95_seconds * 1000:.0f} ms",
        "-" if figures.refused is None else f"{figures.refused:.0f}",
        _memory(figures, usage, memory_gb),
        "-" if usage.cores is None else f"{usage.cores:.2f}",
    )


def _memory(figures: Figures, usage: Usage, memory_gb: float) -> str:
    used = usage.memory_bytes if figures.memory_bytes is None else figures.memory_bytes
    if used is None:
        return "-"
    limit = figures.memory_limit_bytes or memory_gb * 1e9
    near = ", near its limit" if used > NEAR_LIMIT * limit else ""
    return f"{used / 1e6:.0f} MB ({used / limit:.0%}{near})"
