"""Signs of life of a rollout, so that other deploys do not take it for one that died.

Whether the process that left a record behind is dead can only its own machine know. Where this
cannot be decided, the caller watches for signs of life instead.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from engine.deploy.az import AzError
from engine.deploy.journal import Record
from engine.deploy.rollout.ownership import require_record
from engine.deploy.rollout.site import NotUp, Site

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


BEAT_SECONDS = 15.0

T = TypeVar("T")


class Signs:
    """Writes the time into the journal, so that other deploys see that this one is alive."""

    def __init__(self, site: Site, record: Record) -> None:
        self._site = site
        self._record = record
        self._last = site.clock.monotonic()

    def beat(self) -> None:
        """Look whose rollout it is, and write the time.

        Raises:
            TakenOver: it is another's.
        """
        self._last = self._site.clock.monotonic()
        require_record(self._site, self._record)
        try:
            self._site.journal.sign(self._record.id, self._site.now())
        except AzError as error:
            # No reason to give up a release: what watches is patient for several of them.
            self._site.say.detail(f"no sign of life could be written: {error.code}")

    def beat_if_due(self) -> None:
        """Write the time if the last sign is old; see ``beat``."""
        if self._site.clock.monotonic() >= self._last + BEAT_SECONDS:
            self.beat()


def attended(site: Site, work: Callable[[], T], signs: Signs, seconds: float) -> T:
    """Do the work in a thread of its own, and give signs of life meanwhile.

    The signs come from the caller's thread and end with the work: none can overtake what the
    caller does next.

    Raises:
        NotUp: the work took too long.
        BaseException: whatever the work raised.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the other thread
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    give_up = time.monotonic() + seconds
    while thread.is_alive():
        thread.join(min(BEAT_SECONDS, max(0.0, give_up - time.monotonic())))
        if thread.is_alive():
            if time.monotonic() >= give_up:
                raise NotUp(
                    f"verifying took longer than {seconds:.0f} s",
                    "the service answers too slowly, or raise rollout.verify_seconds",
                )
            signs.beat()
    if failed:
        raise failed[0]
    return done[0]
