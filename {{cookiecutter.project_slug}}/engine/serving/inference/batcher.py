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
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from engine.serving.errors import InferenceFailed, RequestError
from engine.serving.inference.arrays import arrays_of, joined, size_of, views
from engine.serving.inference.delivery import deliver, failed
from engine.serving.inference.profile import Profile
from engine.serving.inference.queue import Limits, RequestQueue, observe
from engine.serving.inference.searches import INCOMPLETE, Searches
from engine.serving.request import Arrays, Request, Run
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


class Observer(Protocol):
    """Receives what happened; metrics implement it."""

    def waited(self, seconds: float) -> None:
        """One request left the queue after that many seconds."""
        ...

    def computed(self, rows: int, seconds: float) -> None:
        """One run of the model ended."""
        ...


class RowsMixed(ValueError):
    """The outputs of a run have not one row for each row of its inputs: whose are they?"""


@dataclass(slots=True)
class _Searched:
    """The outcome of a request for whose value at fault a search is worth it."""

    failure: InferenceFailed


class Lane:
    """A run in a thread, or one that waits for a thread.

    Args:
        requests: of the run.
        limit: seconds after which it is stuck.
    """

    __slots__ = ("began", "limit", "requests", "rows", "stuck")

    def __init__(self, requests: Sequence[Request], limit: float) -> None:
        self.requests = requests
        self.rows = _rows(requests)
        self.limit = limit
        # 0 until a thread is free.
        self.began = 0.0
        self.stuck = False

    def begin(self) -> Sequence[Request]:
        """The requests that are still wanted; called on the thread."""
        self.began = time.perf_counter()
        self.requests = [request for request in self.requests if not request.over]
        return self.requests


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
        searches: for the value at which the model failed; None: there are none.
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
        searches: Searches | None = None,
    ) -> None:
        self._run = run
        self._name = name
        self._searches = searches
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
        self.queue = RequestQueue(signature, limits, profile)

    def post(self, request: Request) -> None:
        """Compute outputs for checked inputs, in a run of their own or with others.

        Args:
            request: with ``inputs`` that passed the signature check, their ``rows``, and the
                ``deadline`` until when computing is worth it. Its ``settle`` is called once, on
                the event loop's thread, perhaps before this returns: with what its ``encode``
                makes of the outputs, or with the error: ``DeadlineExceeded`` when the deadline
                passed before the run began, ``InferenceFailed`` when the runtime raised,
                ``InvalidInput`` when the model's own code refused the input.

        Raises:
            BodyTooLarge: more rows than the queue can ever hold.
            Overloaded: the queue is full, or the wait would be too long.
        """
        rows = request.rows
        request.size = size_of(request.inputs, self._first)
        request.enqueued = time.perf_counter()
        if self._at_once(rows):
            self._settle_now(request)
            return
        self.queue.admit(rows, request.size)
        if not self.queue.batched or rows <= self.queue.batch_rows:
            self._enqueue(request)
        else:
            self._enqueue_parts(request)

    def load(self) -> tuple[int, int]:
        """Rows that wait, and rows that are being computed."""
        return self.queue.rows, sum(lane.rows for lane in self._running.values())

    def give_up(self, error: Callable[[], RequestError]) -> None:
        """Answer everything that waits or is being computed with an error.

        Args:
            error: makes it, once for each request.
        """
        for request in self.queue.requests():
            if not request.over:
                self.queue.remove(request)
                deliver(request, error())
        for lane in self._running.values():
            for request in lane.requests:
                deliver(request, error())
        for request in self._searches.requests if self._searches is not None else ():
            deliver(request, error())

    def close(self) -> None:
        """Release the thread of the searches."""
        if self._searches is not None:
            self._searches.close()

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

    def _compute_inline(self, requests: Sequence[Request]) -> tuple[Sequence[Any], Run]:
        outcomes, run = self._compute(requests)
        now = time.perf_counter()
        if now - run.began > LONGEST_INLINE_SECONDS:
            self._threads_until = now + self._threads_seconds
            self._threads_seconds *= 2
        return outcomes, run

    def _settle_now(self, request: Request) -> None:
        outcomes, run = self._compute_inline([request])
        request.taken = run.began
        observe(self._observer.waited, 0.0)
        self._settle([request], outcomes, run)

    def _enqueue_parts(self, request: Request) -> None:
        arrays = arrays_of(request.inputs, self._first)
        step = self._part_rows(request.rows)
        parts = Parts(request, math.ceil(request.rows / step))
        for number, start in enumerate(range(0, request.rows, step)):
            inputs = {name: value[start : start + step] for name, value in arrays.items()}
            rows = min(step, request.rows - start)
            part = request.part(inputs, rows, partial(parts.encode, number), parts.settle)
            part.size = size_of(inputs, self._first)
            part.enqueued, part.deadline = request.enqueued, request.deadline
            parts.made.append(part)
        for part in parts.made:
            self._enqueue(part)

    def _part_rows(self, rows: int) -> int:
        """Rows of a part: as few parts as allowed, but one for each lane where a batch pays."""
        queue = self.queue
        count = max(math.ceil(rows / queue.part_rows), min(self._lanes, rows // queue.batch_rows))
        return math.ceil(rows / count)

    def _enqueue(self, request: Request) -> None:
        self.queue.put(request)
        self._look_at(request.deadline)
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
                for request in lane.requests:
                    if now > request.deadline:
                        deliver(request, self.queue.too_late(request, now))
                deadlines = [each.deadline for each in lane.requests if not each.over]
                due.append(min(deadlines, default=None))
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
        for request in lane.requests:
            deliver(request, self.queue.not_computed(request, now))

    def _schedule_pump(self) -> None:
        # On the next turn of the loop, so that all requests read in this turn share the run.
        if not self._pump_scheduled:
            self._pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_scheduled = False
        while self.queue and len(self._running) < self._lanes:
            requests = self.queue.take(self._observer.waited)
            if not requests:
                continue
            # All that waits counts: more than a short run of it is better shared out to threads.
            rows = _rows(requests) + self.queue.rows
            if not self._running and self._may_be_inline(rows):
                self._settle(requests, *self._compute_inline(requests))
                if self.queue:
                    self._schedule_pump()
                return
            self._start(requests)

    def _start(self, requests: Sequence[Request]) -> None:
        """Compute in a thread."""
        expected = STUCK_FACTOR * self.queue.slowness * self._profile.seconds(_rows(requests))
        lane = Lane(requests, max(self._stuck_seconds, expected))
        loop = asyncio.get_running_loop()
        try:
            done = loop.run_in_executor(self._executor, self._compute_in_thread, lane)
        except RuntimeError as error:  # no thread can be started, or the executor was shut down
            for request in requests:
                deliver(request, failed(error, request))
            return
        self._running[done] = lane
        self._look_at(time.perf_counter() + lane.limit)
        done.add_done_callback(self._lane_done)

    def _compute_in_thread(self, lane: Lane) -> tuple[Sequence[Any], Run] | None:
        requests = lane.begin()
        return self._compute(requests) if requests else None

    def _lane_done(self, done: asyncio.Future[tuple[Sequence[Any], Run] | None]) -> None:
        lane = self._running.pop(done)
        if lane.stuck and not any(other.stuck for other in self._running.values()):
            self._on_stuck(None)
        if done.cancelled():  # the executor was shut down
            for request in lane.requests:
                deliver(request, self.queue.not_computed(request, time.perf_counter()))
        elif (outcome := done.result()) is not None:
            self._settle(lane.requests, *outcome)
        self._schedule_pump()

    def _compute(self, requests: Sequence[Request]) -> tuple[Sequence[Any], Run]:
        """The outcome of each request, and the run of all; called on any thread. Never raises."""
        began = time.perf_counter()
        try:
            outputs = self._run_together(requests)
            ended = time.perf_counter()
            outcomes = _answers(requests, outputs)
            if len(outcomes) != len(requests):
                raise ValueError(f"{len(outcomes)} answers for {len(requests)} requests")
            return outcomes, Run(began, ended, _rows(requests))
        except BaseException as error:  # noqa: BLE001 - model code may raise or exit as it likes
            broken = error
        # Not while it is handled: it would be the context of what the others raise, and one
        # request's failure would stand in the log of another's.
        alone = self._apart(requests, broken)
        del broken  # its traceback refers to this frame
        return alone, Run(began, time.perf_counter(), _rows(requests))

    def _apart(self, requests: Sequence[Request], error: BaseException) -> list[Any]:
        """The outcomes where one of the requests broke the run: alone, only that one fails."""
        if isinstance(error, RowsMixed):
            self._stop_sharing(str(error))
        if len(requests) > 1:
            return [outcome for each in requests for outcome in self._compute([each])[0]]
        if isinstance(error, RowsMixed):
            return [
                InferenceFailed(
                    "the request was computed in parts, but the model's rows depend on each other; "
                    "send it again, and it is computed as a whole",
                    incident=requests[0].request_id,
                )
            ]
        if isinstance(error, RequestError):
            return [error]
        failure = failed(error, requests[0])
        searches = self._searches is not None and self._searches.may_find(error)
        return [_Searched(failure) if searches else failure]

    def _run_together(self, requests: Sequence[Request]) -> dict[str, Array]:
        outputs = self._run(joined(requests, self._first))
        rows = _rows(requests)
        whole = requests[0].whole
        shared = len(requests) > 1 or (whole is not None and rows < whole.rows)
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

    def _settle(self, requests: Sequence[Request], outcomes: Sequence[Any], run: Run) -> None:
        self._observe(run)
        runs = (run,)
        for request, outcome in zip(requests, outcomes, strict=True):
            (request.whole or request).runs += runs
            if type(outcome) is _Searched and self._searches is not None:
                self._searches.begin(request, outcome.failure)
            else:
                deliver(request, outcome)

    def _observe(self, run: Run) -> None:
        seconds = run.ended - run.began
        self.queue.learn(run.rows, seconds)
        observe(self._observer.computed, run.rows, seconds)


class Parts:
    """The parts of a request that is too large for one run.

    They are put together where the last of them is computed, because that may take long.

    Args:
        whole: the request.
        count: their number.
    """

    def __init__(self, whole: Request, count: int) -> None:
        self.made: list[Request] = []
        whole.parts = self.made
        self._whole = whole
        self._results: list[dict[str, Array] | None] = [None] * count
        self._lock = threading.Lock()

    def encode(
        self, number: int, outputs: dict[str, Array], requests: Sequence[Request]
    ) -> list[Any]:
        """The ``Encode`` of one part: the answer of the whole when all parts are there, until then
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
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        encode = self._whole.encode
        return [joined] if encode is None else list(encode(joined, [self._whole]))

    def settle(self, part: Request, outcome: Any) -> None:
        """The outcome of one part; the first error is the error of all."""
        if outcome is INCOMPLETE:
            return
        if isinstance(outcome, RequestError):
            for each in tuple(self.made):
                each.cancel()
        deliver(self._whole, outcome)
        # They refer to this, and this to them.
        self.made.clear()


def _answers(requests: Sequence[Request], outputs: dict[str, Array]) -> Sequence[Any]:
    """The answer of each request, made together where all are encoded alike."""
    encode = requests[0].encode
    if all(each.encode is encode for each in requests):
        return (encode or views)(outputs, requests)
    return [
        part if each.encode is None else each.encode(part, [each])[0]
        for each, part in zip(requests, views(outputs, requests), strict=True)
    ]


def costs_by_rows(signature: Signature) -> bool:
    """Whether nothing but the number of rows varies between requests: no other dimension, and no
    text.
    """
    return all(
        -1 not in spec.shape[1 if signature.batched else 0 :] and spec.datatype != "BYTES"
        for spec in signature.inputs
    )


def _rows(requests: Sequence[Request]) -> int:
    return sum(request.rows for request in requests)
