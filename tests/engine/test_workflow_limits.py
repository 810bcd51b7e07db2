"""A job that deploys is not killed before its longest rollout has ended."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from engine.deploy.config.environment import Rollout as Limits
from engine.deploy.rollout.interrupted import longest_seconds
from engine.deploy.rollout.run import roll_out
from engine.deploy.rollout.site import RolloutFailed
from engine.upkeep.workflow_limits import overruns

from tests.engine.project import ROOT
from tests.engine.rollout_world import BEFORE_IMAGE, SLOW, World, site_of, wanted


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The workflows and the configuration of this repository."""
    for folder in (".github/workflows", "deploy"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def test_every_job_may_take_as_long_as_its_longest_deploy(checkout: Path) -> None:
    assert overruns(checkout) == []


@pytest.mark.parametrize("job", ["staging", "production", "rollback"])
def test_a_job_whose_limit_is_too_short_is_named(checkout: Path, job: str) -> None:
    name = "rollback.yml" if job == "rollback" else "deploy.yml"
    path = checkout / ".github" / "workflows" / name
    head, tail = path.read_text(encoding="utf-8").split(f"\n  {job}:\n")
    begin, _, end = tail.partition("timeout-minutes: ")
    limit, end = end.split(" ", 1)
    assert int(limit) <= 360
    path.write_text(f"{head}\n  {job}:\n{begin}timeout-minutes: 45 {end}", encoding="utf-8")
    found = overruns(checkout)
    assert {each.split(": ")[1] for each in found} == {f"job {job}"}
    assert "timeout-minutes is 45" in found[0]


def test_a_start_that_may_take_longer_needs_a_longer_job(checkout: Path) -> None:
    path = checkout / "deploy" / "environments" / "staging.yaml"
    text = path.read_text(encoding="utf-8").replace("start_seconds: 600", "start_seconds: 1800")
    path.write_text(text, encoding="utf-8")
    found = overruns(checkout)
    assert any(
        "lower rollout.start_seconds in deploy/environments/staging.yaml" in f for f in found
    )


def test_no_rollout_takes_longer_than_the_longest() -> None:
    """Azure refuses to delete what it creates, shows changes late, and the release never starts."""
    world = World()
    roll_out(site_of(world), wanted(BEFORE_IMAGE))
    world.creating, world.lag, world.hidden_state = 1700, 100, True
    world.changed = -1e9  # What is there has been shown before.
    site, began = site_of(world), world.seconds
    with pytest.raises(RolloutFailed):
        roll_out(site, wanted(SLOW, cpu=2))
    took = world.seconds - began
    longest = longest_seconds(site.limits, site.target.busy_seconds, interrupted=False)
    assert 1800 < took < longest


def test_an_interrupted_rollout_before_takes_its_time() -> None:
    one, other = (longest_seconds(Limits(), 1860, interrupted=each) for each in (False, True))
    assert other > one + Limits().lease_seconds
