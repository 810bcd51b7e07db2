"""Figures of the worker processes, as prometheus_client reads them from Linux's /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric

from engine.serving.metrics.shared_table import Gauge, SharedTable

PROC: Final = Path("/proc")
STARTED: Final = "process_start_time_seconds"
# In their order on the page; the counter is named without the end that its samples have.
KEPT: Final = ("process_resident_memory_bytes", "process_cpu_seconds", "process_open_fds", STARTED)


def families_of(pid: int, proc: Path = PROC) -> dict[str, Metric]:
    """The families of one process by name; those are missing that cannot be read."""
    collector = ProcessCollector(pid=lambda: pid, proc=str(proc), registry=None)
    found = {each.name: each for each in collector.collect()}
    return {name: found[name] for name in KEPT if name in found}


def started(pid: int) -> float | None:
    """When a process began, in seconds since 1970; None where that is not known."""
    family = families_of(pid).get(STARTED)
    return family.samples[0].value if family is not None else None


class ProcessMetrics:
    """Each worker publishes its process id; the one that is asked looks up the figures of all."""

    COLUMNS: Final = 1

    def __init__(self, shared_table: SharedTable) -> None:
        self._pids = Gauge(shared_table)
        self._pids.set(os.getpid())

    def collect(self) -> Iterator[Metric]:
        """The families, with a label for the worker."""
        merged: dict[str, Metric] = {}
        for worker, pid in enumerate(self._pids.values()):
            for name, family in (families_of(int(pid)) if pid else {}).items():
                label = {"worker": str(worker)}
                samples = [each._replace(labels=label) for each in family.samples]
                if name in merged:
                    merged[name].samples += samples
                else:
                    family.samples = samples
                    merged[name] = family
        yield from merged.values()
