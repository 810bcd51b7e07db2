"""The container's memory as the kernel counts it against its limit.

A process is killed by what its control group uses, not by what /proc says of it: memory of all
processes together, of files that they have mapped, of the kernel on their behalf. Before it kills,
the kernel gives back the file cache that nobody has used lately. So that part is left out: with it
a service that has just read a large model would look nearly full and be far from it. This is what
Kubernetes calls the working set.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client.metrics_core import Metric

from engine.serving.cgroups import MOUNTED, OWN, groups
from engine.serving.metrics.families import gauge

# Version 1 has no word for "no limit" and writes the largest number of whole pages instead.
NO_LIMIT_V1: Final = 2**62


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that are used, and that may be; None without a limit."""

    used: int
    limit: int | None


def read_memory(mounted: Path = MOUNTED, own: Path = OWN) -> Memory | None:
    """The memory of this process's control group that has the smallest limit.

    Without a limit that of the container, whose group is the root of what is mounted; None outside
    of one.

    Args:
        mounted: see ``groups``.
        own: see ``groups``.
    """
    found = [_version_2(folder) for folder in groups("", mounted, own)]
    found += [_version_1(folder) for folder in groups("memory", mounted, own)]
    limited = [each for each in found if each is not None and each.limit is not None]
    return min(limited, key=lambda each: each.limit or 0, default=_version_2(mounted))


def oom_kills(mounted: Path = MOUNTED, own: Path = OWN) -> int | None:
    """Processes of this container that the kernel has killed because memory ran out.

    None where it does not say: outside of a container, or before Linux 4.13.
    """
    counted = [folder / "memory.events" for folder in groups("", mounted, own)]
    counted += [folder / "memory.oom_control" for folder in groups("memory", mounted, own)]
    for file in counted:
        with suppress(OSError):
            return _number(file, "oom_kill")
    return None


def _version_2(folder: Path) -> Memory | None:
    try:
        # The root group, that is the whole machine, has neither file.
        used = int((folder / "memory.current").read_text())
        limit = (folder / "memory.max").read_text().strip()
        unused_cache = _number(folder / "memory.stat", "inactive_file") or 0
        return Memory(max(0, used - unused_cache), None if limit == "max" else int(limit))
    except (OSError, ValueError):
        return None


def _version_1(folder: Path) -> Memory | None:
    try:
        used = int((folder / "memory.usage_in_bytes").read_text())
        limit = int((folder / "memory.limit_in_bytes").read_text())
        unused_cache = _number(folder / "memory.stat", "total_inactive_file") or 0
    except (OSError, ValueError):
        return None
    # Without a limit it cannot be told from the root group, that is the whole machine.
    return Memory(max(0, used - unused_cache), limit) if limit < NO_LIMIT_V1 else None


def _number(file: Path, name: str) -> int | None:
    for line in file.read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None


def collect(mounted: Path = MOUNTED) -> Iterator[Metric]:
    """The families of the container's memory."""
    memory = read_memory(mounted)
    if memory is None:
        return
    yield gauge(
        "inference_memory_bytes",
        "Memory of the container as the kernel counts it, without file cache that it would free.",
        (),
        [((), memory.used)],
    )
    if memory.limit is not None:
        yield gauge(
            "inference_memory_limit_bytes",
            "Memory of the container beyond which the kernel kills processes.",
            (),
            [((), memory.limit)],
        )
