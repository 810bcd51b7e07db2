"""What else the machine was busy with while something was measured: a reason to measure again."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from benchmarks import processes

TICKS = os.sysconf("SC_CLK_TCK")


class Others:
    """From its making on, the CPU time of everything but this process, its children and a server.

    Args:
        pid: the server.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._begun = time.perf_counter()
        self._before = _busy() - self._ours()

    def cpus(self) -> float:
        """CPUs that others, or the hypervisor, have kept busy on average."""
        seconds = time.perf_counter() - self._begun
        return max(0.0, (_busy() - self._ours() - self._before) / seconds)

    def _ours(self) -> float:
        return sum(os.times()[:4]) + sum(_cpu_seconds(pid) for pid in processes.tree(self._pid))


def _busy() -> float:
    fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, _, _, steal = map(int, fields[:8])
    return (user + nice + system + steal) / TICKS


def _cpu_seconds(pid: int) -> float:
    with suppress(OSError):
        # The name in parentheses may hold anything, also blanks.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
    return 0.0
