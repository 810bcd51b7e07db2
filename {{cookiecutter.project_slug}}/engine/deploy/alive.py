"""Is the run that left a record behind certainly dead? Only this machine can know about its own.

Where this cannot be decided, the caller has to watch for signs of life instead.
"""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")


def this_process() -> str | None:
    """Names this process for all time and all machines; None where the system has no /proc."""
    machine = _machine()
    began = _began(os.getpid())
    return f"{machine}/{os.getpid()}/{began}" if machine and began else None


def certainly_dead(process: str | None) -> bool:
    """Whether the process ran on this machine and is gone; False where that cannot be told."""
    machine = _machine()
    if process is None or machine is None or not process.startswith(f"{machine}/"):
        return False
    number, _, began = process.removeprefix(f"{machine}/").partition("/")
    return number.isdigit() and _began(int(number)) != began


def _machine() -> str | None:
    """This boot of this machine, and the namespace that process numbers belong to here."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return None


def _began(number: int) -> str | None:
    """When a process began, in ticks since the boot; None: there is none, or only its remains."""
    try:
        text = (_PROC / str(number) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The program's name is in parentheses and may itself hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]
