"""What a run of a model costs, measured while it is warmed up."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# Larger batches are not tried, nor so long a run repeated.
LONGEST_RUN_SECONDS = 0.25
# The best run of each size counts. Sizes take turns: a moment in which a neighbour keeps the
# machine busy is then no size's whole measurement. Three rounds, and more where they are short.
ROUNDS = 3
MOST_ROUNDS = 12
MEASURE_SECONDS = 0.15
# A turn of a small size is more than a run: the first is slow, with caches full of another size.
TURN_RUNS = 4
TURN_SECONDS = 0.001
# Twice as many rows in a batch must make each cheaper by a twentieth; where they do not, they only
# wait. A run that takes nearly twice as long makes every answer wait so: where that is felt, rows
# must get cheaper by a tenth.
WORTHWHILE = 0.95
WORTH_WAITING = 0.9
FELT_SECONDS = 0.005
# What a run costs beside the model: its requests are queued, joined and cut, and a thread is woken.
AROUND_SECONDS = 0.00015
# As long may one part of a request compute that is too large for a batch: others wait for the whole
# of it in any case.
PART_SECONDS = 0.015
# Two doublings without gain end the search: a single one on a busy machine proves little.
PATIENCE = 2

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Profile:
    """Seconds of one run, ``fixed + per_row * rows``, and the batch beyond which nothing is won.

    ``batch_rows`` is small for models that keep the processor busy with a single row (images),
    and large for those that spend most of a run on calling it. ``part_rows`` is the most that one
    run takes of a single request with more rows than that.
    """

    fixed: float
    per_row: float
    batch_rows: int
    part_rows: int

    def seconds(self, rows: int) -> float:
        """The estimate for a run of that many rows."""
        return self.fixed + self.per_row * rows


def measure(run: Callable[[int], None], max_rows: int) -> Profile:
    """Run batches of 1, 2, 4, ... rows while larger ones may pay and the memory holds them.

    Args:
        run: runs the model on so many rows.
        max_rows: largest batch to try.
    """
    began = time.perf_counter()
    seconds = _grow(run, max_rows)
    for done in range(1, MOST_ROUNDS):
        if done >= ROUNDS and time.perf_counter() - began > MEASURE_SECONDS:
            break
        _measure_again(run, seconds)
    cheapest = _cheapest(seconds)
    slope = (seconds[cheapest] - seconds[1]) / (cheapest - 1) if cheapest > 1 else seconds[1]
    per_row = max(0.0, slope)
    part = max(rows for rows in seconds if rows <= cheapest or seconds[rows] <= PART_SECONDS)
    return Profile(max(0.0, seconds[1] - per_row), per_row, cheapest, part)


def _grow(run: Callable[[int], None], max_rows: int) -> dict[int, float]:
    """Seconds of a run by its rows, ascending, each size measured in one turn."""
    rows = 1
    seconds = {1: _turn(run, 1)}
    while rows < max_rows and seconds[rows] < LONGEST_RUN_SECONDS:
        without_gain = math.log2(rows / _cheapest(seconds))
        if without_gain >= PATIENCE and 2 * seconds[rows] > PART_SECONDS:
            break
        rows = min(rows * 2, max_rows)
        turn = _turn_if_it_fits(run, rows)
        if turn is None:
            break
        seconds[rows] = turn
    return seconds


def _measure_again(run: Callable[[int], None], seconds: dict[int, float]) -> None:
    """Another turn of each size; those that do not fit any more are taken out."""
    for rows, before in list(seconds.items()):
        if before >= LONGEST_RUN_SECONDS:
            continue
        turn = _turn(run, 1) if rows == 1 else _turn_if_it_fits(run, rows)
        if turn is None:
            # Others may have taken the memory meanwhile, such as a worker on the same GPU.
            for size in [size for size in seconds if size >= rows]:
                del seconds[size]
            return
        seconds[rows] = min(before, turn)


def _turn_if_it_fits(run: Callable[[int], None], rows: int) -> float | None:
    """A turn; None, and why in the log, where the model runs on one row but not on so many."""
    try:
        return _turn(run, rows)
    except Exception as error:  # noqa: BLE001 - runtimes raise their own classes
        run(1)  # of a model that does not run at all any more
        log.warning("no batches of %s rows: %s", rows, error)
        return None


def _cheapest(seconds: Mapping[int, float]) -> int:
    """The size beyond which rows do not get cheaper by as much as is worth waiting for."""
    cheapest = 1
    for rows in seconds:
        doubling = WORTHWHILE if seconds[rows] < FELT_SECONDS else WORTH_WAITING
        worthwhile = doubling ** math.log2(rows / cheapest)
        if _cost(seconds, rows) < worthwhile * _cost(seconds, cheapest):
            cheapest = rows
    return cheapest


def _cost(seconds: Mapping[int, float], rows: int) -> float:
    """What one row costs in a run of so many."""
    return (seconds[rows] + AROUND_SECONDS) / rows


def _turn(run: Callable[[int], None], rows: int) -> float:
    """Seconds of the best run of some in a row."""
    times: list[float] = []
    while len(times) < TURN_RUNS and sum(times) < TURN_SECONDS:
        begun = time.perf_counter()
        run(rows)
        times.append(time.perf_counter() - begun)
    return min(times)
