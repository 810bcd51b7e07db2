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
from statistics import NormalDist
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
# Of a model that keeps its promise, the share of looks that call it inaccurate by chance.
FALSE_ALARMS: Final = 1e-4
# Fewer wrong answers never do: below, the normal approximation does not hold.
FEWEST_WRONG: Final = 5
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
        promised: share of right answers that is promised, between 0 and 1.
        remembered: places of each worker; a row has one of them, by its key, until another row
            gets it. So looking one up costs the same however many there are.
        shared: of shape [workers, numbers_for(remembered)]; each worker writes into its own row.
        own: the row of this worker.
        clock: seconds; the same in all workers.
    """

    def __init__(
        self,
        labels: Sequence[str],
        promised: float,
        remembered: int,
        shared: Counts,
        own: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.labels = tuple(labels)
        self._promised = promised
        self._numbers = {label: number for number, label in enumerate(self.labels)}
        size = remembered * FIELDS
        self._answers = shared[:, :size].reshape(len(shared), FIELDS, remembered)
        self._own = self._answers[own]
        self._counts = shared[:, size:].reshape(len(shared), 2, -1)
        self._own_counts = self._counts[own]
        self._clock = clock
        self._lock = threading.Lock()
        self._windows = {name: Window(WINDOWS[name] / STEPS[name], STEPS[name]) for name in WINDOWS}
        self.publish()

    def remember(self, request_id: str, numbers: Sequence[int]) -> None:
        """Remember the numbers of the classes that a request's rows were answered with; called on
        any thread.
        """
        count = min(len(numbers), MOST_ROWS)
        # Rows of one request never share a place.
        keys = _key(request_id, 0) + np.arange(count)
        answers = np.array([keys, numbers[:count], np.full(count, self._clock())], np.float64)
        with self._lock:
            self._own[:, keys % self._own.shape[1]] = answers

    def number(self, label: object) -> int | None:
        """The number of a class by its name or number; None: there is none."""
        if isinstance(label, int) and not isinstance(label, bool):
            return label if 0 <= label < len(self.labels) else None
        return self._numbers.get(str(label))

    def remembers(self, request_id: str, row: int) -> bool:
        """Whether the class of a row is remembered, by any worker."""
        key = _key(request_id, row)
        return bool((self._at(key)[:, 0] == key).any())

    def count(self, request_id: str, row: int, number: int) -> bool:
        """Count the right class of a row, once; False: it is not remembered."""
        key = _key(request_id, row)
        found = self._at(key)
        workers = np.flatnonzero(found[:, 0] == key)
        if not len(workers):
            return False
        latest = workers[found[workers, 2].argmax()]
        right = int(found[latest, 1]) == number
        found[workers, 0] = 0
        with self._lock:
            self._own_counts[:, min(number, MOST_CLASSES)] += (1, right)
        return True

    def _at(self, key: int) -> Counts:
        """The place of a key in each worker's memory, a view of shape [workers, FIELDS]."""
        return self._answers[:, :, key % self._own.shape[1]]

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

    def wrong_ratio(self, found: Sequence[Accuracy]) -> float:
        """Of all classes together, see the function of this name."""
        rows = sum(each.rows for each in found)
        return wrong_ratio(rows, rows - sum(each.right for each in found), self._promised)


def wrong_ratio(rows: float, wrong: float, promised: float) -> float:
    """The share of wrong answers, divided by the one up to which it is promised or chance.

    Source: NIST/SEMATECH e-Handbook of Statistical Methods, 7.2.4, "Does the proportion of
    defectives meet requirements?": the normal approximation of the binomial distribution.

    Args:
        rows: whose right class is known; at least one.
        promised: share of right answers, between 0 and 1.
    """
    chance: float = (
        NormalDist().inv_cdf(1 - FALSE_ALARMS) * (promised * (1 - promised) / rows) ** 0.5
    )
    return wrong / max(FEWEST_WRONG, rows * (1 - promised + chance))


def _key(request_id: str, row: int) -> int:
    digest = blake2b(request_id.encode(), digest_size=KEY_BYTES).digest()
    return (int.from_bytes(digest) or 1) + row
