"""One kind of request against a running service: status, memory, and the probe beside it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import ROOT
from benchmarks.hostile.kinds import Kind

# What the parser, the allocator and the answers may need beside what the limits name.
SPARE_BYTES = 32 * 1024 * 1024
WAIT_SECONDS = 0.1


@dataclass(frozen=True)
class Cost:
    """What a kind of request cost: bytes at the peak above those before, seconds of the probe."""

    status: int
    grown: int
    wait: float


def resident(pid: int, field: str = "VmRSS") -> int:
    """Bytes of a process in memory; ``VmHWM``: at most since ``forget_peak``."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"process {pid} has ended")


def forget_peak(pid: int) -> None:
    """Let the kernel look for the peak anew; see proc(5), clear_refs."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@contextmanager
def probed(port: int, pid: int) -> Iterator[list[float]]:
    """The probe is asked meanwhile; the longest wait is in the list afterwards."""
    waits: list[float] = []
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.hostile.probe", str(port), str(pid)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield waits
        waits.append(float(process.communicate(timeout=120)[0]))


def cost_of(kind: Kind, port: int, pid: int) -> Cost:
    """Do it once."""
    before = resident(pid)
    forget_peak(pid)
    with probed(port, pid) as waits:
        status = kind.attack(port)
    return Cost(status, max(0, resident(pid, "VmHWM") - before), waits[0])


def faults(kind: Kind, cost: Cost) -> list[str]:
    """What it should not have cost."""
    found = []
    if cost.status not in kind.statuses:
        found.append(f"status {cost.status}")
    if cost.grown > kind.holds + SPARE_BYTES:
        found.append(f"{cost.grown / 1e6:.0f} MB")
    if cost.wait > WAIT_SECONDS:
        found.append(f"/healthz waited for {cost.wait:.2f} s")
    return found
