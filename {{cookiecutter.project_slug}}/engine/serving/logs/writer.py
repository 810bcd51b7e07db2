"""Writes log lines from a thread of its own: a reader that is slow or absent delays no request."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue
from typing import Final

from engine.serving.budget import Budget

# Events of any kind; one that repeats with every request must not cost more than the requests.
MOST_LINES_PER_SECOND: Final = 200
MOST_LINES_WAITING: Final = 1000
FLUSH_SECONDS: Final = 0.5


class Writer(QueueHandler):
    """Formats events where they happen and writes them elsewhere.

    Args:
        descriptor: of the open file that is written to.
        lines: most lines in a second.
        waiting: most lines that wait to be written; what comes when nobody reads is left out.
    """

    # A signal's handler may log in the middle of another event, so the queue takes no lock.
    queue: SimpleQueue[logging.LogRecord]

    def __init__(
        self,
        descriptor: int,
        lines: int = MOST_LINES_PER_SECOND,
        waiting: int = MOST_LINES_WAITING,
    ) -> None:
        super().__init__(SimpleQueue())
        self.on_dropped: Callable[[int], None] = lambda count: None
        self._descriptor = descriptor
        self._budget = Budget(lines)
        self._waiting = waiting
        self._dropped = 0
        self._process = 0
        self._thread: QueueListener | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        if self._process != os.getpid():
            # After a fork there is no thread, and what waits will be written by the parent.
            self._process = os.getpid()
            self.queue = SimpleQueue()
            self._thread = QueueListener(self.queue, _Descriptor(self._descriptor))
            self._thread.start()
        if self.queue.qsize() >= self._waiting or not self._budget.take(time.monotonic()):
            self._dropped += 1
            self.on_dropped(1)
            return
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            super().emit(_left_out(dropped))
        super().emit(record)

    def flush(self) -> None:
        """Wait until all is written, but not for long: perhaps nobody reads."""
        if self._thread is not None and self._process == os.getpid():
            waiting = threading.Thread(target=self._thread.stop, daemon=True)
            waiting.start()
            waiting.join(FLUSH_SECONDS)
            self._process = 0


class _Descriptor(logging.Handler):
    """Writes formatted events; each as a whole, for the lines of several processes must not mix."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        rest = f"{record.msg}\n".encode(errors="backslashreplace")
        # The reader is gone: there is nobody to tell.
        with suppress(OSError):
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]


def _left_out(count: int) -> logging.LogRecord:
    return logging.makeLogRecord(
        {
            "name": __name__,
            "levelno": logging.WARNING,
            "levelname": "WARNING",
            "msg": "%s log lines left out: too many in a second, or nobody read them",
            "args": (count,),
            "fields": {"dropped": count},
        }
    )
