"""How much CPU this process was granted."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def granted_cpus(cgroup: Path = CGROUP) -> int:
    """CPUs of this process, rounded up: its affinity, limited by the container's CPU quota.

    ONNX Runtime and Python size their pools by the host; in a container with a quota that means
    more threads than CPU time, and long pauses when the quota is spent.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _quota_v2(cgroup) or _quota_v1(cgroup)
    cpus = float(affinity or 1)
    if quota is not None:
        cpus = min(cpus, quota)
    return max(1, math.ceil(cpus))


def _quota_v2(cgroup: Path) -> float | None:
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        return None


def _quota_v1(cgroup: Path) -> float | None:
    try:
        limit = int((cgroup / "cpu" / "cpu.cfs_quota_us").read_text())
        period = int((cgroup / "cpu" / "cpu.cfs_period_us").read_text())
        return limit / period if limit > 0 else None
    except (OSError, ValueError):
        return None
