"""A job that GitHub cancels at any request of a rollout: afterwards the release before serves.

GitHub's runner signals the step's process (SIGINT, 7.5 s later SIGTERM), kills everything 2.5 s
after that, and then gives the steps of `if: cancelled()` five minutes:
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-cancellation
"""

from __future__ import annotations

import contextlib
import os
import signal
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from engine.deploy.commands import recover
from engine.deploy.outcome import AS_BEFORE, NEW, UNKNOWN, serves
from engine.deploy.rollout.guard import Stopped
from engine.deploy.rollout.interrupted import finish_interrupted
from engine.deploy.rollout.run import roll_out
from engine.deploy.say import Say
from engine.errors import EngineError

from tests.engine.arm_memory import (
    GOOD,
    Arm,
    Call,
    Deploys,
    Habits,
    release,
)
from tests.engine.test_recover import ended_process
from tests.engine.test_rollout_faults import (
    KINDS,
    WAYS,
    From,
    Way,
    begun,
    deploy,
    moments,
    noted,
    requests_of,
    settled_as,
    ways,
)

pytestmark = pytest.mark.sampled

RECOVERY_SECONDS = 300
CANCELLED = ("update", "crash", "slow", "larger", "larger crash", "first", "first crash")


class Killed(BaseException):
    """The process is gone: no handler of its own may see this."""


class Cancelled(From):
    """The runner's signals begin when the request of this number is sent, or was answered."""

    late = False

    def before(self, arm: Arm, call: Call) -> None:
        if not self.late and self.begins(arm, call):
            self._cancel(arm)

    def after(self, arm: Arm, call: Call) -> None:
        if self.late and self.begins(arm, call):
            self._cancel(arm)

    def _cancel(self, arm: Arm) -> None:
        now = arm.clock.seconds
        arm.clock.alarms = [(now + 7.5, lambda: _signal(signal.SIGTERM)), (now + 10, _kill)]
        _signal(signal.SIGINT)


def _signal(number: signal.Signals) -> None:
    signal.raise_signal(number)


def _kill() -> None:
    raise Killed


@pytest.fixture(autouse=True)
def exits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends this process at once ends the deploy that runs in it."""

    def end(_: int) -> None:
        raise Killed

    monkeypatch.setattr(os, "_exit", end)


def cancel(deploys: Deploys, way: Way, moment: int, *, late: bool, process: str | None) -> str:
    """Run a deploy that is cancelled; how it ended."""
    fault = Cancelled(moment)
    fault.late = late
    deploys.arm.fault = fault
    site = deploys.site(process, cpu=way.cpu, memory_gb=2 * way.cpu)
    try:
        with site.guard.watching():
            roll_out(site, site.target.document(release(way.digit), {}))
    except Killed:
        return "killed"
    except (EngineError, Stopped) as error:
        return f"ended by itself: {error}"
    else:
        return "kept"
    finally:
        deploys.arm.fault = From(10**9)
        deploys.arm.clock.alarms = []


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "outputs"
    monkeypatch.setenv("GITHUB_OUTPUT", str(path))
    return path


@contextlib.contextmanager
def recovery(deploys: Deploys, way: Way, patch: pytest.MonkeyPatch) -> Iterator[Namespace]:
    """The step `recover ENV --image IMAGE --undo` of the same job, on the same machine."""
    site = deploys.site(ended_process(), cpu=way.cpu, memory_gb=2 * way.cpu)
    context = SimpleNamespace(
        own_names=None,
        inside=None,
        target=site.target,
        journal=site.journal,
        environment=cast("Any", site.target)._environment,
        say=site.say,
        site=lambda names: site,
        secrets=lambda names: site.secrets,
        secret_findings=lambda *_: [],
    )
    with patch.context() as inner:
        inner.setattr(recover, "open_context", lambda *_: context)
        yield Namespace(environment="staging", image=release(way.digit).image, undo=True)


def shown(outputs: Path) -> str:
    """The word that the outcome page is made of."""
    lines = outputs.read_text().splitlines() if outputs.exists() else []
    found = [line.partition("=")[2] for line in lines if line.startswith("serves=")]
    return found[-1] if found else UNKNOWN


def is_true(arm: Arm, way: Way, word: str) -> bool:
    """Whether the page says what is so; that it is not known is true before the next run only."""
    new = arm.serving() == way.digit
    page = serves("staging", {"serves": word, "up": "cancelled"})
    if word == UNKNOWN:
        return "is not known" in page
    return (word, "does not serve" in page) == ((NEW, False) if new else (AS_BEFORE, True))


cases = pytest.mark.parametrize("way", ways(CANCELLED))
kinds = pytest.mark.parametrize("kind", KINDS)
times = pytest.mark.parametrize("late", [False, True], ids=["sent", "answered"])


@cases
@kinds
@times
def test_the_recovery_of_a_cancelled_job_brings_back_the_release_before(
    monkeypatch: pytest.MonkeyPatch, outputs: Path, way: str, kind: str, *, late: bool
) -> None:
    chosen = WAYS[way]
    number = requests_of(monkeypatch, kind, chosen)
    for moment in moments(number, f"recovered {way} {kind} {late}"):
        outputs.unlink(missing_ok=True)
        deploys = begun(monkeypatch, kind, chosen)
        ended = cancel(deploys, chosen, moment, late=late, process=ended_process())
        with noted(f"cancelled at request {moment} of {number}, {ended}"):
            with recovery(deploys, chosen, monkeypatch) as asked:
                before = deploys.arm.clock.seconds
                assert recover.run(asked, Path(), Say()) == 0
                assert deploys.arm.clock.seconds < before + RECOVERY_SECONDS
            proved(deploys, chosen)
            assert is_true(deploys.arm, chosen, shown(outputs))


@cases
@kinds
def test_after_a_recovery_that_is_cut_off_the_next_run_completes_it(
    monkeypatch: pytest.MonkeyPatch, outputs: Path, way: str, kind: str
) -> None:
    """Azure refuses every change for longer than the five minutes."""
    chosen = WAYS[way]
    number = requests_of(monkeypatch, kind, chosen)
    for moment in moments(number, f"cut off {way} {kind}"):
        outputs.unlink(missing_ok=True)
        deploys = begun(monkeypatch, kind, chosen)
        deploys.arm.habits = Habits(busy_seconds=700)
        ended = cancel(deploys, chosen, moment, late=True, process=ended_process())
        with noted(f"cancelled at request {moment} of {number}, {ended}"):
            clock = deploys.arm.clock
            clock.alarms = [(clock.seconds + RECOVERY_SECONDS, _kill)]
            with recovery(deploys, chosen, monkeypatch) as asked, contextlib.suppress(Killed):
                recover.run(asked, Path(), Say())
            clock.alarms = []
            assert is_true(deploys.arm, chosen, shown(outputs)) or shown(outputs) == UNKNOWN
            finish_interrupted(deploys.site(cpu=chosen.cpu, memory_gb=2 * chosen.cpu))
            proved(deploys, chosen)


@cases
@kinds
def test_after_a_runner_that_is_lost_the_next_run_completes_it(
    monkeypatch: pytest.MonkeyPatch, outputs: Path, way: str, kind: str
) -> None:
    """It runs on another machine, which sees the end of the first one by its silence."""
    chosen = WAYS[way]
    number = requests_of(monkeypatch, kind, chosen)
    for moment in moments(number, f"lost {way} {kind}"):
        deploys = begun(monkeypatch, kind, chosen)
        ended = cancel(deploys, chosen, moment, late=True, process="another machine/1/1")
        with noted(f"lost at request {moment} of {number}, {ended}"):
            finish_interrupted(deploys.site(cpu=chosen.cpu, memory_gb=2 * chosen.cpu))
            proved(deploys, chosen)
            deploy(deploys, GOOD, chosen.cpu)
            assert settled_as(deploys.arm, GOOD)


def proved(deploys: Deploys, way: Way) -> None:
    """The release before serves, complete; or the new one, where it is good and was kept."""
    arm = deploys.arm
    if way.digit == GOOD and arm.phases()[-1:] == ["kept"] and settled_as(arm, GOOD):
        return
    assert settled_as(arm, way.before), (arm.phases(), arm.serving())
