"""Numbers that several worker processes write and any of them can sum.

prometheus_client's own multi-process mode writes files and takes a lock for every increment, and a
request here updates ten numbers within some twenty microseconds. So each worker counts in lists of
its own, which is the cheapest thing that Python can count in, and copies them a few times a second
to its row of one shared, anonymous memory mapping; only reading adds the rows up. The mapping is
made before the workers are forked and needs no writable disk.
"""

from __future__ import annotations

import mmap
import threading
import time
from array import array
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from engine.serving.lifecycle import SILENT_SECONDS, State

DOUBLE = 8
# The column in which each worker says in which state it is; the dispatcher reads it, too.
STATE = 0
# The column in which each worker says when its event loop last ran; ``time.monotonic``, which all
# processes share.
BEAT = 1
# A new mapping is full of zeros, so the first one is the one that every worker begins in.
STATES = (State.STARTING, State.READY, State.FAILED, State.LOST, State.DRAINING)


class SharedTable:
    """A table of float64 numbers: one row for each worker, one column for each number.

    Args:
        workers: number of rows.
        columns: number of columns; ``reserve`` hands them out.
        numbers: further ones for each worker; ``reserve_array`` hands them out.
    """

    def __init__(self, workers: int, columns: int, numbers: int = 0) -> None:
        self._columns = columns + 2
        self._memory = mmap.mmap(-1, workers * self._columns * DOUBLE)
        self._cells: memoryview[float] = memoryview(self._memory).cast("d")
        self._used = BEAT + 1
        # What is counted in bulk: each worker adds to its own row, where the others see it.
        self._arrays = np.frombuffer(mmap.mmap(-1, workers * max(1, numbers) * DOUBLE))
        self._arrays = self._arrays.reshape(workers, -1)
        self._numbers_used = 0
        self.workers = workers
        # The worker that this process is; the dispatcher is none of them.
        self._own: int | None = 0 if workers == 1 else None
        # This worker's numbers, ahead of what the others can see. Always the same list, so that
        # those who count may keep it.
        self.row: list[float] = [0.0] * self._columns
        # The exporter of metrics reads them in a thread of its own.
        self.lock = threading.RLock()
        # What has yet to be written into the row.
        self.before_publishing: list[Callable[[], None]] = []

    def set_state(self, state: State) -> None:
        """Say in which state this worker is; the others see it at once."""
        self.row[STATE] = float(STATES.index(state))
        # A worker that is stuck before its first beat would never be missed.
        self.row[BEAT] = time.monotonic()
        self.publish()

    def beat(self) -> None:
        """Say that this worker's event loop runs; the others see it at once."""
        self.row[BEAT] = now = time.monotonic()
        if self._own is not None:
            self._shared(self._own)[BEAT] = now

    def states(self, silent: float) -> list[State]:
        """In which state each worker is; one that was ready and has not said for so many seconds
        that its event loop runs is lost.
        """
        states = [STATES[int(value)] for value in self.values(STATE)]
        now = time.monotonic()
        for worker, beat in enumerate(self.values(BEAT)):
            if states[worker] is State.READY and worker != self._own and 0 < beat < now - silent:
                states[worker] = State.LOST
        return states

    def ready(self) -> list[bool]:
        """Which workers can answer."""
        return [state is State.READY for state in self.states(SILENT_SECONDS)]

    def become(self, worker: int) -> None:
        """Write to this worker's row from now on; called after the fork."""
        self.publish()
        self._own = worker
        self.row[:] = self._shared(worker)

    def publish(self) -> None:
        """Show this worker's numbers to the others."""
        with self.lock:
            for each in self.before_publishing:
                each()
            if self._own is not None:
                self._shared(self._own)[:] = memoryview(array("d", self.row))

    def reserve(self, count: int) -> int:
        """The first of ``count`` new columns. All workers must reserve in the same order.

        Raises:
            MemoryError: the shared table is full.
        """
        first = self._used
        self._used += count
        if self._used > self._columns:
            raise MemoryError(
                f"the shared table has {self._columns} columns and {self._used} are needed"
            )
        return first

    def reserve_array(self, count: int) -> tuple[npt.NDArray[np.float64], int]:
        """New numbers of all workers, [workers, count], and the row that this one adds to. All
        workers must reserve in the same order.

        Raises:
            MemoryError: there are no more.
        """
        first = self._numbers_used
        self._numbers_used += count
        if self._numbers_used > self._arrays.shape[1]:
            raise MemoryError(f"{self._arrays.shape[1]} numbers are shared and {count} more needed")
        return self._arrays[:, first : self._numbers_used], self._own or 0

    def total(self, column: int) -> float:
        """The sum of one column over all workers."""
        return sum(self.values(column))

    def values(self, column: int) -> list[float]:
        """One column: the number of each worker; of others as they last published it."""
        numbers = [self._shared(worker)[column] for worker in range(self.workers)]
        if self._own is not None:
            numbers[self._own] = self.row[column]
        return numbers

    def _shared(self, worker: int) -> memoryview[float]:
        start = worker * self._columns
        return self._cells[start : start + self._columns]


class Gauge:
    """A number that each worker sets."""

    __slots__ = ("_column", "_table")

    def __init__(self, shared_table: SharedTable) -> None:
        self._table = shared_table
        self._column = shared_table.reserve(1)

    def set(self, value: float) -> None:
        """Set this worker's number."""
        self._table.row[self._column] = value

    def values(self) -> list[float]:
        """The number of each worker; 0 for one that has not set it yet."""
        return self._table.values(self._column)

    def total(self) -> float:
        """The sum over all workers."""
        return self._table.total(self._column)


class Count:
    """A number that only grows."""

    __slots__ = ("_column", "_row", "_table")

    def __init__(self, shared_table: SharedTable) -> None:
        self._table = shared_table
        self._row = shared_table.row
        self._column = shared_table.reserve(1)

    def add(self, amount: float = 1.0) -> None:
        """Add to this worker's number."""
        self._row[self._column] += amount

    def total(self) -> float:
        """The sum over all workers."""
        return self._table.total(self._column)


class Distribution:
    """How often a value fell into which bucket, and the sum of all values.

    ``add`` takes one value. It only puts it aside, which is a third of a call in Python; values
    are sorted into buckets together, when they are read or published. What is put aside is numbers
    and no objects: tens of thousands of those a second would push what requests use out of the
    processor's cache.

    Args:
        bounds: upper bounds of the buckets, inclusive and rising; one more is added for the rest.
    """

    __slots__ = ("_aside", "_first", "_sorted", "_sum", "_table", "add", "bounds")

    def __init__(self, shared_table: SharedTable, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self._table = shared_table
        self._first = shared_table.reserve(len(self.bounds) + 2)
        self._sum = self._first + len(self.bounds) + 1
        self._aside = array("d")
        self._sorted = 0
        self.add: Callable[[float], None] = self._aside.append
        shared_table.before_publishing.append(self._sort)

    @property
    def added(self) -> int:
        """How many values this process has added."""
        with self._table.lock:
            return self._sorted + len(self._aside)

    def cumulative(self) -> list[float]:
        """Values at or below each bound, and the count of all, over all workers."""
        self._sort()
        counts, running = [], 0.0
        for column in range(self._first, self._sum):
            running += self._table.total(column)
            counts.append(running)
        return counts

    def sum(self) -> float:
        """The sum of all values, over all workers."""
        self._sort()
        return self._table.total(self._sum)

    def _sort(self) -> None:
        if not self._aside:
            return
        with self._table.lock:
            # A copy, for nothing can be added to an array while somebody else has its memory.
            values = np.frombuffer(self._aside.tobytes())
            # More may have been added meanwhile.
            del self._aside[: len(values)]
            self._sorted += len(values)
            row, first = self._table.row, self._first
            places = np.searchsorted(self.bounds, values, side="left")
            for place, count in enumerate(np.bincount(places).tolist()):
                row[first + place] += count
            row[self._sum] += float(values.sum())
