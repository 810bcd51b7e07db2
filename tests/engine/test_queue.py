"""A queue that does not keep up: a burst may come, and a few that take turns; a flood may not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from engine.serving.errors import Overloaded
from engine.serving.http.bodies import Bodies
from engine.serving.http.inference import Inference
from engine.serving.http.routes import route_of
from engine.serving.inference.arrays import size_of
from engine.serving.inference.profile import Profile
from engine.serving.inference.queue import Limits, RequestQueue
from engine.serving.request import Request
from engine.serving.settings import Settings
from engine.serving.tensors.signature import Signature, TensorSpec

from tests.engine.asked import requested

TENTH = Profile(0.1, 0.0, 1000, 1000)
THOUSANDTH = Profile(0.001, 0.0, 1000, 1000)
BY_THE_ROW = Profile(0.0, 0.01, 32, 32)
MEGABYTE = 1024 * 1024
WIDTH = 2


class Line:
    """A queue whose clock stands still until it is moved."""

    def __init__(self, profile: Profile, batch_rows: int, lanes: int) -> None:
        shape = (-1, WIDTH)
        specs = Signature((TensorSpec("x", "FP32", shape),), (TensorSpec("y", "FP32", shape),))
        limits = Limits(batch_rows, 1000, MEGABYTE, queue_seconds=1.0, lanes=lanes)
        self.now = 100.0
        self.queue = RequestQueue(specs, limits, profile)

    def put(self, rows: int = 1, requests: int = 1) -> None:
        """Admit requests of so many rows."""
        for _ in range(requests):
            self.queue.admit(rows, 8 * rows)
            request = requested({"x": np.ones((rows, WIDTH), np.float32)}, rows)
            request.size, request.enqueued = 8, self.now
            request.deadline = self.now + 60.0
            self.queue.put(request)

    def take(self, runs: int) -> None:
        """Begin so many runs."""
        for _ in range(runs):
            self.queue.take(lambda seconds: None)


Make = Callable[[Profile, int, int], Line]


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Make:
    """A function that makes the line of a test."""

    def make(profile: Profile, batch_rows: int, lanes: int) -> Line:
        made = Line(profile, batch_rows, lanes)
        monkeypatch.setattr("engine.serving.inference.queue.time.perf_counter", lambda: made.now)
        return made

    return make


def test_a_queue_that_does_not_empty_admits_only_a_few_runs(line: Make) -> None:
    tenth = line(TENTH, 8, 2)
    # A burst may come, for a tenth of the longest wait.
    tenth.put(requests=100)
    tenth.now += 0.1
    tenth.put(requests=20)
    # From then on nothing is admitted before only sixteen rows wait, or one run if that is more.
    tenth.now += 0.01
    with pytest.raises(Overloaded, match=r"120 rows wait, .* not kept up for 0\.1 s"):
        tenth.put()
    tenth.take(13)
    assert tenth.queue.rows == 16
    with pytest.raises(Overloaded) as refused:
        tenth.put()
    assert refused.value.rule is not None
    assert refused.value.rule.startswith("fewer than 16 rows")
    tenth.take(1)
    tenth.put(requests=8)
    with pytest.raises(Overloaded):
        tenth.put()
    # A moment in which a run has taken everything is no rest.
    tenth.take(2)
    assert not tenth.queue
    tenth.now += 0.05
    tenth.put(requests=16)
    with pytest.raises(Overloaded):
        tenth.put()
    # Once it has been empty for as long as a run takes, a burst is welcome again.
    tenth.take(2)
    tenth.now += 0.11
    tenth.put(requests=100)


def test_a_queue_whose_runs_are_large_may_hold_one_of_them(line: Make) -> None:
    large = line(BY_THE_ROW, 32, 2)
    large.put()
    large.now += 0.2
    large.put(31)
    with pytest.raises(Overloaded, match="32 rows wait"):
        large.put()


def test_four_clients_may_take_turns_with_large_requests(line: Make) -> None:
    turns = line(BY_THE_ROW, 32, 2)
    turns.put(32)
    turns.now += 0.2
    turns.put(32, requests=3)
    with pytest.raises(Overloaded, match="128 rows wait"):
        turns.put(32)


def test_a_queue_that_does_not_empty_may_be_long_while_nobody_notices(line: Make) -> None:
    short = line(THOUSANDTH, 8, 1)
    for _ in range(64):
        short.now += 1.0
        short.put()


def test_a_machine_that_others_keep_busy_is_no_reason_to_refuse(line: Make) -> None:
    disturbed = line(THOUSANDTH, 8, 1)
    for _ in range(100):
        disturbed.queue.learn(8, 0.005)
    for _ in range(40):
        disturbed.now += 1.0
        disturbed.put()
    assert disturbed.queue.wait_seconds() > 0.02


def test_the_bytes_of_a_request_are_those_of_its_texts() -> None:
    """An array of texts holds references, of eight bytes each."""
    spec = TensorSpec("text", "BYTES", (-1,))
    texts = np.array(["a" * 1000, b"b" * 500, ""], object)
    assert size_of({"text": texts}, spec) >= 1500
    assert size_of({"x": np.ones((3, 4), np.float32)}, spec) == 48
    assert size_of([[1.0, 2.0]], TensorSpec("x", "FP64", (-1, 2))) == 16


def test_rows_are_guessed_before_a_request_is_read(line: Make) -> None:
    full = line(BY_THE_ROW, 32, 2)
    full.put(32, requests=2)

    def text(count: int) -> bytes:
        return json.dumps({"data": [[0.123456789, 1.0]] * count}).encode()

    for each in (text(1), text(10), text(1000), None):
        full.queue.admit_unread(each)  # a burst
    full.now += 0.2
    for count in (1, 10):
        with pytest.raises(Overloaded, match="64 rows wait"):
            full.queue.admit_unread(text(count))
    for each in (text(32), text(1000), None):
        full.queue.admit_unread(each)


@pytest.mark.parametrize(
    ("headers", "seen"), [({}, b"body"), ({b"inference-header-content-length": b"4"}, None)]
)
def test_commas_among_binary_tensors_are_no_commas(
    headers: dict[bytes, bytes], seen: bytes | None
) -> None:
    class Looked(Exception):
        pass

    def refuse_if_full(text: bytes | None) -> None:
        raise Looked(text)

    model = SimpleNamespace(name="m", version="1")
    served = SimpleNamespace(model=model, refuse_if_full=refuse_if_full)
    host: Any = SimpleNamespace(get=lambda name, version: served)
    target = route_of("/v2/models/m/infer")
    assert target is not None
    answers: list[Any] = []
    telemetry: Any = SimpleNamespace(end=lambda request, status: None)
    inference = Inference(Settings(), host, telemetry, Bodies(100, 100))
    request = Request("infer", "1")
    request.target, request.headers, request.body = target, headers, b"body"
    request.settle = lambda _, outcome: answers.append(outcome)

    async def ask() -> None:
        inference.answer(request)

    asyncio.run(ask())
    assert [type(each) for each in answers] == [Looked]
    assert answers[0].args == (seen,)
