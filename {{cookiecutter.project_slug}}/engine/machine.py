"""What else this machine computes: what is measured beside it says little."""

from __future__ import annotations

import os
import time
from pathlib import Path

BUSY = 0.3
"""From this share of all CPU time on, figures are doubtful."""
SECONDS = 0.5
STAT = Path("/proc/stat")


def doubt(stat: Path = STAT) -> str | None:
    """A sentence where other programs keep this machine busy; None where they do not.

    Looks for ``SECONDS``; call it before anything is measured. Where the system has no
    ``/proc/stat``, the load average of the last minute takes its place.
    """
    try:
        before = _times(stat)
        time.sleep(SECONDS)
        passed = [after - each for after, each in zip(_times(stat), before, strict=True)]
    except OSError:
        return _sentence(os.getloadavg()[0] / (os.cpu_count() or 1), 0.0)
    # user nice system idle iowait irq softirq steal
    total = max(1, sum(passed))
    return _sentence((total - passed[3] - passed[4]) / total, passed[7] / total)


def _times(stat: Path) -> list[int]:
    return [int(each) for each in stat.read_text(encoding="ascii").split()[1:9]]


def _sentence(busy: float, stolen: float) -> str | None:
    if busy < BUSY:
        return None
    host = f", {stolen:.0%} taken by other virtual machines" if stolen >= 0.01 else ""
    return (
        f"this machine was busy before the measurement ({min(busy, 1):.0%} of its CPU time{host}), "
        "so the figures are doubtful: measure again when it is idle"
    )
