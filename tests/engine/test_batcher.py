"""Micro-batching: what shares a run, what never does, and what is refused."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
from engine.serving.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    NotReady,
    Overloaded,
    PackageError,
)
from engine.serving.inference.batcher import (
    INLINE_SECONDS,
    LONGEST_INLINE_SECONDS,
    Batcher,
    costs_by_rows,
)
from engine.serving.inference.profile import Profile, measure
from engine.serving.inference.queue import Limits
from engine.serving.inference.searches import MOST, Searches
from engine.serving.request import Encode, Request
from engine.serving.tensors.datatypes import Array, Datatype
from engine.serving.tensors.signature import Signature, TensorSpec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.asked import outcome_of, requested
from tests.engine.volume import examples

INLINE = Profile(0.0, 0.0, 1000, 1000)
TENTH = Profile(0.1, 0.0, 1000, 1000)
THREADED = Profile(INLINE_SECONDS * 10, 0.0, 1000, 1000)
MEGABYTE = 1024 * 1024
FOREVER = 60.0


class Recorder:
    """Observes, and remembers the rows of every run."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.waits: list[float] = []

    def waited(self, seconds: float) -> None:
        self.waits.append(seconds)

    def computed(self, rows: int, seconds: float) -> None:
        self.runs.append(rows)


class Double:
    """A model that doubles; it fails on a row of -13, and can be held back."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        assert self.gate.wait(timeout=10)
        if (inputs["x"] == -13).any():
            raise ValueError("unlucky")
        return {"y": inputs["x"] * 2}


def make(
    run: Callable[[Mapping[str, Array]], dict[str, Array]],
    *,
    profile: Profile = INLINE,
    batch_rows: int = 8,
    queue_rows: int = 100,
    queue_bytes: int = MEGABYTE,
    queue_seconds: float = FOREVER,
    in_flight: int = 2,
    shape: tuple[int, ...] = (-1, 2),
    lanes: int = 1,
    recorder: Recorder | None = None,
    executor: ThreadPoolExecutor | None = None,
    inline: bool = True,
    stuck_seconds: float = FOREVER,
    on_stuck: Callable[[str | None], None] = lambda reason: None,
    searches: Searches | None = None,
) -> tuple[Batcher, Recorder]:
    recorder = recorder or Recorder()
    specs = Signature((TensorSpec("x", "FP32", shape),), (TensorSpec("y", "FP32", shape),))
    limits = Limits(batch_rows, queue_rows, queue_bytes, queue_seconds, lanes, stuck_seconds)
    executor = executor or ThreadPoolExecutor(lanes)
    batcher = Batcher(
        run, specs, limits, profile, executor, recorder, lambda: in_flight, inline, on_stuck,
        searches=searches,
    )  # fmt: skip
    return batcher, recorder


def rows(*values: float, width: int = 2) -> dict[str, Array]:
    return {"x": np.repeat(np.array(values, np.float32)[:, None], width, axis=1)}


async def ask(
    batcher: Batcher,
    inputs: dict[str, Array],
    timeout: float = FOREVER,
    request: Request | None = None,
) -> Array:
    asked = requested(inputs, len(inputs["x"]), timeout)
    if request is not None:
        request.inputs, request.rows, request.deadline = inputs, asked.rows, asked.deadline
        asked = request
    answer: Array = (await outcome_of(batcher.post, asked))["y"]
    return answer


@pytest.mark.parametrize("profile", [INLINE, THREADED], ids=["inline", "threaded"])
def test_requests_of_one_moment_share_a_run(profile: Profile) -> None:
    async def main() -> None:
        batcher, recorder = make(Double(), profile=profile)
        answers = await asyncio.gather(*[ask(batcher, rows(value)) for value in range(5)])
        assert [answer[0, 0] for answer in answers] == [0, 2, 4, 6, 8]
        assert recorder.runs == [5]

    asyncio.run(main())


def test_a_request_knows_when_it_was_taken_and_which_runs_it_shared() -> None:
    async def main() -> None:
        batcher, _ = make(Double(), profile=THREADED, batch_rows=8)
        small, other, large = (Request("predict", name) for name in ("small", "other", "large"))
        await asyncio.gather(
            ask(batcher, rows(1, 2), request=small),
            ask(batcher, rows(3), request=other),
            ask(batcher, rows(*range(20)), request=large),
        )
        assert (small.rows, other.rows, large.rows) == (2, 1, 20)
        assert small.runs == other.runs
        (shared,) = small.runs
        assert 0 < small.taken <= shared.began < shared.ended
        assert [run.rows for run in large.runs] == [7, 7, 6]

    asyncio.run(main())


def test_a_request_that_is_computed_at_once_knows_that_too() -> None:
    async def main() -> None:
        batcher, _ = make(Double(), in_flight=1)
        request = Request("predict", "alone")
        await ask(batcher, rows(1), request=request)
        (run,) = request.runs
        assert (run.rows, run.began) == (1, request.taken)

    asyncio.run(main())


def test_what_arrives_during_a_run_shares_the_next_one() -> None:
    async def main() -> None:
        run = Double()
        batcher, recorder = make(run, profile=THREADED)
        run.gate.clear()
        first = asyncio.create_task(ask(batcher, rows(1)))
        await asyncio.sleep(0.01)
        later = [asyncio.create_task(ask(batcher, rows(value))) for value in (2, 3, 4)]
        await asyncio.sleep(0.01)
        run.gate.set()
        assert [answer[0, 0] for answer in await asyncio.gather(first, *later)] == [2, 4, 6, 8]
        assert recorder.runs == [1, 3]

    asyncio.run(main())


def test_no_run_exceeds_the_row_limit_and_large_requests_are_put_together() -> None:
    async def main() -> None:
        batcher, recorder = make(Double(), batch_rows=8)
        answers = await asyncio.gather(
            ask(batcher, rows(*range(20))), ask(batcher, rows(*range(5)))
        )
        assert [list(answer[:, 1]) for answer in answers] == [
            [2 * value for value in range(20)],
            [2 * value for value in range(5)],
        ]
        assert max(recorder.runs) <= 8
        assert sum(recorder.runs) == 25

    asyncio.run(main())


def test_other_shapes_go_alone() -> None:
    async def main() -> None:
        batcher, recorder = make(Double(), shape=(-1, -1))
        narrow, wide = await asyncio.gather(
            ask(batcher, rows(1, 2)), ask(batcher, rows(3, width=5))
        )
        assert (narrow.shape, wide.shape) == ((2, 2), (1, 5))
        assert sorted(recorder.runs) == [1, 2]

    asyncio.run(main())


def test_one_request_that_breaks_the_model_hurts_no_other() -> None:
    async def main() -> None:
        batcher, _ = make(Double())
        results = await asyncio.gather(
            *[ask(batcher, rows(value)) for value in (1, -13, 2)], return_exceptions=True
        )
        assert isinstance(results[1], InferenceFailed)
        assert "unlucky" not in results[1].message
        assert [result[0, 0] for result in (results[0], results[2])] == [2, 4]  # type: ignore[index]

    asyncio.run(main())


async def outcomes_of(
    batcher: Batcher, sizes: Sequence[int], encode: Encode | None = None, broken: int = 0
) -> list[Any]:
    """What each of some requests, posted in one moment, is answered.

    Args:
        broken: so many of the first request's deliveries raise.
    """
    answers: list[asyncio.Future[Any]] = [asyncio.Future() for _ in sizes]
    tries: list[Any] = []

    def settle(answer: asyncio.Future[Any], _: Request, outcome: Any) -> None:
        if answer is answers[0]:
            tries.append(outcome)
            if len(tries) <= broken:
                raise BrokenPipeError("not written")
        answer.set_result(outcome)  # raises when it was answered before

    for size, answer in zip(sizes, answers, strict=True):
        request = requested(rows(*range(size)), size, FOREVER, encode)
        request.settle = partial(settle, answer)
        batcher.post(request)
    return await asyncio.wait_for(asyncio.gather(*answers), timeout=10)


def _raise(outputs: dict[str, Array], requests: Sequence[Request]) -> list[Any]:
    raise TypeError("not encoded")


def _too_few(outputs: dict[str, Array], requests: Sequence[Request]) -> list[Any]:
    return []


@pytest.mark.parametrize("profile", [INLINE, THREADED], ids=["inline", "threaded"])
@pytest.mark.parametrize("encode", [_raise, _too_few], ids=["raises", "too few"])
@pytest.mark.parametrize("sizes", [[2], [20], [1, 2, 20]], ids=str)
def test_what_cannot_be_encoded_is_answered(
    profile: Profile, encode: Encode, sizes: list[int]
) -> None:
    async def main() -> None:
        batcher, _ = make(Double(), profile=profile)
        for outcome in await outcomes_of(batcher, sizes, encode):
            assert isinstance(outcome, InferenceFailed)
        assert batcher.load() == (0, 0)

    asyncio.run(main())


def test_parts_that_do_not_fit_together_are_answered() -> None:
    """Such as texts, padded to the longest of their run."""

    def padded(inputs: Mapping[str, Array]) -> dict[str, Array]:
        x = inputs["x"]
        return {"y": np.zeros((len(x), int(x.max()) + 1), np.float32)}

    async def main() -> None:
        batcher, _ = make(padded)
        (outcome,) = await outcomes_of(batcher, [20])
        assert isinstance(outcome, InferenceFailed)

    asyncio.run(main())


@pytest.mark.parametrize("profile", [INLINE, THREADED], ids=["inline", "threaded"])
@pytest.mark.parametrize("sizes", [[1, 1, 2], [20, 1, 2]], ids=str)
def test_what_cannot_be_delivered_is_answered_with_an_error(
    profile: Profile, sizes: list[int]
) -> None:
    async def main() -> None:
        batcher, _ = make(Double(), profile=profile)
        first, *others = await outcomes_of(batcher, sizes, broken=1)
        assert isinstance(first, InferenceFailed)
        assert [len(other["y"]) for other in others] == sizes[1:]
        assert batcher.load() == (0, 0)

    asyncio.run(main())


def test_an_answer_that_cannot_be_given_at_all_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def settle(_: Request, outcome: Any) -> None:
        raise BrokenPipeError("not written")

    async def main() -> None:
        batcher, _ = make(Double())
        request = requested(rows(1), 1)
        request.settle = settle
        batcher.post(request)
        assert len(await ask(batcher, rows(2))) == 1

    asyncio.run(main())
    assert [record.message for record in caplog.records] == [
        "a request could not be answered, id t"
    ]


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), Unreadable()], ids=repr)
@pytest.mark.parametrize("profile", [INLINE, THREADED], ids=["inline", "threaded"])
def test_whatever_a_model_raises_is_an_answer(profile: Profile, error: BaseException) -> None:
    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        raise error

    async def main() -> None:
        batcher, _ = make(run, profile=profile)
        for outcome in await outcomes_of(batcher, [1, 20]):
            assert isinstance(outcome, InferenceFailed)
        assert batcher.load() == (0, 0)

    asyncio.run(main())


@pytest.mark.parametrize("in_flight", [1, 2], ids=["alone", "queued"])
def test_metrics_that_cannot_be_counted_cost_no_answer(in_flight: int) -> None:
    class Broken(Recorder):
        def waited(self, seconds: float) -> None:
            raise ValueError("no room")

        def computed(self, rows: int, seconds: float) -> None:
            raise ValueError("no room")

    async def main() -> None:
        batcher, _ = make(Double(), in_flight=in_flight, recorder=Broken())
        for outcome in await outcomes_of(batcher, [1, 2, 20]):
            assert isinstance(outcome, dict)
        assert batcher.load() == (0, 0)

    asyncio.run(main())


def test_a_large_answer_is_encoded_where_it_was_computed() -> None:
    threads = []

    def cut(outputs: dict[str, Array], requests: Sequence[Request]) -> list[Any]:
        threads.append(threading.current_thread())
        return [len(outputs["y"])] * len(requests)

    async def main() -> None:
        batcher, _ = make(Double(), profile=THREADED, lanes=2)
        assert await outcomes_of(batcher, [20], cut) == [20]

    asyncio.run(main())
    assert threading.main_thread() not in threads


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    async def main() -> None:
        run = Double()
        batcher, _ = make(run, profile=THREADED, queue_rows=10)
        run.gate.clear()
        running = asyncio.create_task(ask(batcher, rows(0)))
        await asyncio.sleep(0.01)
        waiting = asyncio.create_task(ask(batcher, rows(*range(8))))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refused:
            await ask(batcher, rows(1, 2, 3))
        assert refused.value.retry_after is not None
        assert refused.value.retry_after >= 1
        with pytest.raises(BodyTooLarge):
            await ask(batcher, rows(*range(11)))
        run.gate.set()
        assert len(await waiting) == 8
        assert len(await running) == 1
        assert batcher.queue.rows == 0

    asyncio.run(main())


@pytest.mark.parametrize("size", [1, 20])
def test_a_deadline_is_kept_while_all_lanes_are_busy(size: int) -> None:
    async def main() -> None:
        run = Double()
        batcher, recorder = make(run, profile=THREADED)
        run.gate.clear()
        first = asyncio.create_task(ask(batcher, rows(1)))
        await asyncio.sleep(0.01)
        late = asyncio.create_task(ask(batcher, rows(*range(size)), timeout=0.05))
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(late, timeout=5)
        assert not first.done()
        assert batcher.load() == (0, 1)
        run.gate.set()
        await first
        assert recorder.runs == [1]

    asyncio.run(main())


def test_a_deadline_is_kept_while_other_models_take_all_threads() -> None:
    async def main() -> None:
        run = Double()
        executor = ThreadPoolExecutor(1)
        busy, _ = make(run, profile=THREADED, executor=executor)
        batcher, recorder = make(Double(), profile=THREADED, executor=executor)
        run.gate.clear()
        first = asyncio.create_task(ask(busy, rows(1)))
        await asyncio.sleep(0.01)
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(ask(batcher, rows(1), timeout=0.05), timeout=5)
        run.gate.set()
        await first
        assert len(await ask(batcher, rows(1, 2))) == 2
        assert recorder.runs == [2]

    asyncio.run(main())


def test_a_request_that_the_next_run_would_take_too_late_is_not_computed() -> None:
    """The event loop was busy, and its timers have not fired yet."""

    async def main() -> None:
        run = Double()
        batcher, recorder = make(run, profile=THREADED)
        run.gate.clear()
        first = asyncio.create_task(ask(batcher, rows(1)))
        await asyncio.sleep(0.01)
        late = asyncio.create_task(ask(batcher, rows(2), timeout=0.01))
        await asyncio.sleep(0)
        time.sleep(0.05)
        assert batcher.queue.take(lambda seconds: None) == []
        with pytest.raises(DeadlineExceeded):
            await late
        run.gate.set()
        await first
        assert recorder.runs == [1]

    asyncio.run(main())


def test_a_run_that_does_not_end_is_told_and_its_requests_are_answered() -> None:
    async def main() -> None:
        run = Double()
        told: list[str | None] = []
        batcher, _ = make(run, profile=THREADED, stuck_seconds=0.3, on_stuck=told.append)
        run.gate.clear()
        with pytest.raises(DeadlineExceeded, match="has not answered"):
            await asyncio.wait_for(ask(batcher, rows(1, 2)), timeout=5)
        assert len(told) == 1
        assert "a run of 2 rows has not ended" in str(told[0])
        waits = asyncio.create_task(ask(batcher, rows(3)))
        await asyncio.sleep(0.01)
        run.gate.set()
        assert len(await waits) == 1
        assert told[1:] == [None]

    asyncio.run(main())


def test_a_slow_model_is_not_stuck() -> None:
    """A run may take ten times as long as measured."""

    async def main() -> None:
        told: list[str | None] = []

        def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
            time.sleep(0.2)
            return {"y": inputs["x"]}

        batcher, _ = make(run, profile=TENTH, stuck_seconds=0.01, on_stuck=told.append)
        assert len(await ask(batcher, rows(1))) == 1
        assert told == []

    asyncio.run(main())


@pytest.mark.parametrize("size", [8, 10])
def test_a_request_whose_client_left_makes_room_at_once(size: int) -> None:
    """The run before it has not ended; of 10 rows there are two parts."""

    async def main() -> None:
        run = Double()
        batcher, recorder = make(run, profile=THREADED, queue_rows=10, queue_bytes=85)
        run.gate.clear()
        first = asyncio.create_task(ask(batcher, rows(0)))
        await asyncio.sleep(0.01)
        for leave in (_cancel_task, _cancel_waiting):
            await leave(batcher, size)
            assert batcher.load() == (0, 1)
        stays = asyncio.create_task(ask(batcher, rows(*range(10))))
        await asyncio.sleep(0.01)
        assert batcher.load() == (10, 1)
        run.gate.set()
        await asyncio.gather(first, stays)
        assert sum(recorder.runs) == 11

    asyncio.run(main())


async def _cancel_task(batcher: Batcher, size: int) -> None:
    task = asyncio.create_task(ask(batcher, rows(*range(size))))
    await asyncio.sleep(0.01)
    assert batcher.load() == (size, 1)
    task.cancel()
    await asyncio.sleep(0.01)


async def _cancel_waiting(batcher: Batcher, size: int) -> None:
    request = requested(rows(*range(size)), size)
    request.settle = lambda _, outcome: None
    batcher.post(request)
    assert batcher.load() == (size, 1)
    request.cancel()


def test_what_still_waits_at_the_end_is_answered() -> None:
    async def main() -> None:
        run = Double()
        batcher, _ = make(run, profile=THREADED)
        run.gate.clear()
        tasks = [asyncio.create_task(ask(batcher, rows(0)))]
        await asyncio.sleep(0.01)
        tasks += [asyncio.create_task(ask(batcher, rows(*range(size)))) for size in (1, 20)]
        await asyncio.sleep(0.01)
        batcher.give_up(lambda: NotReady("the end"))
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [NotReady] * 3
        run.gate.set()

    asyncio.run(main())


def test_only_what_costs_by_its_rows_is_computed_on_the_event_loop() -> None:
    async def main(wait: float, runs: int = 1, **settings: Any) -> bool:
        threads = []

        def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
            threads.append(threading.current_thread())
            time.sleep(wait)
            return {"y": inputs["x"]}

        batcher, _ = make(run, **settings)
        for _ in range(runs):
            await ask(batcher, rows(1))
        return threads[-1] is threading.main_thread()

    for in_flight in (1, 2):
        there = {"in_flight": in_flight}
        assert asyncio.run(main(0.0, **there))
        assert not asyncio.run(main(0.0, shape=(-1, -1), **there))
        assert not asyncio.run(main(0.0, inline=False, **there))
        assert not asyncio.run(main(LONGEST_INLINE_SECONDS * 1.2, 2, **there))
        # Measured as short, but longer now.
        slower = Profile(INLINE_SECONDS * 0.9, 0.0, 1000, 1000)
        assert not asyncio.run(main(INLINE_SECONDS * 3, 8, profile=slower, **there))


@pytest.mark.parametrize(
    ("shape", "datatype", "rows_alone"),
    [
        ((-1, 2), "FP32", True),
        ((2, 2), "FP32", True),
        ((-1, 2), "BYTES", False),
        ((-1,), "FP32", True),
        ((-1, 2, -1), "FP32", False),
    ],
)
def test_what_a_request_costs_by(
    shape: tuple[int, ...], datatype: Datatype, rows_alone: bool
) -> None:
    spec = TensorSpec("x", datatype, shape)
    assert costs_by_rows(Signature((spec,), (spec,))) is rows_alone
    steps = Signature((spec,), (spec,), independent_rows=False)
    assert costs_by_rows(steps) is (rows_alone and shape[0] != -1)


def test_a_cancelled_request_is_not_computed() -> None:
    async def main() -> None:
        run = Double()
        batcher, recorder = make(run, profile=THREADED)
        run.gate.clear()
        first = asyncio.create_task(ask(batcher, rows(1)))
        await asyncio.sleep(0.01)
        gone = asyncio.create_task(ask(batcher, rows(2)))
        stays = asyncio.create_task(ask(batcher, rows(3)))
        await asyncio.sleep(0.01)
        gone.cancel()
        run.gate.set()
        await asyncio.gather(first, stays)
        assert recorder.runs == [1, 1]
        assert batcher.queue.rows == 0

    asyncio.run(main())


def test_a_request_that_is_alone_needs_no_queue() -> None:
    async def main() -> None:
        batcher, recorder = make(Double(), in_flight=1)
        coroutine = ask(batcher, rows(1))
        with pytest.raises(StopIteration) as done:
            coroutine.send(None)
        assert done.value.value[0, 0] == 2
        assert (recorder.runs, recorder.waits) == ([1], [0.0])
        with pytest.raises(InferenceFailed):
            await ask(batcher, rows(-13))

    asyncio.run(main())


def test_bytes_that_wait_are_bounded() -> None:
    async def main() -> None:
        run = Double()
        batcher, _ = make(run, profile=THREADED, queue_bytes=100)
        run.gate.clear()
        running = asyncio.create_task(ask(batcher, rows(0)))
        await asyncio.sleep(0.01)
        waiting = asyncio.create_task(ask(batcher, rows(*range(8))))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="64 of 100 bytes"):
            await ask(batcher, rows(*range(5)))
        run.gate.set()
        await asyncio.gather(running, waiting)

    asyncio.run(main())


def test_a_request_that_would_wait_too_long_is_refused() -> None:
    """The measured run takes 20 ms; more than a batch that waits means more than one run."""

    async def main() -> None:
        run = Double()
        batcher, _ = make(run, profile=THREADED, batch_rows=4, queue_seconds=0.03)
        run.gate.clear()
        tasks = [asyncio.create_task(ask(batcher, rows(0)))]
        await asyncio.sleep(0.01)
        for _ in range(2):
            tasks.append(asyncio.create_task(ask(batcher, rows(1, 2, 3))))
            await asyncio.sleep(0)
        assert batcher.queue.wait_seconds() == pytest.approx(0.04)
        with pytest.raises(Overloaded, match=r"would wait for 0\.04 s"):
            await ask(batcher, rows(1))
        run.gate.set()
        await asyncio.gather(*tasks)
        assert batcher.queue.wait_seconds() == 0

    asyncio.run(main())


@pytest.mark.parametrize(
    ("fixed", "per_row", "batch_rows", "part_rows"),
    [
        (1.0, 0.0, 256, 256),
        (0.0, 1.0, 256, 256),
        (100.0, 50.0, 64, 256),
        (0.0, 1000.0, 2, 8),
        (0.0, 6000.0, 1, 2),
        (5000.0, 1000.0, 32, 32),
    ],
)
def test_batches_grow_while_rows_get_cheaper(
    monkeypatch: pytest.MonkeyPatch,
    fixed: float,
    per_row: float,
    batch_rows: int,
    part_rows: int,
) -> None:
    """With a clock that goes by the cost of the run alone."""
    clock = [0.0]
    monkeypatch.setattr("engine.serving.inference.profile.time.perf_counter", lambda: clock[0])

    def run(rows: int) -> None:
        clock[0] += (fixed + per_row * rows) / 1e6

    profile = measure(run, 256)
    assert (profile.batch_rows, profile.part_rows) == (batch_rows, part_rows)
    assert profile.seconds(8) == pytest.approx((fixed + per_row * 8) / 1e6)


@pytest.mark.parametrize(
    ("count", "lanes", "parts"),
    [
        (9, 1, [9]),
        (32, 1, [32]),
        (33, 1, [17, 16]),
        (9, 2, [9]),
        (16, 2, [8, 8]),
        (20, 4, [10, 10]),
        (64, 4, [16, 16, 16, 16]),
    ],
)
def test_a_large_request_is_cut_by_time_and_shared_out_to_the_lanes(
    count: int, lanes: int, parts: list[int]
) -> None:
    """Batches of 8 rows pay, and 32 rows may be computed at once for one request."""

    async def main() -> None:
        profile = Profile(INLINE_SECONDS * 10, 0.0, 8, 32)
        batcher, recorder = make(Double(), profile=profile, batch_rows=100, lanes=lanes)
        answer = await ask(batcher, rows(*range(count)))
        np.testing.assert_array_equal(answer[:, 0], np.arange(count) * 2)
        assert sorted(recorder.runs, reverse=True) == parts

    asyncio.run(main())


@pytest.mark.parametrize("disturbed", range(1, 10))
def test_a_busy_moment_of_the_machine_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, disturbed: int
) -> None:
    """It lasts for a whole turn of one size."""
    clock = [0.0]
    monkeypatch.setattr("engine.serving.inference.profile.time.perf_counter", lambda: clock[0])
    turns: list[int] = []

    def run(rows: int) -> None:
        if not turns or turns[-1] != rows:
            turns.append(rows)
        slowness = 3 if len(turns) == disturbed else 1
        clock[0] += slowness * (100 + 50 * rows) / 1e6

    profile = measure(run, 256)
    assert (profile.batch_rows, profile.part_rows) == (64, 256)


def test_batches_end_where_the_memory_does(caplog: pytest.LogCaptureFixture) -> None:
    def run(rows: int) -> None:
        if rows > 8:
            raise PackageError(f"no memory for {rows} rows")
        time.sleep(0.001)

    assert measure(run, 256).batch_rows == 8
    assert "no batches of 16 rows: no memory for 16 rows" in caplog.text


def test_batches_that_do_not_fit_any_more_are_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """Another worker on the same GPU may take memory while this one measures."""
    largest: list[int] = []

    def run(rows: int) -> None:
        largest.append(rows)
        if max(largest) == 16 and largest.count(1) > 20 and rows > 8:
            raise PackageError(f"no memory for {rows} rows")

    assert measure(run, 16).batch_rows <= 8
    assert "no batches of 16 rows" in caplog.text


def test_a_slow_model_is_not_measured_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("engine.serving.inference.profile.time.perf_counter", lambda: clock[0])

    def run(rows: int) -> None:
        clock[0] += 0.1 * rows

    measure(run, 256)
    assert clock[0] < 1.5


def test_a_model_that_a_large_batch_broke_is_not_served() -> None:
    ran: list[int] = []

    def run(rows: int) -> None:
        ran.append(rows)
        if max(ran) > 1:
            raise PackageError(f"the device is lost, {rows} rows")

    with pytest.raises(PackageError, match="1 rows"):
        measure(run, 256)


@pytest.mark.slow
@settings(deadline=None, max_examples=examples(60))
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    widths=st.lists(st.integers(1, 3), min_size=12, max_size=12),
    pauses=st.lists(st.booleans(), min_size=12, max_size=12),
    threaded=st.booleans(),
)
def test_batched_answers_equal_single_ones(
    sizes: list[int], widths: list[int], pauses: list[bool], threaded: bool
) -> None:
    """For every mix of sizes, shapes and orders of arrival."""
    generator = np.random.default_rng(sum(sizes))
    requests = [
        {"x": generator.random((size, width), np.float32)}
        for size, width in zip(sizes, widths, strict=False)
    ]

    async def main() -> list[Array]:
        profile = THREADED if threaded else INLINE
        batcher, _ = make(Double(), profile=profile, queue_rows=1000, shape=(-1, -1))
        tasks = []
        for request, pause in zip(requests, pauses, strict=False):
            tasks.append(asyncio.create_task(ask(batcher, request)))
            if pause:
                await asyncio.sleep(0)
        return await asyncio.gather(*tasks)

    for request, answer in zip(requests, asyncio.run(main()), strict=True):
        np.testing.assert_array_equal(answer, request["x"] * 2)


class FailsAtThirteen:
    """What a search needs of a model; it ends when the test says so."""

    signature = Signature((TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),))

    def __init__(self) -> None:
        self.found = threading.Event()

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        if (inputs["x"] == 13).any():
            raise ValueError("thirteen")
        return {"y": inputs["x"]}

    def failed_at_a_value(self, error: BaseException) -> bool:
        return str(error) == "thirteen"

    def refusal(self, inputs: dict[str, Array], begin: int) -> InvalidInput:
        assert self.found.wait(FOREVER)
        row = begin + int((inputs["x"] == 13).argmax(axis=0)[0])
        return InvalidInput("thirteen", field=f"x[{row}]")


@pytest.mark.parametrize("profile", [INLINE, THREADED], ids=["inline", "threaded"])
def test_a_search_for_a_value_keeps_nobody_waiting(profile: Profile) -> None:
    async def main() -> None:
        model = FailsAtThirteen()
        batcher, _ = make(model.run, profile=profile, searches=Searches(model))  # type: ignore[arg-type]
        wrong = [asyncio.ensure_future(ask(batcher, rows(1, 13))) for _ in range(MOST + 1)]
        with pytest.raises(Overloaded, match="values of 4 others"):
            await wrong.pop()
        assert (await ask(batcher, rows(1, 2))).tolist() == [[1, 1], [2, 2]]
        assert not any(each.done() for each in wrong)
        model.found.set()
        for each in wrong:
            with pytest.raises(InvalidInput) as refused:
                await each
            assert refused.value.field == "x[1]"
        batcher.close()

    asyncio.run(main())


def test_the_row_of_a_value_is_that_of_the_request_and_not_of_its_part() -> None:
    async def main() -> None:
        model = FailsAtThirteen()
        model.found.set()
        batcher, _ = make(model.run, profile=THREADED, searches=Searches(model))  # type: ignore[arg-type]
        values = [0.0] * 60
        values[29] = values[50] = 13
        with pytest.raises(InvalidInput) as refused:
            await ask(batcher, rows(*values))
        assert refused.value.field in ("x[29]", "x[50]")
        batcher.close()

    asyncio.run(main())
