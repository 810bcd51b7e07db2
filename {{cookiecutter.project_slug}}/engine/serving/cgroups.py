"""The control groups of this process, whose limits hold for it: its own, and those above it.

In a container the own group is mostly the root of what is mounted. It is not where a service
manager or a batch system started the process, or where a container sees the groups of its host.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

MOUNTED: Final = Path("/sys/fs/cgroup")
OWN: Final = Path("/proc/self/cgroup")


def groups(controller: str, mounted: Path = MOUNTED, own: Path = OWN) -> list[Path]:
    """The folders of the groups, the process's own first.

    Args:
        controller: of version 1, such as ``cpu``; empty: the groups of version 2.
        mounted: where control groups are mounted.
        own: names the process's groups, as "cgroups(7)" of Linux describes it.
    """
    root = mounted / controller
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, names, path = (*line.split(":", 2), "", "")[:3]
        # Paths that leave the mounted part are of no use here.
        if controller in names.split(",") and ".." not in path:
            folder = root / path.strip("/")
            above = [folder, *folder.parents]
            return [each for each in above[: above.index(root) + 1] if each.is_dir()]
    return [root]
