"""What the commands decide from what Azure and the journal say."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from engine.deploy.az import Az
from engine.deploy.commands import bootstrap, down, rollback
from engine.deploy.commands.prune import needed
from engine.deploy.commands.rollback import PREVIOUS, choose
from engine.deploy.commands.status import age
from engine.deploy.finding import Certainty, Finding
from engine.deploy.journal import STARTED, Record
from engine.deploy.preflight import NotReadyToDeploy, require, secret_findings
from engine.deploy.rollout.run import roll_out
from engine.deploy.rollout.signs import certainly_dead, this_process
from engine.deploy.rollout.site import Busy
from engine.deploy.say import Say, redact
from engine.deploy.targets.aci.live import live_of
from engine.deploy.targets.base import Live
from engine.errors import EngineError, for_stage

from tests.engine.project import ROOT
from tests.engine.rollout_world import MemoryTarget, World, site_of, wanted


def history(*images: str) -> tuple[World, list[Record]]:
    """A world in which these releases were deployed one after the other; its records."""
    world = World()
    for image in images:
        roll_out(site_of(world), wanted(image))
    return world, sorted(world.records.values(), key=lambda record: record.id, reverse=True)


def live(world: World) -> Live:
    found = MemoryTarget(world).read()
    assert found is not None
    return found


def test_a_rollback_goes_to_the_release_before() -> None:
    world, records = history("one", "two", "three")
    found = choose(MemoryTarget(world), records, live(world), PREVIOUS)
    assert found.next["image"] == "two"


def test_a_rollback_of_a_rollback_goes_on_from_there() -> None:
    world, records = history("one", "two", "one")
    found = choose(MemoryTarget(world), records, live(world), PREVIOUS)
    assert found.next["image"] == "two"


def test_a_rollback_by_revision_takes_its_beginning() -> None:
    world, records = history("alpha", "beta", "gamma")
    assert choose(MemoryTarget(world), records, live(world), "al").next["image"] == "alpha"


class Removed:
    """Azure after a removal: these groups and resources are still shown for so many looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def find(self, *arguments: str) -> Any:
        self.looks -= 1
        return {"name": arguments[-1]} if self.looks >= 0 else None

    def json(self, *arguments: str) -> Any:
        other = {"type": "Some/thing", "name": "theirs", "resourceGroup": "another"}
        mine = {"type": "Some/thing", "name": "mine", "resourceGroup": "GONE"}
        return [other, mine] if self.looks > 0 else [other]


@pytest.mark.parametrize(("looks", "proved"), [(0, True), (2, True), (99, False)])
def test_what_is_removed_is_asked_for_until_it_is_gone(
    monkeypatch: pytest.MonkeyPatch, looks: int, *, proved: bool
) -> None:
    monkeypatch.setattr(down, "time", SimpleNamespace(sleep=lambda _: None))
    azure = cast("Az", Removed(looks))
    if proved:
        down._prove_gone(azure, ["gone"])
        return
    with pytest.raises(EngineError, match="still shows: gone, Some/thing mine"):
        down._prove_gone(azure, ["gone"])


@pytest.mark.parametrize("code", [0, 1])
def test_an_environment_is_made_without_github_and_without_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    asked: list[Namespace] = []

    def run(options: Namespace, *_: object) -> int:
        asked.append(options)
        return code

    monkeypatch.setattr(bootstrap, "run", run)
    if code:
        with pytest.raises(EngineError, match="what dev needs on Azure is not complete"):
            bootstrap.for_one("dev", tmp_path, Say())
    else:
        bootstrap.for_one("dev", tmp_path, Say())
    assert [(each.only, each.without_github) for each in asked] == [("dev", True)]


def test_a_rollback_waits_for_the_deploy_that_is_at_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """GitHub's queue would drop one of two that wait; each time it looks up where to go back to."""
    now, tries = [0.0], list[str]()

    def roll_back(options: Namespace, *_: object) -> int:
        tries.append(options.to)
        if len(tries) < 4:
            raise Busy("another deploy is at work", "wait")
        return 0

    def sleep(seconds: float) -> None:
        now[0] += seconds

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep)
    monkeypatch.setattr(rollback, "time", clock)
    monkeypatch.setattr(rollback, "_roll_back", roll_back)
    asked = Namespace(environment="production", to="previous", wait=60.0)
    assert rollback.run(asked, tmp_path, Say()) == 0
    assert len(tries) == 4
    tries.clear()
    asked.wait = 0.0
    with pytest.raises(Busy):
        rollback.run(asked, tmp_path, Say())
    assert len(tries) == 1


def test_a_rollback_to_nothing_lists_what_there_is() -> None:
    world, records = history("alpha")
    with pytest.raises(EngineError, match="on record are: alpha"):
        choose(MemoryTarget(world), records, live(world), PREVIOUS)


def test_images_that_serve_or_served_before_are_needed() -> None:
    world, records = history("one", "two", "three")
    assert needed(MemoryTarget(world), live(world), records) == {"sha256:two", "sha256:three"}


def test_the_image_that_a_rollback_goes_to_is_needed_however_often_the_last_was_deployed() -> None:
    world, records = history("one", "two")
    for secret in ("new", "newer"):
        roll_out(site_of(world, secrets={"KEY": secret}), wanted("two"))
    records = sorted(world.records.values(), key=lambda record: record.id, reverse=True)
    assert choose(MemoryTarget(world), records, live(world), PREVIOUS).next["image"] == "one"
    assert needed(MemoryTarget(world), live(world), records) == {"sha256:one", "sha256:two"}


def test_a_command_is_named_with_the_environment_that_was_meant() -> None:
    text = (
        "run `.venv/bin/python -m engine.deploy up ENV` or `rollback ENV`; ENVIRONMENT and ENV stay"
    )
    assert for_stage(text, "staging") == (
        "run `.venv/bin/python -m engine.deploy up staging` or `rollback staging`; "
        "ENVIRONMENT and ENV stay"
    )
    assert for_stage(text, None) == text


def test_images_of_a_rollout_under_way_are_needed() -> None:
    world, records = history("one", "two")
    next_one = replace(
        records[0], id="3", phase=STARTED, previous=wanted("zero"), next=wanted("three")
    )
    found = needed(MemoryTarget(world), live(world), [next_one, *records])
    assert found == {"sha256:zero", "sha256:one", "sha256:two", "sha256:three"}


def test_findings_are_all_told_at_once() -> None:
    told: list[str] = []
    require([Finding("code", "may go well", "look", Certainty.POSSIBLE)], told.append)
    assert told == ["may go well; look"]
    both = [Finding("a", "one", "mend one"), Finding("b", "two", "mend two")]
    with pytest.raises(NotReadyToDeploy, match="2 things") as refused:
        require(both, told.append)
    assert "mend one" in str(refused.value)
    assert "mend two" in str(refused.value)


def test_a_secret_of_the_previous_release_is_asked_for_too() -> None:
    found = secret_findings(wanted={"A", "B"}, previous={"A", "C"}, known={"A"})
    assert [finding.cause for finding in found] == [
        "the secret B has no value",
        "the release that serves has a secret C, and it has no value here",
    ]


def test_ages_are_told_in_the_largest_unit_that_fits() -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert age("2026-11-20T11:59:30Z", now) == "30 s"
    assert age("2026-11-20T09:00:00Z", now) == "3 h"
    assert age("2026-11-18T12:00:00.123Z", now) == "2 d"
    assert age(None, now) == "-"


def test_no_tail_of_a_secret_is_left() -> None:
    assert redact("key abcdef and abc", ["abc", "abcdef"]) == "key *** and ***"


def group(**view: Any) -> dict[str, Any]:
    """Azure's answer about a container group."""
    container = {"image": "x", "resources": {}, "instanceView": view}
    return {
        "name": "g",
        "location": "West Europe",
        "tags": {},
        "properties": {
            "provisioningState": view.pop("provisioning", "Succeeded"),
            "instanceView": {"state": "Running"},
            "ipAddress": {"fqdn": "g.example", "ports": [{"port": 8000}]},
            "containers": [{"name": "service", "properties": container}],
        },
    }


def state(name: str, **more: Any) -> dict[str, Any]:
    return {"state": name, **more}


def test_a_running_group_is_up() -> None:
    found = live_of(group(currentState=state("Running"), restartCount=5))
    assert (found.settled, found.running, found.failure) == (True, True, None)
    assert found.address == "http://g.example:8000"


def test_a_group_that_keeps_crashing_is_beyond_hope() -> None:
    ended = state("Terminated", exitCode=137, detailStatus="OOMKilled")
    waiting = state("Waiting", detailStatus="CrashLoopBackOff: back off")
    once = group(currentState=waiting, previousState=ended, restartCount=1)
    often = group(currentState=waiting, previousState=ended, restartCount=2)
    assert live_of(once).failure is None
    assert "exit code 137 (OOMKilled)" in str(live_of(often).failure)


def test_an_image_that_does_not_come_is_given_some_tries() -> None:
    def pulls(count: int) -> Live:
        event = {"type": "Warning", "message": 'Failed to pull image "x"', "count": count}
        return live_of(group(currentState=state("Waiting"), events=[event]))

    assert pulls(1).failure is None
    assert pulls(3).failure == 'Failed to pull image "x"'


STATES: dict[str | None, bool] = {
    **dict.fromkeys(("Succeeded", "Failed", "Canceled", "Stopped", "succeeded"), True),
    **dict.fromkeys(
        ("Pending", "Creating", "Updating", "Deleting", "Repairing", "Unhealthy"), False
    ),
    **dict.fromkeys(("Accepted", "NotSpecified", "NotAccessible", "PreProvisioned"), False),
    **dict.fromkeys(("Tomorrow", "", None), False),
}


@pytest.mark.parametrize(("shown", "settled"), STATES.items())
def test_only_a_state_that_is_known_to_be_an_end_is_settled(
    shown: str | None, *, settled: bool
) -> None:
    """The states are those of azure-rest-api-specs, Microsoft.ContainerInstance 2025-09-01."""
    assert live_of(group(provisioning=shown)).settled is settled


@pytest.mark.skipif(this_process() is None, reason="this system has no /proc")
def test_only_what_certainly_died_here_counts_as_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    mine = str(this_process())
    theirs = mine.replace(f"/{os.getpid()}/", f"/{child.pid}/").rpartition("/")[0] + "/1"
    assert not certainly_dead(mine)
    assert certainly_dead(theirs), "the number was given to another process"
    child.communicate()
    assert certainly_dead(theirs)
    assert not certainly_dead("another-machine/1/2")
    assert not certainly_dead(None)


ONLY_WHAT_DEPLOYS = """
import re, sys
from importlib.metadata import packages_distributions
from pathlib import Path

locked = set(re.findall(r"^([a-z0-9-]+)==", Path("requirements/deploy.txt").read_text(), re.M))
for module, packages in packages_distributions().items():
    if not any(re.sub("[_.]", "-", each).lower() in locked for each in packages):
        sys.modules[module] = None
import engine.deploy.__main__
"""


@pytest.mark.slow
def test_the_commands_need_no_package_that_is_not_locked_for_the_deploy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ONLY_WHAT_DEPLOYS],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
