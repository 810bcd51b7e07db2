"""How much of the machine others took while something was measured."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

from benchmarks import processes

TICKS = os.sysconf("SC_CLK_TCK")


class Watch:
    """Counts CPU time from its creation on.

    Our own children are not "others" once they have ended.

    Args:
        pid: the server under load; it and what descends from it are not "others" either.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._pid = pid
        self._begun = time.perf_counter()
        self._others = self._count()

    def others(self) -> float:
        """The share of all CPU time since then that neither we nor the server used; 0 to 1.

        Time that the host of a virtual machine kept for itself counts as others'.
        """
        elapsed = (time.perf_counter() - self._begun) * (os.cpu_count() or 1)
        return min(1.0, max(0.0, (self._count() - self._others) / elapsed))

    def _count(self) -> float:
        return _busy() - (_server(self._pid) if self._pid else 0.0) - _ours()


def _busy() -> float:
    """CPU seconds that this machine has spent on anything, stolen ones included."""
    # cpu user nice system idle iowait irq softirq steal
    fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    return sum(int(fields[index]) for index in (1, 2, 3, 6, 7, 8)) / TICKS


def _server(pid: int) -> float:
    ticks = 0
    for each in processes.tree(pid):
        try:
            text = Path(f"/proc/{each}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        # User and system time behind the name in parentheses.
        fields = text.rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def _ours() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
