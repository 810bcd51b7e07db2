"""Writes log lines from a thread of its own: whoever reads them, or does not, delays no request."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import Final

from engine.serving.budget import Budget

# Events of any kind; one that repeats with every request must not cost more than the requests.
MOST_LINES_PER_SECOND: Final = 200
MOST_LINES_WAITING: Final = 1000
FLUSH_SECONDS: Final = 0.5
# POSIX promises 512; Linux has this, see pipe(7).
PIECE_BYTES: Final = 4096


class Writer(logging.Handler):
    """Formats events where they happen and writes them elsewhere.

    Args:
        descriptor: of the open file that is written to.
        lines: most lines in a second.
        waiting: most lines that wait to be written; what comes when nobody reads is left out.
    """

    def __init__(
        self,
        descriptor: int,
        lines: int = MOST_LINES_PER_SECOND,
        waiting: int = MOST_LINES_WAITING,
    ) -> None:
        super().__init__()
        self.on_dropped: Callable[[int], None] = lambda count: None
        self._descriptor = descriptor
        self._budget = Budget(lines)
        self._waiting = waiting
        self._dropped = 0
        self._process = 0
        # SimpleQueue, because a signal's handler may log in the middle of another event.
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        if self._process != os.getpid():
            self._start()
        if self._queue.qsize() >= self._waiting or not self._budget.take(time.monotonic()):
            self._dropped += 1
            self.on_dropped(1)
            return
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._queue.put(self.format(_left_out(dropped)))
        try:
            self._queue.put(self.format(record))
        except Exception:  # noqa: BLE001 - as logging's own handlers do
            self.handleError(record)

    def flush(self) -> None:
        """Wait until all is written, but not for long: somebody may not be reading."""
        if self._thread is None or self._process != os.getpid():
            return
        self._queue.put(None)
        self._thread.join(FLUSH_SECONDS)
        self._process = 0

    def _start(self) -> None:
        # After a fork there is no thread, and what waits will be written by the parent.
        self._process = os.getpid()
        self._queue = SimpleQueue()
        self._thread = threading.Thread(
            target=_write_all, args=(self._queue, self._descriptor), name="log", daemon=True
        )
        self._thread.start()


def _write_all(queue: SimpleQueue[str | None], descriptor: int) -> None:
    for piece in _pieces(queue):
        rest = piece
        # Whoever read it is gone: there is nobody to tell.
        with suppress(OSError):
            while rest:
                rest = rest[os.write(descriptor, rest) :]


def _pieces(queue: SimpleQueue[str | None]) -> Iterator[bytes]:
    """Lines until None comes, those that are there already in one piece.

    Every write stops the thread that answers requests for a moment. But a piece is no longer than
    what a pipe takes as a whole, or one line: lines of several processes must not mix.
    """
    line = queue.get()
    while line is not None:
        piece = _bytes(line)
        while not queue.empty():
            line = queue.get()
            if line is None or len(piece) + len(_bytes(line)) > PIECE_BYTES:
                break
            piece += _bytes(line)
        else:
            yield piece
            line = queue.get()
            continue
        yield piece


def _bytes(line: str) -> bytes:
    return f"{line}\n".encode(errors="backslashreplace")


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
