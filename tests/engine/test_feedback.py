"""Feedback: right classes that come later are counted once each, and nothing else is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from engine.serving.errors import BodyTooLarge, InvalidInput, MalformedBody, NotFound
from engine.serving.pages.feedback import count
from engine.serving.reference.feedback import (
    MOST_CLASSES,
    OTHERS,
    Feedback,
    numbers_for,
    wrong_ratio,
)
from scipy.stats import binom

from tests.engine.exposition import ask
from tests.engine.server import running
from tests.engine.toy_models import write_classifier

KEY = "right-key-0123456789"


class World:
    """Two workers that remember a few rows each."""

    def __init__(self, *labels: str, remembered: int = 1000) -> None:
        self.now = 1000.0
        self.shared = np.zeros((2, numbers_for(remembered)))
        self.workers = [
            Feedback(labels, 0.8, remembered, self.shared, own, lambda: self.now)
            for own in range(2)
        ]

    def known(self, window: str = "hour") -> dict[str, tuple[float, float]]:
        return {each.label: (each.rows, each.right) for each in self.workers[0].accuracy(window)}


def test_any_worker_counts_what_another_answered_and_only_once() -> None:
    world = World("left", "right")
    first, second = world.workers
    first.remember("a", [0, 1, 1])
    assert second.count("a", 0, 0)
    assert second.count("a", 1, 0)
    assert not first.count("a", 1, 1)
    assert not first.count("a", 3, 1)
    assert not first.count("b", 0, 1)
    assert first.count("a", 2, 1)
    assert world.known() == world.known("day") == {"left": (2, 1), "right": (1, 1)}


def test_no_more_is_remembered_than_there_are_places() -> None:
    world = World("left", "right", remembered=50)
    for number in range(1000):
        world.workers[0].remember(f"r-{number}", [0])
    known = [number for number in range(1000) if world.workers[1].count(f"r-{number}", 0, 0)]
    assert 40 <= len(known) <= 50
    assert known[-1] == 999


def test_of_two_answers_with_one_name_the_later_one_counts() -> None:
    world = World("left", "right")
    first, second = world.workers
    second.remember("r-5", [1])
    world.now += 1
    first.remember("r-5", [0])
    assert first.count("r-5", 0, 0)
    assert world.known() == {"left": (1, 1)}
    assert not second.count("r-5", 0, 0)


def test_rows_of_a_request_do_not_push_each_other_out() -> None:
    world = World("left", "right", remembered=64)
    for number in range(50):
        world.workers[0].remember(f"r-{number}", [1] * 64)
        assert all(world.workers[1].count(f"r-{number}", row, 1) for row in range(64))


def test_windows_move_on() -> None:
    world = World("left", "right")
    first = world.workers[0]
    first.remember("a", [0])
    first.count("a", 0, 0)
    for _ in range(13):
        world.now += 300
        first.publish()
    assert (world.known(), world.known("day")) == ({}, {"left": (1, 1)})


def test_classes_beyond_the_last_share_a_place() -> None:
    labels = [f"class {number}" for number in range(MOST_CLASSES + 10)]
    world = World(*labels)
    first = world.workers[0]
    first.remember("a", [55, 56, 49])
    for row, number in enumerate((55, 55, 49)):
        assert first.count("a", row, number)
    assert world.known() == {"class 49": (1, 1), OTHERS: (2, 1)}


@pytest.mark.parametrize("promised", [0.5, 0.8, 0.95, 0.99, 0.999])
def test_a_kept_promise_raises_no_alarm_and_a_broken_one_does(promised: float) -> None:
    for rows in (5, 20, 50, 100, 1000, 10_000):
        told = [wrong_ratio(rows, wrong, promised) > 1 for wrong in range(rows + 1)]
        alarms = binom.sf(told.index(True) - 1, rows, 1 - promised) if any(told) else 0.0
        assert alarms < 1e-3, (rows, alarms)
        if rows * (1 - promised) >= 20:
            found = binom.sf(told.index(True) - 1, rows, min(1, 2 * (1 - promised)))
            assert found > 0.5, (rows, found)


def test_nothing_of_a_request_is_kept() -> None:
    world = World("left", "right")
    world.workers[0].remember("Mrs Smith", [1])
    assert b"Smith" not in world.shared.tobytes()
    assert np.count_nonzero(world.shared) == 3  # a key, a class and a time


@pytest.mark.parametrize(
    ("body", "error", "told"),
    [
        ("[", MalformedBody, "not JSON"),
        ("[]", InvalidInput, '"request_id" is missing'),
        ('{"request_id": 5, "label": "left"}', InvalidInput, '"request_id" is missing'),
        ('{"request_id": "a"}', InvalidInput, '"label" is missing'),
        ('{"request_id": "a", "labels": []}', InvalidInput, "no list of 1 to 64"),
        (
            f'{{"label": [{"[]," * 30_000}0]}}',
            BodyTooLarge,
            "at most 65536, with the labels of one",
        ),
        ('{"request_id": "a", "label": {}}', InvalidInput, "neither text nor a whole number"),
        ('{"request_id": "a", "label": "up"}', InvalidInput, "'up' of row 0 .* 'left', 'right'"),
        ('{"request_id": "a", "label": 2}', InvalidInput, "'2' of row 0"),
        ('{"request_id": "b", "label": "left"}', NotFound, "'b' is not remembered"),
    ],
)
def test_what_cannot_be_counted_is_refused(body: str, error: type[Exception], told: str) -> None:
    first = World("left", "right").workers[0]
    first.remember("a", [0])
    with pytest.raises(error, match=told):
        count(body.encode(), [first])
    assert count(b'{"request_id": "a", "labels": [0]}', [first]) == 1


@pytest.mark.slow
def test_a_service_tells_its_accuracy(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    rows = np.random.default_rng(5).normal(size=(60, 2)).astype(np.float32)
    answered = rows.argmax(axis=1)
    truth = np.where(np.arange(60) % 5 == 0, 1 - answered, answered)
    settings = {"FEEDBACK": "1000", "API_KEYS": KEY, "WORKERS": "2"}
    headers = {"X-API-Key": KEY}
    with running(tmp_path, **settings) as server:

        def told(body: dict[str, Any], **sent: str) -> httpx.Response:
            return httpx.post(f"{server.url}/feedback", json=body, headers=sent)

        for start in range(0, 60, 3):
            part = rows[start : start + 3].tolist()
            path = "predict" if start % 2 else "v2/models/sides/infer"
            data = {"name": "x", "shape": [3, 2], "datatype": "FP32", "data": part}
            body = {"data": part} if start % 2 else {"inputs": [data]}
            answer = httpx.post(f"{server.url}/{path}", json=body, headers=headers)
            labels = [["left", "right"][each] for each in truth[start : start + 3]]
            feedback = {"request_id": answer.headers["X-Request-Id"], "labels": labels}
            if start == 0:
                assert told(feedback).status_code == 401
                assert httpx.get(f"{server.url}/feedback").headers["Allow"] == "POST"
            assert told(feedback, **headers).json() == {"counted": 3}
            assert told(feedback, **headers).status_code == 404
        for number, label in enumerate(("left", "right")):
            names = {"model": "sides", "label": label, "window": "hour"}
            own = truth == number
            assert ask(server.url, "inference_feedback_rows", **names) == own.sum()
            accuracy = ask(server.url, "inference_feedback_accuracy_ratio", **names)
            assert accuracy == pytest.approx((answered == truth)[own].mean())
        # 12 of 60 are wrong; of so few, 0.2 and 3.719 times the root of 0.2 * 0.8 / 60 may be.
        wrong = ask(server.url, "inference_feedback_wrong_ratio", model="sides", window="hour")
        assert wrong == pytest.approx(12 / 60 / 0.39205, rel=1e-4)
