"""What Azure measures of a container group or app: CPU and memory of the last minutes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.deploy.az import Az
from engine.deploy.azure_ids import same
from engine.deploy.errors import DeployError

_MINUTES = 10
_NAMES = {
    "aci": ("CpuUsage", 1e3, "MemoryUsage"),
    "containerapps": ("UsageNanoCores", 1e9, "WorkingSetBytes"),
}
"""Metric of the CPU, how many of its units are one core, metric of the memory in bytes."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The newest averages; None: Azure has none yet, or this login may not see them."""

    cores: float | None = None
    memory_bytes: float | None = None


def usage(az: Az, target: str, resource: str) -> Usage:
    """Ask Azure; never raises, for a status must be shown whatever is wrong.

    Args:
        target: "aci" or "containerapps".
        resource: the id of the group or app.
    """
    cpu, per_core, memory = _NAMES[target]
    try:
        shown = az.json(
            *("monitor", "metrics", "list", "--resource", resource, "--metrics", cpu, memory),
            *("--aggregation", "Average", "--interval", "PT1M", "--offset", f"{_MINUTES}m"),
        )
    except DeployError:
        return Usage()
    cores = _newest(shown, cpu)
    return Usage(None if cores is None else cores / per_core, _newest(shown, memory))


def _newest(shown: Any, name: str) -> float | None:
    """The last average that is there: the newest minutes have none yet."""
    for metric in (shown or {}).get("value") or []:
        if same((metric.get("name") or {}).get("value"), name):
            points = [p for series in metric.get("timeseries") or [] for p in series["data"]]
            values = [p["average"] for p in points if p.get("average") is not None]
            return float(values[-1]) if values else None
    return None
