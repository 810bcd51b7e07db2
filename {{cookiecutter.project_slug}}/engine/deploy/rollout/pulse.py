"""Signs of life of a rollout, so that other deploys do not take it for one that died."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from engine.deploy.az import AzError
from engine.deploy.config import names
from engine.deploy.journal import Record
from engine.deploy.rollout.ownership import see
from engine.deploy.rollout.site import NotUp, Site
from engine.deploy.targets.base import Live

BEAT_SECONDS = 15.0

T = TypeVar("T")


class Pulse:
    """Writes the time into a tag, so that other deploys see that this one is alive.

    It stops where the container has restarted after that: Azure documents that a PATCH of a
    container group changes tags, and not that nothing restarts.

    Args:
        state: see ``see``; None: the rollout is over, and nothing is written.
    """

    def __init__(self, site: Site, record: Record, state: str | None) -> None:
        self._site = site
        self._record = record
        self._state = state
        self._silent = state is None
        self._last = site.clock.monotonic()
        self._before: Live | None = None

    def beat(self) -> None:
        """Look whose it is, and write the time.

        Raises:
            TakenOver: it is another's.
        """
        try:
            live = see(self._site, self._record, self._state)
        except AzError as error:
            self._missed(error)
        else:
            if live is not None:
                self._write(live)

    def beat_if_due(self, live: Live) -> None:
        """Write the time if the last sign is old, given what was just read."""
        if self._site.clock.monotonic() >= self._last + BEAT_SECONDS:
            self._write(live)

    def restarts(self, live: Live) -> bool:
        """Whether the container has restarted since the last sign of life; then it was the last."""
        if self._before is None or self._site.target.serves_on or not restarted(self._before, live):
            return False
        self._before, self._silent = None, True
        self._site.say.warning(
            f"{self._site.target.what} restarted after a change of its tags: this rollout gives no "
            "signs of life any more"
        )
        return True

    def _write(self, live: Live) -> None:
        if self.restarts(live) or self._silent:
            return
        self._last, self._before = self._site.clock.monotonic(), live
        try:
            self._site.target.mark({**live.tags, names.TAG_HEARTBEAT: self._site.now()})
        except AzError as error:
            self._missed(error)

    def _missed(self, error: AzError) -> None:
        # No reason to give up a release: what watches is patient for several of them.
        self._last = self._site.clock.monotonic()
        self._site.say.detail(f"no sign of life could be written: {error.code}")


def restarted(before: Live, after: Live) -> bool:
    """Whether the container was started between two looks."""
    return (before.since, before.restarts) != (after.since, after.restarts)


def attended(site: Site, work: Callable[[], T], pulse: Pulse, seconds: float) -> T:
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
            pulse.beat()
    if failed:
        raise failed[0]
    return done[0]
