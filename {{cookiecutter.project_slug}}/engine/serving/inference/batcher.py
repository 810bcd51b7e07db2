"""Micro-batching: requests that arrive while the model computes share its next run.

Nothing here sleeps. An idle batcher computes at once; a busy one takes, when a lane falls free,
all that has arrived meanwhile. Everything but the run itself happens on the event loop's thread, so
no lock is needed.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, Final, Protocol

import numpy as np

from engine.serving.errors import InferenceFailed, RequestError
from engine.serving.inference.job import (
    Arrays,
    Cut,
    Inputs,
    Job,
    Settle,
    arrays_of,
    deliver,
    failed,
    joined,
    size_of,
    views,
)
from engine.serving.inference.profile import Profile
from engine.serving.inference.queue import JobQueue, Limits, observe
from engine.serving.inference.timeline import Run, Timeline
from engine.serving.tensors.datatypes import Array
from engine.serving.tensors.signature import Signature

log = logging.getLogger(__name__)

# A run this short costs less than handing it to a thread and back, and delays the event loop
# less than one large request's parsing does.
INLINE_SECONDS = 0.002
# A run on the event loop that took longer than this makes all runs use threads for a while, each
# time for twice as long: what it depends on is not only the number of rows.
LONGEST_INLINE_SECONDS = 0.05
THREADS_SECONDS = 60.0
# A run is stuck when it takes this many times as long as expected, and longer than the limits say.
STUCK_FACTOR = 10
# Deadlines are kept this exactly.
LOOK_SECONDS = 0.01
# What the cut of a part gives while others are missing.
INCOMPLETE: Final = object()


class Observer(Protocol):
    """Is told what happened; metrics implement it."""

    def waited(self, seconds: float) -> None:
        """One request left the queue after that many seconds."""
        ...

    def computed(self, rows: int, seconds: float) -> None:
        """One run of the model ended."""
        ...


class RowsMixed(ValueError):
    """The outputs of a run have not one row for each row of its inputs: whose are they?"""


class Waiting(Protocol):
    """A request that waits for its outputs."""

    def cancel(self) -> None:
        """Nobody wants them any more."""
        ...


class Lane:
    """A run in a thread, or one that waits for a thread.

    Args:
        jobs: of the run.
        limit: seconds after which it is stuck.
    """

    __slots__ = ("began", "jobs", "limit", "rows", "stuck")

    def __init__(self, jobs: Sequence[Job], limit: float) -> None:
        self.jobs = jobs
        self.rows = _rows(jobs)
        self.limit = limit
        # 0 until a thread is free.
        self.began = 0.0
        self.stuck = False

    def begin(self) -> Sequence[Job]:
        """The jobs that are still wanted; called on the thread."""
        self.began = time.perf_counter()
        self.jobs = [job for job in self.jobs if not job.over]
        return self.jobs


class Batcher:
    """Runs one model for many requests.

    Args:
        run: computes a batch; called on the event loop when short, else in ``executor``.
        signature: tells whether rows can share a run, and which shapes can.
        profile: measured cost of a run.
        executor: threads for long runs; shared by all models.
        in_flight: requests that this process is answering now, those included whose bodies have
            arrived but are not decoded yet.
        inline: whether a short run may be computed on the event loop; never where its cost depends
            on more than its number of rows.
        on_stuck: called with the reason when a run does not end, and with None when it ended after
            all.
        name: of the model, for the log.
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
        inline: bool = True,
        on_stuck: Callable[[str | None], None] = lambda reason: None,
        name: str = "the model",
    ) -> None:
        self._run = run
        self._name = name
        self._lanes = limits.lanes
        self._profile = profile
        self._executor = executor
        self._observer = observer
        self._in_flight = in_flight
        self._inline = inline and costs_by_rows(signature)
        self._on_stuck = on_stuck
        self._stuck_seconds = limits.stuck_seconds
        self._threads_until = 0.0
        self._threads_seconds = THREADS_SECONDS
        self._running: dict[asyncio.Future[Any], Lane] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._pump_scheduled = False
        self._first = signature.inputs[0]
        self.queue = JobQueue(signature, limits, profile)

    def post(
        self,
        inputs: Inputs,
        rows: int,
        timeout: float,
        timeline: Timeline,
        cut: Cut | None,
        settle: Settle,
    ) -> Waiting | None:
        """Compute outputs for checked inputs, in a run of their own or with others.

        Args:
            inputs: what passed the signature check.
            rows: their number of rows.
            timeout: seconds after which computing is no longer worth it.
            timeline: of the request; is told when its turn comes and when the model ran.
            cut: makes what the request wants out of a run's outputs; None: it wants the arrays.
            settle: is called once, on the event loop's thread, with that or with the error:
                ``DeadlineExceeded`` when the deadline passed before the run began,
                ``InferenceFailed`` when the runtime raised, ``InvalidInput`` when the model's own
                code refused the input.

        Returns:
            What waits, so that it may be cancelled; None when it is settled already.

        Raises:
            BodyTooLarge: more rows than the queue can ever hold.
            Overloaded: the queue is full, or the wait would be too long.
        """
        timeline.rows = rows
        size = size_of(inputs, self._first)
        now = time.perf_counter()
        if self._at_once(rows):
            self._settle_now(Job(inputs, rows, size, now, timeout, timeline, cut, settle))
            return None
        self.queue.admit(rows, size)
        if not self.queue.batched or rows <= self.queue.batch_rows:
            job = Job(inputs, rows, size, now, timeout, timeline, cut, settle)
            self._enqueue(job)
            return job
        return self._enqueue_parts(inputs, now, timeout, timeline, cut, settle)

    def submit(
        self,
        inputs: Inputs,
        rows: int,
        timeout: float,
        timeline: Timeline,
        cut: Cut | None = None,
    ) -> Any:
        """``post``, for coroutines.

        Returns:
            What the request wants where nobody has to be waited for; otherwise a future of it,
            which may be cancelled.

        Raises:
            RequestError: see ``post``.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        waiting = self.post(inputs, rows, timeout, timeline, cut, partial(_fulfil, future))
        if waiting is None:
            return future.result()

        def cancelled(future: asyncio.Future[Any]) -> None:
            if future.cancelled():
                waiting.cancel()

        future.add_done_callback(cancelled)
        return future

    def load(self) -> tuple[int, int]:
        """Rows that wait, and rows that are being computed."""
        return self.queue.rows, sum(lane.rows for lane in self._running.values())

    def give_up(self, error: Callable[[], RequestError]) -> None:
        """Answer everything that waits or is being computed with an error.

        Args:
            error: makes it, once for each request.
        """
        for job in self.queue.jobs():
            if not job.over:
                self.queue.remove(job)
                deliver(job, error())
        for lane in self._running.values():
            for job in lane.jobs:
                deliver(job, error())

    def _at_once(self, rows: int) -> bool:
        """Whether nobody could share the run or would wait for it: then no queue is needed.

        Sharing pays even for the smallest models: a run costs several times what it costs to
        queue, join and cut.
        """
        return (
            self._in_flight() <= 1
            and not self.queue
            and not self._running
            and rows <= self.queue.batch_rows
            and self._may_be_inline(rows)
        )

    def _may_be_inline(self, rows: int) -> bool:
        return (
            self._inline
            and self.queue.slowness * self._profile.seconds(rows) <= INLINE_SECONDS
            and time.perf_counter() >= self._threads_until
        )

    def _compute_inline(self, jobs: Sequence[Job]) -> tuple[Sequence[Any], Run]:
        outcomes, run = self._compute(jobs)
        now = time.perf_counter()
        if now - run.began > LONGEST_INLINE_SECONDS:
            self._threads_until = now + self._threads_seconds
            self._threads_seconds *= 2
        return outcomes, run

    def _settle_now(self, job: Job) -> None:
        outcomes, run = self._compute_inline([job])
        job.timeline.taken = run.began
        observe(self._observer.waited, 0.0)
        self._settle([job], outcomes, run)

    def _enqueue_parts(
        self,
        inputs: Inputs,
        now: float,
        timeout: float,
        timeline: Timeline,
        cut: Cut | None,
        settle: Settle,
    ) -> Parts:
        arrays = arrays_of(inputs, self._first)
        step = self._part_rows(timeline.rows)
        parts = Parts(math.ceil(timeline.rows / step), cut, settle)
        for number, start in enumerate(range(0, timeline.rows, step)):
            part = {name: value[start : start + step] for name, value in arrays.items()}
            rows = min(step, timeline.rows - start)
            size = size_of(part, self._first)
            whole = partial(parts.cut, number)
            job = Job(part, rows, size, now, timeout, timeline, whole, parts.settle)
            parts.jobs.append(job)
            self._enqueue(job)
        return parts

    def _part_rows(self, rows: int) -> int:
        """Rows of a part: as few parts as allowed, but one for each lane where a batch pays."""
        queue = self.queue
        count = max(math.ceil(rows / queue.part_rows), min(self._lanes, rows // queue.batch_rows))
        return math.ceil(rows / count)

    def _enqueue(self, job: Job) -> None:
        self.queue.put(job)
        self._look_at(job.deadline)
        self._schedule_pump()

    def _look_at(self, when: float) -> None:
        """Look then, or before, at what does not get on."""
        if self._timer is None or when < self._timer_due:
            if self._timer is not None:
                self._timer.cancel()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, when - time.perf_counter()), self._look)
            self._timer_due = when

    def _look(self) -> None:
        """Answer what is past its deadline, and what is in a run that does not end."""
        self._timer = None
        now = time.perf_counter()
        due = [self.queue.expire(now)]
        for lane in self._running.values():
            if not lane.began:
                for job in lane.jobs:
                    if now > job.deadline:
                        deliver(job, self.queue.too_late(job, now))
                due.append(min((job.deadline for job in lane.jobs if not job.over), default=None))
            elif now > lane.began + lane.limit:
                self._give_up_run(lane, now)
            else:
                due.append(lane.began + lane.limit)
        times = [each for each in due if each is not None]
        if times:
            self._look_at(max(now + LOOK_SECONDS, min(times)))

    def _give_up_run(self, lane: Lane, now: float) -> None:
        if not lane.stuck:
            lane.stuck = True
            self._on_stuck(f"a run of {lane.rows} rows has not ended for {now - lane.began:.0f} s")
        for job in lane.jobs:
            deliver(job, self.queue.not_computed(job, now))

    def _schedule_pump(self) -> None:
        # On the next turn of the loop, so that all requests read in this turn share the run.
        if not self._pump_scheduled:
            self._pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_scheduled = False
        while self.queue and len(self._running) < self._lanes:
            jobs = self.queue.take(self._observer.waited)
            if not jobs:
                continue
            # All that waits counts: more than a short run of it is better shared out to threads.
            rows = _rows(jobs) + self.queue.rows
            if not self._running and self._may_be_inline(rows):
                self._settle(jobs, *self._compute_inline(jobs))
                if self.queue:
                    self._schedule_pump()
                return
            self._start(jobs)

    def _start(self, jobs: Sequence[Job]) -> None:
        """Compute in a thread."""
        expected = STUCK_FACTOR * self.queue.slowness * self._profile.seconds(_rows(jobs))
        lane = Lane(jobs, max(self._stuck_seconds, expected))
        loop = asyncio.get_running_loop()
        try:
            done = loop.run_in_executor(self._executor, self._compute_in_thread, lane)
        except RuntimeError as error:  # no thread can be started, or the executor was shut down
            for job in jobs:
                deliver(job, failed(error, job.timeline))
            return
        self._running[done] = lane
        self._look_at(time.perf_counter() + lane.limit)
        done.add_done_callback(self._lane_done)

    def _compute_in_thread(self, lane: Lane) -> tuple[Sequence[Any], Run] | None:
        jobs = lane.begin()
        return self._compute(jobs) if jobs else None

    def _lane_done(self, done: asyncio.Future[tuple[Sequence[Any], Run] | None]) -> None:
        lane = self._running.pop(done)
        if lane.stuck and not any(other.stuck for other in self._running.values()):
            self._on_stuck(None)
        if done.cancelled():  # the executor was shut down
            for job in lane.jobs:
                deliver(job, self.queue.not_computed(job, time.perf_counter()))
        elif (outcome := done.result()) is not None:
            self._settle(lane.jobs, *outcome)
        self._schedule_pump()

    def _compute(self, jobs: Sequence[Job]) -> tuple[Sequence[Any], Run]:
        """The outcome of each job, and the run of all; called on any thread. Never raises."""
        began = time.perf_counter()
        try:
            outputs = self._run_together(jobs)
            ended = time.perf_counter()
            outcomes = _cut(jobs, outputs)
            if len(outcomes) != len(jobs):
                raise ValueError(f"{len(outcomes)} answers for {len(jobs)} requests")
            return outcomes, Run(began, ended, _rows(jobs))
        except BaseException as error:  # noqa: BLE001 - model code may raise or exit as it likes
            broken = error
        # Not while it is handled: it would be the context of what the others raise, and one
        # request's failure would stand in the log of another's.
        alone = self._apart(jobs, broken)
        del broken  # its traceback refers to this frame
        return alone, Run(began, time.perf_counter(), _rows(jobs))

    def _apart(self, jobs: Sequence[Job], error: BaseException) -> list[Any]:
        """The outcomes where one of the jobs broke the run: alone, only that one fails."""
        if isinstance(error, RowsMixed):
            self._stop_sharing(str(error))
        if len(jobs) > 1:
            return [outcome for job in jobs for outcome in self._compute([job])[0]]
        if isinstance(error, RowsMixed):
            return [
                InferenceFailed(
                    "the request was computed in parts, but the model's rows depend on each other; "
                    "send it again, and it is computed as a whole",
                    incident=jobs[0].timeline.request_id,
                )
            ]
        return [error if isinstance(error, RequestError) else failed(error, jobs[0].timeline)]

    def _run_together(self, jobs: Sequence[Job]) -> dict[str, Array]:
        outputs = self._run(joined(jobs, self._first))
        rows = _rows(jobs)
        shared = len(jobs) > 1 or rows < jobs[0].timeline.rows
        if not shared and not self.queue.batched:
            return outputs
        for name, value in outputs.items():
            if value.shape[:1] != (rows,):
                self._stop_sharing(
                    f"output {name!r} has the shape {value.shape} for {rows} rows of input"
                )
        # Also when another run has shown it meanwhile. A whole request's own answer is right.
        if shared and not self.queue.batched:
            raise RowsMixed("requests do not share runs any more")
        return outputs

    def _stop_sharing(self, fault: str) -> None:
        """From now on each request runs alone, whatever the manifest says."""
        if self.queue.batched:
            self.queue.batched = False
            log.warning(
                "%s: each request runs alone from now on: %s; package the model again, with "
                "--batching never",
                self._name,
                fault,
            )

    def _settle(self, jobs: Sequence[Job], outcomes: Sequence[Any], run: Run) -> None:
        self._observe(run)
        runs = (run,)
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.timeline.runs += runs
            deliver(job, outcome)

    def _observe(self, run: Run) -> None:
        seconds = run.ended - run.began
        self.queue.learn(run.rows, seconds)
        observe(self._observer.computed, run.rows, seconds)


class Parts:
    """The parts of a request that is too large for one run.

    They are put together where the last of them is computed, because that may take long.

    Args:
        count: their number.
        cut: see ``Job``; of the whole.
        settle: see ``Job``; of the whole.
    """

    def __init__(self, count: int, cut: Cut | None, settle: Settle) -> None:
        self.jobs: list[Job] = []
        self._results: list[dict[str, Array] | None] = [None] * count
        self._lock = threading.Lock()
        self._over = False
        self._cut = cut
        self._settle = settle

    def cut(self, number: int, outputs: dict[str, Array], sizes: Sequence[int]) -> list[Any]:
        """The ``Cut`` of one part: what the request wants when all parts are there, until then
        ``INCOMPLETE``; called on any thread, and again when the part is computed again.
        """
        with self._lock:
            self._results[number] = outputs
            parts = [part for part in self._results if part is not None]
            if len(parts) < len(self._results):
                return [INCOMPLETE]
        for name in parts[0]:
            shapes = {part[name].shape[1:] for part in parts}
            if len(shapes) > 1:
                raise RowsMixed(f"output {name!r} has rows of the shapes {sorted(shapes)}")
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        rows = sum(job.rows for job in self.jobs)
        return [whole] if self._cut is None else list(self._cut(whole, [rows]))

    def settle(self, outcome: Any) -> None:
        """The outcome of one part; the first error is the error of all."""
        if self._over or outcome is INCOMPLETE:
            return
        if isinstance(outcome, RequestError):
            self.cancel()
        self._settle(outcome)
        # Not before: when it raises, the part comes back with the error.
        self._over = True

    def cancel(self) -> None:
        """See ``Job``."""
        for job in self.jobs:
            job.cancel()


def _cut(jobs: Sequence[Job], outputs: dict[str, Array]) -> Sequence[Any]:
    """What each job wants, made together where all want the same."""
    sizes = [job.rows for job in jobs]
    cut = jobs[0].cut
    if all(job.cut is cut for job in jobs):
        return (cut or views)(outputs, sizes)
    return [
        part if job.cut is None else job.cut(part, [job.rows])[0]
        for job, part in zip(jobs, views(outputs, sizes), strict=True)
    ]


def _fulfil(future: asyncio.Future[Any], outcome: Any) -> None:
    if future.done():
        return
    if isinstance(outcome, RequestError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def costs_by_rows(signature: Signature) -> bool:
    """Whether nothing but the number of rows varies between requests: no other dimension, and no
    text.
    """
    return all(
        -1 not in spec.shape[1 if signature.batched else 0 :] and spec.datatype != "BYTES"
        for spec in signature.inputs
    )


def _rows(jobs: Sequence[Job]) -> int:
    return sum(job.rows for job in jobs)
