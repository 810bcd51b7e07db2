"""Counts what a model is asked and answers, a sample of it, over the last hour and day.

Runs of the model only leave their arrays here. They are counted a few times a second, together, in
fixed memory that all workers share; nothing of a request is kept beyond that.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from engine.serving.reference.counting import Counter, Counts
from engine.serving.reference.index import Shift, shift, split
from engine.serving.tensors.datatypes import Array

# Of what a worker computes between two times of counting, a quarter of a second.
SAMPLED_ROWS: Final = 256
SAMPLED_BYTES: Final = 1024 * 1024
WINDOWS: Final = {"hour": 3600.0, "day": 86_400.0}
# Windows move on by a twelfth or a twenty-fourth of their length.
STEPS: Final = {"hour": 12, "day": 24}

Ran = tuple[Mapping[str, Array], Mapping[str, Array]]
Run = Callable[[Mapping[str, Array]], dict[str, Array]]


class Recorder:
    """Counts for one model.

    Args:
        counter: of the model's reference.
        shared: of shape [workers, numbers]; each worker adds to its own row.
        own: the row of this worker.
        clock: seconds.
    """

    def __init__(
        self,
        counter: Counter,
        shared: Counts,
        own: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.columns = counter.reference.columns
        self.reference_rows = counter.reference.rows
        self._counter = counter
        self._lock = threading.Lock()
        self._shared = shared[:, : counter.reference.size]
        self._own = self._shared[own]
        self._clock = clock
        self._waiting: deque[Ran] = deque()
        self._room = SAMPLED_ROWS
        self._bytes = SAMPLED_BYTES
        self._windows = {name: Window(WINDOWS[name] / STEPS[name], STEPS[name]) for name in WINDOWS}
        self._advance()

    def recorded(self, run: Run) -> Run:
        """The run of the model, which leaves its arrays here; called on any thread."""

        def recording(inputs: Mapping[str, Array]) -> dict[str, Array]:
            outputs = run(inputs)
            if self._room > 0:
                self._keep(inputs, outputs)
            return outputs

        return recording

    def _keep(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        room = self._room
        rows = len(next(iter(inputs.values())))
        if rows > room:
            # A view would keep the whole run in memory.
            inputs = {name: value[:room].copy() for name, value in inputs.items()}
            outputs = {name: value[:room].copy() for name, value in outputs.items()}
        self._bytes -= sum(value.nbytes for value in (*inputs.values(), *outputs.values()))
        if self._bytes < 0:
            self._room = 0
            return
        self._room = room - rows
        self._waiting.append((inputs, outputs))

    def publish(self) -> None:
        """Count what was left here; called a few times a second, on any thread."""
        with self._lock:
            waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
            for inputs, outputs in _together(waiting):
                self._own += self._counter.count(inputs, outputs)
            self._room, self._bytes = SAMPLED_ROWS, SAMPLED_BYTES
            self._advance()

    def counts(self, window: str) -> list[Counts]:
        """What was counted in a window, over all workers: of each column float64 [column.size]."""
        counts = self._shared.sum(axis=0) - self._windows[window].before
        return split(self.columns, counts)

    def shifts(self, window: str) -> list[Shift]:
        """How far each column of the reference was from it in a window, over all workers."""
        return [shift(*each) for each in zip(self.columns, self.counts(window), strict=True)]

    def _advance(self) -> None:
        now = self._clock()
        for window in self._windows.values():
            if now >= window.due:
                window.advance(now, self._shared.sum(axis=0))


def _together(runs: Sequence[Ran]) -> Iterator[Ran]:
    """The runs whose arrays have rows of the same shapes, as one: counting the rows of many small
    runs one by one would cost a tenth of what they compute.
    """
    alike: dict[object, list[Ran]] = {}
    for run in runs:
        shapes = [(value.ndim, value.shape[1:]) for side in run for value in side.values()]
        alike.setdefault(tuple(shapes), []).append(run)
    for group in alike.values():
        first = group[0]
        if len(group) == 1 or not all(value.ndim for side in first for value in side.values()):
            yield from group
            continue
        inputs, outputs = (
            {name: np.concatenate([run[side][name] for run in group]) for name in first[side]}
            for side in (0, 1)
        )
        yield inputs, outputs


class Window:
    """The totals at the beginning of a window that moves on in steps.

    Args:
        seconds: of a step.
        steps: of the window.
    """

    def __init__(self, seconds: float, steps: int) -> None:
        self._seconds = seconds
        self._totals: deque[Counts] = deque(maxlen=steps)
        self.due = 0.0

    @property
    def before(self) -> Counts:
        """What was counted before the window began."""
        return self._totals[0]

    def advance(self, now: float, totals: Counts) -> None:
        """Begin the next step."""
        self._totals.append(np.array(totals))
        self.due = now + self._seconds
