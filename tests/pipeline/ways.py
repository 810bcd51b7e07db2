"""Deploys with every change that they send to Azure, to be killed at each of them."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .rollout_world import RolloutWorld, answers, ended, succeeded
from .walking import walked


@dataclass(frozen=True)
class Way:
    """A deploy where another release serves, or none.

    Attributes:
        before: one of these images serves; none: nothing was ever deployed. Where none of them
            does yet, they are deployed in this order.
        release: what is deployed: an image, "larger" and "larger-…" from the larger checkout; or
            "", the image that follows in ``before`` on the one that serves, in a circle.
        steps: every change that it sends, in the words of `walking.step_of`.
        code: its exit code.
        beside: how many containers may run beside the one that serves afterwards.
    """

    before: tuple[str, ...]
    release: str
    steps: tuple[str, ...]
    code: int = 0
    beside: int = 0


class Ways:
    """The ways of one world; each has a stage of its own."""

    def __init__(self, world: RolloutWorld, ways: Mapping[str, Way], larger: Path | None) -> None:
        self._world = world
        self._ways = ways
        self._larger = larger

    def show_all_changes(self, name: str) -> None:
        """Undisturbed, a deploy sends these changes and no other."""
        way, stage = self._ways[name], stage_of(name)
        _, release = self._begin(way, stage)
        before = copy.deepcopy(self._world.sent(stage))
        process = self._start(stage, release)
        steps, done = walked(self._world, stage, process), ended(process)
        assert (done.code, steps) == (way.code, list(way.steps)), done.err
        if way.code:
            assert self._world.sent(stage) == before

    def survive_death(self, name: str, step: str) -> None:
        """The process is killed when it has sent the step, which arrives afterwards; the next run
        finishes what it left, and serves what was asked for.
        """
        way, stage, world = self._ways[name], stage_of(name), self._world
        serving, release = self._begin(way, stage)
        before = copy.deepcopy(world.sent(stage))
        process = self._start(stage, release)
        steps = walked(world, stage, process, {step: process.kill})
        killed = ended(process)
        assert steps == list(way.steps[: way.steps.index(step) + 1]), killed.err
        assert killed.code == -signal.SIGKILL

        wanted = release if way.code == 0 else serving or "good"
        answers(world, succeeded(ended(self._start(stage, wanted))))
        assert world.serves(stage, wanted)
        assert world.beside(stage) <= way.beside
        if wanted == serving:
            assert world.sent(stage) == before

    def _begin(self, way: Way, stage: str) -> tuple[str, str]:
        """Let what is before a way be so: what serves, "" if nothing, and what to deploy."""
        if not way.before:
            self._world.vanish(stage)
            return "", way.release
        serving = [each for each in way.before if self._world.serves(stage, each)]
        if not serving:
            for each in way.before:
                succeeded(ended(self._start(stage, each)))
            serving = [way.before[-1]]
        place = way.before.index(serving[0])
        return serving[0], way.release or way.before[(place + 1) % len(way.before)]

    def _start(self, stage: str, release: str) -> subprocess.Popen[str]:
        return self._world.roll_out(stage, *self._source(release))

    def _source(self, release: str) -> tuple[str, Path | None]:
        """The image of a release, and the checkout that deploys it."""
        folder = self._larger if release.startswith("larger") else None
        return release.removeprefix("larger-"), folder


def stage_of(name: str) -> str:
    """The stage of a way."""
    return name.replace(" ", "-")


def deaths(ways: Mapping[str, Way]) -> list[tuple[str, str]]:
    """Every kind of request, on the first way that sends it; in `make test-all` all of every way.

    The service's own tests/test_rollout.py dies before and after every request of every way, with
    Azure in memory. Real processes show that each kind arrives after its sender's death.
    """
    everything = [(name, step) for name, way in ways.items() for step in way.steps]
    if "ACI_ML_ALL" in os.environ:
        return everything
    found: dict[str, tuple[str, str]] = {}
    for name, step in everything:
        found.setdefault(step.removesuffix(", again"), (name, step))
    return list(found.values())
