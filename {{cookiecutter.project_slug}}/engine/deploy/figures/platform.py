"""What Azure measures of a container group or app: CPU and memory of the last minutes.

With what the service says of itself, it makes the cells of a table; what is not known is "-".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from engine.deploy.az import Az
from engine.deploy.azure_ids import same
from engine.deploy.figures.service import Figures
from engine.deploy.preflight import at_once
from engine.deploy.targets.kind import Metrics
from engine.errors import EngineError

_MINUTES = 10


@dataclass(frozen=True, slots=True)
class Usage:
    """The newest averages of one copy; None: Azure has none yet, or this login may not see them."""

    cores: float | None = None
    memory_bytes: float | None = None


def usage(az: Az, metrics: Metrics, resources: Sequence[str]) -> Usage:
    """Ask Azure; never raises, for a status must be shown whatever is wrong.

    Args:
        metrics: the names of the metrics there.
        resources: the ids of the groups or of the app; of several, the mean of those that Azure
            knows.
    """
    found = at_once(*(partial(_of_one, az, metrics, each) for each in resources))
    return Usage(_mean(each.cores for each in found), _mean(each.memory_bytes for each in found))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return sum(known) / len(known) if known else None


def _of_one(az: Az, metrics: Metrics, resource: str) -> Usage:
    try:
        shown = az.json(
            *("monitor", "metrics", "list", "--resource", resource),
            *("--metrics", metrics.cpu, metrics.memory),
            *("--aggregation", "Average", "--interval", "PT1M", "--offset", f"{_MINUTES}m"),
        )
    except EngineError:
        return Usage()
    cores, memory = _newest(shown, metrics.cpu), _newest(shown, metrics.memory)
    return Usage(
        None if cores is None else cores / metrics.per_core,
        None if memory is None else memory * metrics.memory_bytes,
    )


def _newest(shown: Any, name: str) -> float | None:
    """The last average that is there: the newest minutes have none yet."""
    for metric in (shown or {}).get("value") or []:
        if same((metric.get("name") or {}).get("value"), name):
            points = [p for series in metric.get("timeseries") or [] for p in series["data"]]
            values = [p["average"] for p in points if p.get("average") is not None]
            return float(values[-1]) if values else None
    return None


HEAD = ("ready", "requests/s", "errors", "p95", "refused", "drift", "memory", "cpu")
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
        _drift(figures.drifted),
        _memory(figures, usage, memory_gb),
        "-" if usage.cores is None else f"{usage.cores:.2f}",
    )


def _drift(drifted: tuple[str, ...] | None) -> str:
    if not drifted:
        return "-" if drifted is None else "none"
    others = f" and {len(drifted) - 1} more" if len(drifted) > 1 else ""
    return f"{drifted[0]}{others}"


def _memory(figures: Figures, usage: Usage, memory_gb: float) -> str:
    used = usage.memory_bytes if figures.memory_bytes is None else figures.memory_bytes
    if used is None:
        return "-"
    limit = figures.memory_limit_bytes or memory_gb * 1e9
    near = ", near its limit" if used > NEAR_LIMIT * limit else ""
    return f"{used / 1e6:.0f} MB ({used / limit:.0%}{near})"
