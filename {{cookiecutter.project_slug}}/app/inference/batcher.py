"""Micro-batching: requests that arrive while the model computes share its next run.

Nothing here sleeps. An idle batcher computes at once; a busy one takes, when a lane falls free,
all that has arrived meanwhile. Rows are counted, not requests. Everything but ``run`` happens on
the event loop's thread, so no lock is needed.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from app.errors import BodyTooLarge, DeadlineExceeded, InferenceFailed, Overloaded
from app.inference.profile import Profile
from app.tensors.datatypes import Array
from app.tensors.signature import Signature

log = logging.getLogger(__name__)

Arrays = Mapping[str, Array]
Outcome = dict[str, Array] | Exception

# A run this short costs less than handing it to a thread and back, and delays the event loop
# less than one large request's parsing does.
INLINE_SECONDS = 0.002
SLOWNESS_SMOOTHING = 0.1
LONGEST_RETRY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one batcher: rows in one run; rows, bytes and seconds waiting; runs at a time."""

    batch_rows: int
    queue_rows: int
    queue_bytes: int
    queue_seconds: float
    lanes: int


class Observer(Protocol):
    """Is told what happened; metrics implement it."""

    def waited(self, seconds: float) -> None:
        """One request left the queue after that many seconds."""
        ...

    def computed(self, rows: int, seconds: float) -> None:
        """One run of the model ended."""
        ...


class _Job:
    __slots__ = ("bytes", "deadline", "enqueued", "future", "inputs", "rows")

    def __init__(self, inputs: Arrays, rows: int, deadline: float, now: float) -> None:
        self.inputs = inputs
        self.rows = rows
        self.bytes = sum(value.nbytes for value in inputs.values())
        self.deadline = deadline
        self.enqueued = now
        self.future: asyncio.Future[dict[str, Array]] = asyncio.get_running_loop().create_future()


class Batcher:
    """The queue in front of one model.

    Args:
        run: computes a batch; called on the event loop when short, else in ``executor``.
        signature: tells whether rows can share a run, and which shapes can.
        profile: measured cost of a run.
        executor: threads for long runs; shared by all models.
        in_flight: requests that this process is answering now, those included whose bodies have
            arrived but are not decoded yet.
    """

    def __init__(
        self,
        run: Callable[[Arrays], dict[str, Array]],
        signature: Signature,
        limits: Limits,
        profile: Profile,
        executor: Executor,
        observer: Observer,
        in_flight: Callable[[], int] = lambda: 2,
    ) -> None:
        self._run = run
        self._batched = signature.batched
        self._fixed_shape = all(-1 not in spec.shape[1:] for spec in signature.inputs)
        self._limits = limits
        self._profile = profile
        self._batch_rows = min(limits.batch_rows, profile.batch_rows)
        self._executor = executor
        self._observer = observer
        self._in_flight = in_flight
        # One line for each set of shapes that can share a run; served in turn.
        self._lines: dict[object, deque[_Job]] = {}
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self._running = 0
        self._pump_scheduled = False
        # How much longer runs take now than they did alone, while warming up.
        self._slowness = 1.0

    @property
    def waiting_rows(self) -> int:
        """Rows in the queue now."""
        return self._waiting_rows

    async def infer(self, inputs: Arrays, rows: int, timeout: float) -> dict[str, Array]:
        """Queue checked inputs and wait for their outputs.

        Args:
            inputs: arrays that passed the signature check.
            rows: their number of rows.
            timeout: seconds after which computing is no longer worth it.

        Raises:
            BodyTooLarge: more rows than the queue can ever hold.
            Overloaded: the queue is full.
            DeadlineExceeded: the deadline passed before the run began.
            InferenceFailed: the runtime raised.
        """
        if self._alone(rows):
            return self._infer_now(inputs, rows)
        now = time.monotonic()
        self._admit(rows, sum(value.nbytes for value in inputs.values()))
        if not self._batched or rows <= self._batch_rows:
            return await self._enqueue(_Job(inputs, rows, now + timeout, now))
        return await self._infer_in_parts(inputs, rows, now, timeout)

    def _alone(self, rows: int) -> bool:
        """Whether nobody could share the run or would wait for it: then no queue is needed."""
        return (
            not self._lines
            and self._running == 0
            and self._profile.seconds(rows) <= INLINE_SECONDS
            and rows <= self._batch_rows
            and self._in_flight() <= 1
        )

    def _infer_now(self, inputs: Arrays, rows: int) -> dict[str, Array]:
        begun = time.perf_counter()
        try:
            return self._run(inputs)
        except Exception as error:
            log.error("the model failed on a request", exc_info=error)
            raise _failed() from None
        finally:
            self._observer.waited(0.0)
            self._observe(rows, time.perf_counter() - begun)

    async def _infer_in_parts(
        self, inputs: Arrays, rows: int, now: float, timeout: float
    ) -> dict[str, Array]:
        step = self._batch_rows
        jobs = []
        for start in range(0, rows, step):
            part = {name: value[start : start + step] for name, value in inputs.items()}
            jobs.append(_Job(part, min(step, rows - start), now + timeout, now))
        futures = [self._enqueue(job) for job in jobs]
        try:
            results = await asyncio.gather(*futures)
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        return {name: np.concatenate([part[name] for part in results]) for name in results[0]}

    def _admit(self, rows: int, size: int) -> None:
        limits = self._limits
        if rows > limits.queue_rows:
            raise BodyTooLarge(
                f"the request has {rows} rows; send at most {limits.queue_rows} at a time",
                rule=f"at most {limits.queue_rows} rows (MAX_QUEUE_ROWS)",
            )
        if self._waiting_rows + rows > limits.queue_rows:
            raise Overloaded(
                f"the queue holds {self._waiting_rows} of {limits.queue_rows} rows; "
                "try again later",
                rule=f"at most {limits.queue_rows} rows waiting (MAX_QUEUE_ROWS)",
                retry_after=self.retry_after(),
            )
        if self._waiting_bytes + size > limits.queue_bytes and self._waiting_bytes:
            raise Overloaded(
                f"the queue holds {self._waiting_bytes} of {limits.queue_bytes} bytes; "
                "try again later",
                rule=f"at most {limits.queue_bytes} bytes waiting (MAX_QUEUE_BYTES)",
                retry_after=self.retry_after(),
            )

        if self._waiting_rows > self._batch_rows and self.wait_seconds() > limits.queue_seconds:
            raise Overloaded(
                f"the request would wait for {self.wait_seconds():.2f} s; try again later",
                rule=f"at most {limits.queue_seconds:g} s of waiting (MAX_QUEUE_SECONDS)",
                retry_after=self.retry_after(),
            )

    def wait_seconds(self) -> float:
        """Seconds until what waits now will have been taken, at the measured rate."""
        runs = math.ceil(self._waiting_rows / self._batch_rows)
        one = self._profile.seconds(min(self._waiting_rows, self._batch_rows))
        return self._slowness * runs * one / self._limits.lanes

    def retry_after(self) -> int:
        """Whole seconds until the queue will have drained."""
        return max(1, min(math.ceil(self.wait_seconds()), LONGEST_RETRY_SECONDS))

    def _enqueue(self, job: _Job) -> asyncio.Future[dict[str, Array]]:
        self._lines.setdefault(self._key(job), deque()).append(job)
        self._waiting_rows += job.rows
        self._waiting_bytes += job.bytes
        self._schedule_pump()
        return job.future

    def _key(self, job: _Job) -> object:
        if self._fixed_shape:
            return None
        return tuple(value.shape[1:] for value in job.inputs.values())

    def _schedule_pump(self) -> None:
        # On the next turn of the loop, so that all requests read in this turn share the run.
        if not self._pump_scheduled:
            self._pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_scheduled = False
        while self._lines and self._running < self._limits.lanes:
            jobs = self._take()
            if not jobs:
                continue
            # All that waits counts: more than a short run of it is better shared out to threads.
            rows = sum(job.rows for job in jobs) + self._waiting_rows
            if self._running == 0 and self._profile.seconds(rows) <= INLINE_SECONDS:
                self._settle(jobs, *self._compute(jobs))
                if self._lines:
                    self._schedule_pump()
                return
            self._running += 1
            task = asyncio.get_running_loop().run_in_executor(self._executor, self._compute, jobs)
            task.add_done_callback(lambda done, jobs=jobs: self._lane_done(jobs, done))  # type: ignore[misc]

    def _lane_done(
        self, jobs: Sequence[_Job], done: asyncio.Future[tuple[list[Outcome], float]]
    ) -> None:
        self._running -= 1
        self._settle(jobs, *done.result())
        self._schedule_pump()

    def _take(self) -> list[_Job]:
        """Take the jobs of one run out of the line whose turn it is; drop those without use."""
        key = next(iter(self._lines))
        line = self._lines.pop(key)
        now = time.monotonic()
        jobs: list[_Job] = []
        rows = 0
        while line and (not jobs or (self._batched and rows + line[0].rows <= self._batch_rows)):
            job = line.popleft()
            self._waiting_rows -= job.rows
            self._waiting_bytes -= job.bytes
            if job.future.done():
                continue
            if now > job.deadline:
                job.future.set_exception(self._too_late(now - job.enqueued))
                continue
            self._observer.waited(now - job.enqueued)
            jobs.append(job)
            rows += job.rows
        if line:
            self._lines[key] = line
        return jobs

    def _too_late(self, seconds: float) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"the request waited {seconds:.1f} s and was not computed; try again later",
            rule="REQUEST_TIMEOUT_SECONDS",
            retry_after=self.retry_after(),
        )

    def _compute(self, jobs: Sequence[_Job]) -> tuple[list[Outcome], float]:
        begun = time.perf_counter()
        outcomes = self._outcomes(jobs)
        return outcomes, time.perf_counter() - begun

    def _outcomes(self, jobs: Sequence[_Job]) -> list[Outcome]:
        try:
            return list(self._run_together(jobs))
        except Exception as error:  # runtimes raise their own classes
            if len(jobs) == 1:
                log.error("the model failed on a request", exc_info=error)
                return [error]
        # One of them broke the run: alone, only that one fails.
        return [outcome for job in jobs for outcome in self._outcomes([job])]

    def _run_together(self, jobs: Sequence[_Job]) -> Sequence[dict[str, Array]]:
        if len(jobs) == 1:
            return [self._run(jobs[0].inputs)]
        names = list(jobs[0].inputs)
        outputs = self._run(
            {name: np.concatenate([job.inputs[name] for job in jobs]) for name in names}
        )
        rows = sum(job.rows for job in jobs)
        for name, value in outputs.items():
            if len(value) != rows:
                raise ValueError(f"output {name!r} has {len(value)} rows for {rows} rows of input")
        parts, start = [], 0
        for job in jobs:
            stop = start + job.rows
            parts.append({name: value[start:stop] for name, value in outputs.items()})
            start = stop
        return parts

    def _settle(self, jobs: Sequence[_Job], outcomes: Sequence[Outcome], seconds: float) -> None:
        self._observe(sum(job.rows for job in jobs), seconds)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.future.done():
                continue
            if isinstance(outcome, Exception):
                job.future.set_exception(_failed())
            else:
                job.future.set_result(outcome)

    def _observe(self, rows: int, seconds: float) -> None:
        self._observer.computed(rows, seconds)
        slowness = seconds / max(self._profile.seconds(rows), 1e-6)
        self._slowness += SLOWNESS_SMOOTHING * (slowness - self._slowness)


def _failed() -> InferenceFailed:
    return InferenceFailed("the model failed on this request; the log has the cause")
