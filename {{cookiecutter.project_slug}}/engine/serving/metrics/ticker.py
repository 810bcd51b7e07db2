"""A timer of the event loop: how late it fires, and gauges written for the other workers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

PERIOD_SECONDS = 0.25


class Ticker:
    """Fires a few times a second, on the event loop that serves.

    Args:
        late: called with the seconds by which each firing was late: as long would a request have
            waited that had arrived then.
        publish: called at each firing.
    """

    def __init__(self, late: Callable[[float], None], publish: Callable[[], None]) -> None:
        self._late = late
        self._publish = publish
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._failed = False

    def start(self) -> None:
        """Fire from now on; called on the event loop."""
        self._due = time.perf_counter() + PERIOD_SECONDS
        self._timer = asyncio.get_running_loop().call_later(PERIOD_SECONDS, self._fire)

    def stop(self) -> None:
        """Fire no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        try:
            # The loop's timers are exact to a millisecond only, and may be early by a part of one.
            self._late(max(0.0, time.perf_counter() - self._due))
            self._publish()
        except Exception:
            if not self._failed:  # four times a second would fill the log
                log.exception("metrics could not be published")
            self._failed = True
        finally:
            self.start()
