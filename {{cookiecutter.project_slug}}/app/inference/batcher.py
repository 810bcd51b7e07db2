"""Micro-batching: requests that arrive while the model computes share its next run.

Nothing here sleeps. An idle batcher computes at once; a busy one takes, when a lane falls free,
all that has arrived meanwhile. Everything but the run itself happens on the event loop's thread, so
no lock is needed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Protocol

import numpy as np

from app.errors import InferenceFailed, RequestError
from app.inference.profile import Profile
from app.inference.queue import Arrays, Job, JobQueue, Limits, size_of
from app.inference.timeline import Run, Timeline
from app.tensors.datatypes import Array
from app.tensors.signature import Signature

log = logging.getLogger(__name__)

Outcome = dict[str, Array] | RequestError

# A run this short costs less than handing it to a thread and back, and delays the event loop
# less than one large request's parsing does.
INLINE_SECONDS = 0.002


class Observer(Protocol):
    """Is told what happened; metrics implement it."""

    def waited(self, seconds: float) -> None:
        """One request left the queue after that many seconds."""
        ...

    def computed(self, rows: int, seconds: float) -> None:
        """One run of the model ended."""
        ...


class Batcher:
    """Runs one model for many requests.

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
        self._lanes = limits.lanes
        self._profile = profile
        self._executor = executor
        self._observer = observer
        self._in_flight = in_flight
        self._running = 0
        self._computing = 0
        self._pump_scheduled = False
        self.queue = JobQueue(signature, limits, profile)

    def submit(
        self, inputs: Arrays, rows: int, timeout: float, timeline: Timeline
    ) -> dict[str, Array] | asyncio.Future[dict[str, Array]]:
        """Compute outputs for checked inputs, in a run of their own or with others.

        Args:
            inputs: arrays that passed the signature check.
            rows: their number of rows.
            timeout: seconds after which computing is no longer worth it.
            timeline: of the request; is told when its turn comes and when the model ran.

        Returns:
            The outputs where nobody has to be waited for; otherwise a future of them, which may
            be cancelled. The future raises ``DeadlineExceeded`` when the deadline passed before
            the run began, and what the run itself raised.

        Raises:
            BodyTooLarge: more rows than the queue can ever hold.
            Overloaded: the queue is full, or the wait would be too long.
            InferenceFailed: the runtime raised.
            InvalidInput: the model's own code refused the input.
        """
        timeline.rows = rows
        if self._at_once(rows):
            return self._infer_now(inputs, timeline)
        size = size_of(inputs)
        self.queue.admit(rows, size)
        now = time.perf_counter()
        if not self.queue.batched or rows <= self.queue.batch_rows:
            return self._enqueue(Job(inputs, rows, size, now, timeout, timeline))
        return asyncio.ensure_future(self._infer_in_parts(inputs, now, timeout, timeline))

    def load(self) -> tuple[int, int]:
        """Rows that wait, and rows that are being computed."""
        return self.queue.rows, self._computing

    def _at_once(self, rows: int) -> bool:
        """Whether nobody could share the run or would wait for it: then no queue is needed.

        Sharing pays even for the smallest models: a run costs several times what it costs to
        queue, join and cut.
        """
        return (
            self._in_flight() <= 1
            and not self.queue
            and self._running == 0
            and rows <= self.queue.batch_rows
            and self._profile.seconds(rows) <= INLINE_SECONDS
        )

    def _infer_now(self, inputs: Arrays, timeline: Timeline) -> dict[str, Array]:
        timeline.taken = time.perf_counter()
        try:
            return self._run(inputs)
        except RequestError:
            raise
        except Exception as error:  # noqa: BLE001 - runtimes raise their own classes
            raise _failed(error, timeline) from None
        finally:
            run = Run(timeline.taken, time.perf_counter(), timeline.rows)
            timeline.runs = (run,)
            self._observer.waited(0.0)
            self._observe(run)

    async def _infer_in_parts(
        self, inputs: Arrays, now: float, timeout: float, timeline: Timeline
    ) -> dict[str, Array]:
        step = self.queue.batch_rows
        jobs = []
        for start in range(0, timeline.rows, step):
            part = {name: value[start : start + step] for name, value in inputs.items()}
            rows = min(step, timeline.rows - start)
            jobs.append(Job(part, rows, size_of(part), now, timeout, timeline))
        futures = [self._enqueue(job) for job in jobs]
        try:
            results = await asyncio.gather(*futures)
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        return {name: np.concatenate([part[name] for part in results]) for name in results[0]}

    def _enqueue(self, job: Job) -> asyncio.Future[dict[str, Array]]:
        self.queue.put(job)
        self._schedule_pump()
        return job.future

    def _schedule_pump(self) -> None:
        # On the next turn of the loop, so that all requests read in this turn share the run.
        if not self._pump_scheduled:
            self._pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_scheduled = False
        while self.queue and self._running < self._lanes:
            jobs = self.queue.take(self._observer.waited)
            if not jobs:
                continue
            # All that waits counts: more than a short run of it is better shared out to threads.
            rows = _rows(jobs) + self.queue.rows
            if self._running == 0 and self._profile.seconds(rows) <= INLINE_SECONDS:
                self._settle(jobs, *self._compute(jobs))
                if self.queue:
                    self._schedule_pump()
                return
            self._running += 1
            self._computing += _rows(jobs)
            lane = asyncio.get_running_loop().run_in_executor(self._executor, self._compute, jobs)
            lane.add_done_callback(partial(self._lane_done, jobs))

    def _lane_done(
        self, jobs: Sequence[Job], done: asyncio.Future[tuple[list[Outcome], Run]]
    ) -> None:
        self._running -= 1
        self._computing -= _rows(jobs)
        if done.cancelled():  # the executor was shut down
            return
        self._settle(jobs, *done.result())
        self._schedule_pump()

    def _compute(self, jobs: Sequence[Job]) -> tuple[list[Outcome], Run]:
        """The outcome of each job, and the run of all; called on any thread."""
        began = time.perf_counter()
        outcomes = self._outcomes(jobs)
        return outcomes, Run(began, time.perf_counter(), _rows(jobs))

    def _outcomes(self, jobs: Sequence[Job]) -> list[Outcome]:
        try:
            return list(self._run_together(jobs))
        except Exception as error:  # noqa: BLE001 - runtimes raise their own classes
            if len(jobs) == 1:
                if isinstance(error, RequestError):
                    return [error]
                return [_failed(error, jobs[0].timeline)]
        # One of them broke the run: alone, only that one fails.
        return [outcome for job in jobs for outcome in self._outcomes([job])]

    def _run_together(self, jobs: Sequence[Job]) -> Sequence[dict[str, Array]]:
        if len(jobs) == 1:
            return [self._run(jobs[0].inputs)]
        names = list(jobs[0].inputs)
        outputs = self._run(
            {name: np.concatenate([job.inputs[name] for job in jobs]) for name in names}
        )
        rows = _rows(jobs)
        for name, value in outputs.items():
            if len(value) != rows:
                raise ValueError(f"output {name!r} has {len(value)} rows for {rows} rows of input")
        parts, start = [], 0
        for job in jobs:
            stop = start + job.rows
            parts.append({name: value[start:stop] for name, value in outputs.items()})
            start = stop
        return parts

    def _settle(self, jobs: Sequence[Job], outcomes: Sequence[Outcome], run: Run) -> None:
        self._observe(run)
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.timeline.runs += (run,)
            if job.future.done():
                continue
            if isinstance(outcome, RequestError):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)

    def _observe(self, run: Run) -> None:
        seconds = run.ended - run.began
        self._observer.computed(run.rows, seconds)
        self.queue.learn(run.rows, seconds)


def _rows(jobs: Sequence[Job]) -> int:
    return sum(job.rows for job in jobs)


def _failed(error: Exception, timeline: Timeline) -> InferenceFailed:
    """Log what happened, with an id that the client is told as well."""
    incident = timeline.request_id
    log.error("the model failed on a request, id %s", incident, exc_info=error)
    return InferenceFailed(
        f"the model failed on this request; the log has the cause under {incident}",
        incident=incident,
    )
