"""Counts how often the class that was answered was the right one, once somebody says which it was.

What is kept of an answer is a number made of its request's id and the number of its class, in
memory of a fixed size that all workers share: no value of a request, and no id.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import numpy as np

from engine.serving.reference.counting import Counts
from engine.serving.reference.recorder import STEPS, WINDOWS, Window

# Of one request.
MOST_ROWS: Final = 64
MOST_CLASSES: Final = 50
OTHERS: Final = "(others)"
# Of a remembered row: its key, its class and when it was answered.
FIELDS: Final = 3
# 48 bits, which a float64 holds exactly; a key is never 0, which is an empty place.
KEY_BYTES: Final = 6


def numbers_for(remembered: int) -> int:
    """Numbers that each worker needs for one model that remembers so many rows."""
    return remembered * FIELDS + 2 * (MOST_CLASSES + 1)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Of the rows whose right class is ``label``: how many, and how many were answered with it."""

    label: str
    rows: float
    right: float


class Feedback:
    """The feedback for one model.

    Args:
        labels: names of its classes.
        remembered: rows that each worker remembers; the oldest are forgotten first.
        shared: of shape [workers, numbers_for(remembered)]; each worker writes into its own row.
        own: the row of this worker.
        clock: seconds; the same in all workers.
    """

    def __init__(
        self,
        labels: Sequence[str],
        remembered: int,
        shared: Counts,
        own: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.labels = tuple(labels)
        self._numbers = {label: number for number, label in enumerate(self.labels)}
        size = remembered * FIELDS
        self._answers = shared[:, :size].reshape(len(shared), FIELDS, remembered)
        self._own = self._answers[own]
        self._counts = shared[:, size:].reshape(len(shared), 2, -1)
        self._own_counts = self._counts[own]
        self._place = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._windows = {name: Window(WINDOWS[name] / STEPS[name], STEPS[name]) for name in WINDOWS}
        self.publish()

    def remember(self, request_id: str, numbers: Sequence[int]) -> None:
        """Remember the numbers of the classes that a request's rows were answered with; called on
        any thread.
        """
        count = min(len(numbers), MOST_ROWS, self._own.shape[1])
        keys = [_key(request_id, row) for row in range(count)]
        with self._lock:
            places = (self._place + np.arange(count)) % self._own.shape[1]
            self._own[:, places] = (keys, numbers[:count], [self._clock()] * count)
            self._place = (self._place + count) % self._own.shape[1]

    def number(self, label: object) -> int | None:
        """The number of a class by its name or number; None: there is none."""
        if isinstance(label, int) and not isinstance(label, bool):
            return label if 0 <= label < len(self.labels) else None
        return self._numbers.get(str(label))

    def remembers(self, request_id: str, row: int) -> bool:
        """Whether the class of a row is remembered, by any worker."""
        return bool((self._answers[:, 0] == _key(request_id, row)).any())

    def count(self, request_id: str, row: int, number: int) -> bool:
        """Count the right class of a row, once; False: it is not remembered."""
        workers, places = np.nonzero(self._answers[:, 0] == _key(request_id, row))
        if not len(places):
            return False
        latest = int(self._answers[workers, 2, places].argmax())
        worker, place = workers[latest], places[latest]
        answered = int(self._answers[worker, 1, place])
        self._answers[workers, 0, places] = 0
        column = min(number, MOST_CLASSES)
        with self._lock:
            self._own_counts[:, column] += (1, answered == number)
        return True

    def publish(self) -> None:
        """Move the windows on; called a few times a second."""
        now = self._clock()
        for window in self._windows.values():
            if now >= window.due:
                window.advance(now, self._counts.sum(axis=0))

    def accuracy(self, window: str) -> list[Accuracy]:
        """By class, over all workers; those of which nothing is known are left out."""
        rows, right = self._counts.sum(axis=0) - self._windows[window].before
        # All classes beyond the last of these have one place.
        labels = [*self.labels[:MOST_CLASSES], OTHERS]
        if len(self.labels) <= MOST_CLASSES:
            labels.pop()
        found = zip(labels, rows.tolist(), right.tolist(), strict=False)
        return [Accuracy(*each) for each in found if each[1] > 0]


def _key(request_id: str, row: int) -> int:
    digest = blake2b(f"{row} {request_id}".encode(), digest_size=KEY_BYTES).digest()
    return int.from_bytes(digest) or 1
