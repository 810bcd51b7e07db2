"""Two deploys that begin at the same time never mix: at most one of them touches anything.

Both run in threads that take turns at every request, in an order that a seed decides; the clock
moves only when both wait. A thousand seeds are a thousand ways to be unlucky.
"""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta

import pytest
from engine.deploy.config import names
from engine.deploy.rollout.run import roll_out
from engine.deploy.rollout.site import Busy, RolloutFailed, TakenOver

from tests.engine.rollout_world import BEFORE_IMAGE, CRASHES, World, is_kept, plain, site_of, wanted

SEEDS = range(150)


class Turns:
    """Lets one of several threads go on at a time; it is also their clock."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._choice = random.Random(seed)
        self._condition = threading.Condition()
        self._wakes: dict[threading.Thread, float] = {}
        self._turn: threading.Thread | None = None

    def enter(self, thread: threading.Thread) -> None:
        """The thread takes part; to be told before it starts."""
        self._wakes[thread] = 0.0

    def leave(self) -> None:
        """This thread is done."""
        with self._condition:
            del self._wakes[threading.current_thread()]
            self._next()

    def request(self, step: str) -> None:
        """Before every request, and after it: someone else may come first."""
        if threading.current_thread() in self._wakes and step != "sleep":
            self._wait_until(self._world.seconds)

    def begin(self) -> None:
        with self._condition:
            self._next()

    def now(self) -> datetime:
        return datetime(2026, 11, 20, tzinfo=UTC) + timedelta(seconds=self._world.seconds)

    def monotonic(self) -> float:
        return self._world.seconds

    def sleep(self, seconds: float) -> None:
        self._wait_until(self._world.seconds + seconds)

    def _wait_until(self, time: float) -> None:
        me = threading.current_thread()
        with self._condition:
            self._wakes[me] = time
            if self._turn is me:
                self._next()
            assert self._condition.wait_for(lambda: self._turn is me, timeout=30)

    def _next(self) -> None:
        if self._wakes:
            earliest = min(self._wakes.values())
            self._world.seconds = max(self._world.seconds, earliest)
            ready = [t for t, wake in self._wakes.items() if wake <= self._world.seconds]
            self._turn = self._choice.choice(ready)
            self._condition.notify_all()


@pytest.mark.parametrize("seed", SEEDS)
def test_deploys_that_begin_together_never_mix(seed: int) -> None:
    world = World()
    roll_out(site_of(world), wanted(BEFORE_IMAGE))
    world.applied.clear()
    images = ("one", "two", CRASHES)[seed % 2 : seed % 2 + 2]
    turns = Turns(world, seed)
    ends: dict[str, str] = {}

    def deploy(image: str) -> None:
        try:
            turns._wait_until(0.0)
            roll_out(site_of(world, clock=turns), wanted(image, cpu=1 + seed % 2))
            ends[image] = "kept"
        except (Busy, TakenOver, RolloutFailed) as error:
            ends[image] = type(error).__name__
        finally:
            turns.leave()

    threads = [threading.Thread(target=deploy, args=(image,), daemon=True) for image in images]
    for thread in threads:
        turns.enter(thread)
    world.hook = turns.request
    for thread in threads:
        thread.start()
    turns.begin()
    for thread in threads:
        thread.join(60)
    world.hook = lambda _: None

    assert set(ends) == set(images), ends
    assert "TakenOver" not in ends.values(), "both were alive"
    assert not any(record.open for record in world.records.values())
    blocks = [rollout for rollout, _ in world.applied]
    assert len(set(blocks)) == sum(a != b for a, b in zip(blocks, [None, *blocks], strict=False))
    kept = [image for image, end in ends.items() if end == "kept"]
    assert world.group is not None
    live = world.group.document
    assert is_kept(world)
    assert live["tags"][names.TAG_IMAGE] == f"sha256:{live['image']}"
    assert live["image"] in (kept or [BEFORE_IMAGE])
    assert plain(live)["tags.git-revision"] == live["image"]
