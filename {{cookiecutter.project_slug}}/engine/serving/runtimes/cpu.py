"""How much CPU this process was granted."""

from __future__ import annotations

import math
import os
from pathlib import Path

from engine.serving.cgroups import MOUNTED, OWN, groups


def granted_cpus(mounted: Path = MOUNTED, own: Path = OWN) -> int:
    """CPUs of this process, rounded up: its affinity, limited by the quota of its control groups.

    ONNX Runtime and Python size their pools by the host; in a container with a quota that means
    more threads than CPU time, and long pauses when the quota is spent.

    Args:
        mounted: see ``groups``.
        own: see ``groups``.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quotas = [_quota_v2(folder) for folder in groups("", mounted, own)]
    quotas += [_quota_v1(folder) for folder in groups("cpu", mounted, own)]
    return max(1, math.ceil(min([float(affinity or 1), *filter(None, quotas)])))


def _quota_v2(folder: Path) -> float | None:
    try:
        limit, period = (folder / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        limit = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return limit / period if limit > 0 else None
    except (OSError, ValueError):
        return None
