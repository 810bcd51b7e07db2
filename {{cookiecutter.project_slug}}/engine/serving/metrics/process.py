"""Figures of the worker processes, from Linux's /proc; nothing where there is none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from prometheus_client.metrics_core import Metric

from engine.serving.metrics.families import counter, gauge
from engine.serving.metrics.slab import Gauge, Slab

PROC: Final = Path("/proc")
# Positions in /proc/<pid>/stat behind the name of the program; see proc_pid_stat(5).
USER, SYSTEM, START, RESIDENT = 11, 12, 19, 21


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one process: bytes, seconds, descriptors, seconds since 1970."""

    resident_bytes: float
    cpu_seconds: float
    open_descriptors: float | None
    started: float


def figures_of(pid: int, proc: Path = PROC) -> Figures | None:
    """The figures of a process; None where they cannot be read."""
    try:
        # The program's name is in brackets, and may hold spaces and brackets itself.
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
        return Figures(
            resident_bytes=float(int(fields[RESIDENT]) * page),
            cpu_seconds=(int(fields[USER]) + int(fields[SYSTEM])) / ticks,
            open_descriptors=_descriptors(pid, proc),
            started=_boot_time(proc) + int(fields[START]) / ticks,
        )
    except (OSError, ValueError, IndexError, AttributeError):
        return None  # it has ended, or this system has no /proc


def _descriptors(pid: int, proc: Path) -> float | None:
    try:
        return float(len(os.listdir(proc / str(pid) / "fd")))
    except OSError:
        return None  # of another user, or of a process that may not be looked into


@lru_cache(maxsize=4)
def _boot_time(proc: Path) -> int:
    for line in (proc / "stat").read_text().splitlines():
        if line.startswith("btime "):
            return int(line.split()[1])
    raise ValueError(f"{proc / 'stat'} has no btime")


class ProcessMetrics:
    """Each worker tells its process id; whoever is asked looks up the figures of all."""

    COLUMNS: Final = 1

    def __init__(self, slab: Slab) -> None:
        self._pids = Gauge(slab)
        self._pids.set(os.getpid())

    def collect(self) -> Iterator[Metric]:
        """The families of all workers."""
        workers = [
            ((str(worker),), figures)
            for worker, pid in enumerate(self._pids.values())
            if pid and (figures := figures_of(int(pid))) is not None
        ]
        if not workers:
            return

        def series(
            pick: Callable[[Figures], float | None],
        ) -> Iterator[tuple[tuple[str, ...], float]]:
            for label, figures in workers:
                if (number := pick(figures)) is not None:
                    yield label, number

        label = ("worker",)
        yield gauge(
            "process_resident_memory_bytes",
            "Memory of a worker process that is in RAM.",
            label,
            series(lambda each: each.resident_bytes),
        )
        yield counter(
            "process_cpu_seconds",
            "CPU time of a worker process, user and system.",
            label,
            series(lambda each: each.cpu_seconds),
        )
        yield gauge(
            "process_open_fds",
            "Open file descriptors of a worker process.",
            label,
            series(lambda each: each.open_descriptors),
        )
        yield gauge(
            "process_start_time_seconds",
            "When a worker process began, in seconds since 1970.",
            label,
            series(lambda each: each.started),
        )
