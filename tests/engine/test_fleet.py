"""Several container groups behind one name: what is made, switched and removed, and when.

Azure is in memory (`tests.engine.fleet_memory`) and watches the shared name; faults of Azure's at
any request are in `test_rollout_faults`.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, cast

import pytest
from engine.deploy.bootstrap.costs import running
from engine.deploy.commands.rollback import predecessor
from engine.deploy.config import names
from engine.deploy.rollout.interrupted import finish_interrupted
from engine.deploy.rollout.run import UNCHANGED, UPDATED, Outcome, roll_out
from engine.deploy.rollout.site import RolloutFailed
from engine.deploy.targets.aci.fleet.profile import GRACE, SLOT
from engine.deploy.targets.aci.fleet.target import Fleet

from tests.engine.arm_memory import (
    BEFORE,
    CRASHES,
    GOOD,
    SECRET,
    Arm,
    Call,
    Deploys,
    Fault,
    Refused,
    environment,
    installed,
    is_complete,
    release,
)
from tests.engine.fleet_memory import NAME, SHARED, FleetArm, names_of

STEP = 9
"""Of so many requests one is tried in `make test`."""


class World:
    """One environment on an Azure in memory."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.arm = FleetArm()
        self.deploys = Deploys(self.arm, "fleet")
        installed(patch, self.arm)

    def deploy(self, digit: str, **fields: Any) -> Outcome:
        """One deploy of a release."""
        site = self.deploys.site(**fields)
        try:
            return roll_out(site, site.target.document(release(digit), {}))
        finally:
            assert self.arm.violations == []

    def target(self, **fields: Any) -> Fleet:
        """The target, as a new run makes it."""
        return cast("Fleet", self.deploys.target(**fields))

    def groups(self) -> list[str]:
        """The groups that are there, by the ends of their names."""
        return names_of(list(self.arm.groups))

    def back(self) -> Outcome:
        """A rollback to the release before."""
        site, target = self.deploys.site(), self.target()
        found = predecessor(target, self.deploys.journal().records(), target.read())
        assert found is not None
        return roll_out(site, found.next)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """An empty environment."""
    return World(monkeypatch)


def changes(world: World, resource: str) -> list[str]:
    """The methods of all requests since the last look that changed such a resource."""
    found = [each.method for each in world.arm.log if each.resource == resource and each.writes]
    world.arm.log.clear()
    return found


def test_a_release_is_made_beside_the_old_one_and_switched_to_in_one_request(world: World) -> None:
    first = world.deploy(BEFORE)
    assert (first.kind, first.address) == (UPDATED, SHARED)
    assert world.groups() == ["blue-1", "blue-2"]
    world.arm.log.clear()
    world.deploy(GOOD)
    assert world.arm.serving() == GOOD
    assert world.groups() == ["blue-1", "blue-2", "green-1", "green-2"]
    written = [each for each in world.arm.log if each.resource == "profile" and each.writes]
    # The tags say what is asked for; the PUT leads the name elsewhere, and is the last change.
    assert [each.method for each in written] == ["patch", "put"]
    assert [each["name"] for each in written[1].body["properties"]["endpoints"]] == [
        f"{NAME}-green-1",
        f"{NAME}-green-2",
    ]
    labels = {
        name: group["properties"]["ipAddress"]["dnsNameLabel"]
        for name, group in world.arm.groups.items()
    }
    assert labels == {name: name for name in labels}
    assert world.deploy(GOOD).kind == UNCHANGED


def test_every_copy_is_verified_at_its_own_address(world: World) -> None:
    world.deploy(BEFORE, copies=3)
    assert {name for name, _ in world.arm.verified} == {f"{NAME}-blue-{n}" for n in (1, 2, 3)}


def test_the_old_colour_goes_when_no_resolver_has_its_address_and_not_before(world: World) -> None:
    world.deploy(BEFORE)
    world.arm.clock.sleep(1000)
    world.deploy(GOOD)
    began = world.arm.clock.seconds
    removed = world.target().retire()
    assert world.arm.clock.seconds >= began + GRACE.total_seconds() - 10
    assert names_of(removed) == ["blue-1", "blue-2"]
    assert world.groups() == ["green-1", "green-2"]
    assert world.arm.violations == []
    assert world.target().retire() == ()


def test_until_then_going_back_makes_no_group(world: World) -> None:
    world.deploy(BEFORE)
    world.deploy(GOOD)
    world.arm.log.clear()
    world.back()
    assert changes(world, "group") == []
    assert is_complete(world.arm, BEFORE)
    world.target().retire()
    assert world.groups() == ["blue-1", "blue-2"]
    world.arm.log.clear()
    world.deploy(GOOD)
    assert changes(world, "group") == ["put", "put"]


def test_a_bad_release_is_never_under_the_name_and_leaves_nothing(world: World) -> None:
    world.deploy(BEFORE)
    world.arm.clock.sleep(1000)
    with pytest.raises(RolloutFailed, match="the previous release serves again"):
        world.deploy(CRASHES)
    assert is_complete(world.arm, BEFORE)
    assert world.groups() == ["blue-1", "blue-2"]
    with pytest.raises(RolloutFailed, match="nothing serves here, and nothing bills"):
        World.deploy(fresh := empty(world), CRASHES)
    assert fresh.groups() == []
    assert fresh.arm.profile is None


def empty(world: World) -> World:
    """The same Azure with nothing in it."""
    world.arm.groups.clear()
    world.arm.records.clear()
    world.arm.profile = None
    return world


def found(world: World, **fields: Any) -> list[str]:
    return [each.cause for each in world.target(**fields).findings(release(GOOD))]


def test_the_name_and_the_room_for_a_second_colour_are_asked_for_before(world: World) -> None:
    world.arm.name_is_free = False
    assert found(world) == [f"the address {NAME}.trafficmanager.net is somebody else's"]
    world.deploy(BEFORE)
    world.arm.cores_used = 8
    assert found(world) == []  # The name is its own by now.
    quota = "vCPU are asked for, and the quota of westeurope leaves"
    assert found(world, copies=3) == [f"3 {quota} 2 of 10"]
    world.deploy(GOOD)
    world.arm.cores_used = 10
    # The colour that served before goes first.
    assert found(world, copies=3) == [f"3 {quota} 2 of 10"]


def test_a_fleet_is_stopped_and_started_as_a_whole(world: World) -> None:
    world.deploy(BEFORE)
    world.deploy(GOOD)
    world.target().stop()
    assert world.groups() == ["green-1", "green-2"]
    assert world.arm.halted == set(world.arm.groups)
    live = world.target().read()
    assert live is not None
    assert (live.stopped, live.state) == (True, "stopped")
    world.target().start()
    assert world.arm.halted == set()
    assert is_complete(world.arm, GOOD)
    assert world.arm.violations == []


def test_a_copy_that_is_missing_is_seen(world: World) -> None:
    world.deploy(BEFORE)
    del world.arm.groups[f"{NAME}-blue-2"]
    live = world.target().read()
    assert live is not None
    assert not live.running
    assert "1 of 2 run" in live.state
    assert world.deploy(BEFORE).kind == UPDATED
    assert len(world.arm.led_to()) == 2


@pytest.mark.parametrize("copies", [1, 3])
def test_another_number_of_copies_is_a_rollout_like_any_other(world: World, copies: int) -> None:
    world.deploy(BEFORE)
    world.deploy(BEFORE, copies=copies)
    assert len(world.arm.led_to()) == copies
    world.target().retire()
    assert len(world.groups()) == copies
    live = world.target().read()
    assert live is not None
    assert world.target(copies=copies).differences(live.document, live.document) == ()
    assert sorted(live.copies) == sorted(world.arm.led_to())


def test_from_one_group_to_a_fleet_and_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Deploys(Arm(), "aci")
    installed(monkeypatch, alone.arm)
    site = alone.site()
    roll_out(site, site.target.document(release(BEFORE), {}))
    installed(monkeypatch, world.arm)
    assert alone.arm.group is not None
    world.arm.clock.seconds = alone.arm.clock.seconds + 60
    world.arm.groups[NAME], world.arm.puts[NAME] = alone.arm.group, alone.arm.put_at
    world.arm.records.update(alone.arm.records)
    alone.arm = world.arm
    # A release that is bad leaves the group, which the shared name leads to from now on.
    with pytest.raises(RolloutFailed, match="the previous release serves again"):
        world.deploy(CRASHES)
    assert world.arm.led_to() == [NAME]
    assert world.groups() == [NAME]
    world.deploy(GOOD)
    assert is_complete(world.arm, GOOD)
    # Its clients ask another address: it is theirs until a person deletes it.
    world.target().retire()
    assert world.groups() == ["blue-1", "blue-2", NAME]
    # In place again, and bad: what is put back is no reason to lead anybody to it.
    alone.count = 100
    site = alone.site()
    with pytest.raises(RolloutFailed, match="the previous release serves again"):
        roll_out(site, site.target.document(release(CRASHES), {}))
    assert site.target.retire() == ()
    assert is_complete(world.arm, GOOD)
    world.back()
    assert is_complete(world.arm, BEFORE)
    # In the form that is configured now.
    assert world.arm.led_to() == [f"{NAME}-green-1", f"{NAME}-green-2"]


def test_from_a_fleet_back_to_one_group(world: World) -> None:
    """A rollout like any other: the shared name follows once it is kept, and the fleet goes."""
    world.deploy(BEFORE)
    world.arm.clock.sleep(1000)
    alone = Deploys(world.arm, "aci", count=100)

    def in_place(digit: str) -> None:
        site = alone.site()
        roll_out(site, site.target.document(release(digit), {}))

    with pytest.raises(RolloutFailed) as failed:
        in_place(CRASHES)
    assert failed.value.cause.endswith(
        f"deleted: {NAME}-blue-1, {NAME}-blue-2 behind {NAME}.trafficmanager.net serve as before, "
        "and bill"
    )
    assert alone.target().retire() == ()
    assert (world.arm.serving(), world.groups()) == (BEFORE, ["blue-1", "blue-2"])

    in_place(GOOD)
    assert (NAME, world.arm.puts[NAME]) in world.arm.verified
    assert world.arm.serving() == BEFORE
    assert names_of(alone.target().retire()) == ["blue-1", "blue-2"]
    assert (world.arm.led_to(), world.arm.serving()) == ([NAME], GOOD)
    assert world.groups() == [NAME]
    assert world.arm.violations == []
    assert alone.target().retire() == ()

    # A release in place is changed under the shared name, and the fleet knows it as the last one.
    in_place(BEFORE)
    assert alone.target().retire() == ()
    world.arm.violations.clear()
    with pytest.raises(RolloutFailed, match="the previous release serves again"):
        world.deploy(CRASHES)
    assert is_complete(world.arm, BEFORE)
    world.deploy(GOOD)
    assert is_complete(world.arm, GOOD)


@pytest.mark.parametrize("status", [403, 409])
def test_who_may_not_see_a_profile_has_no_fleet_to_remove(world: World, status: int) -> None:
    class Unseen(Fault):
        def before(self, arm: Arm, call: Call) -> None:
            if call.resource == "profile":
                raise Refused(status, "MissingSubscriptionRegistration", "Microsoft.Network")

    alone = Deploys(world.arm, "aci")
    world.arm.fault = Unseen()
    assert alone.target().retire() == ()
    assert alone.target().left_running() is None


@pytest.mark.parametrize(
    ("fields", "month"),
    # 730 hours of 1 vCPU at $0.0405 and 1.5 GB at $0.00445, and $0.54 for each endpoint.
    [({}, "$34 a month"), ({"switch": "beside"}, "$35 a month"), ({"copies": 2}, "$70 a month")],
)
def test_the_month_is_priced(fields: dict[str, object], month: str) -> None:
    assert month in running(environment("aci", **fields))


class Killed(BaseException):
    """The process is gone."""


class KilledAt(Fault):
    """The process ends with a request: before it is sent, or when it has taken effect."""

    def __init__(self, number: int, *, sent: bool) -> None:
        self._number, self._sent = number, sent

    def before(self, arm: Arm, call: Call) -> None:
        if call.number == self._number and not self._sent:
            raise Killed

    def after(self, arm: Arm, call: Call) -> None:
        if call.number == self._number and self._sent:
            raise Killed


def moments(number: int, shift: int) -> range:
    """The requests at which a process is killed."""
    if "ACI_ML_ALL" in os.environ:
        return range(number)
    return range(shift, number, STEP)


@pytest.mark.sampled
@pytest.mark.parametrize("undo", [False, True])
@pytest.mark.parametrize("digit", [GOOD, CRASHES])
def test_a_killed_deploy_is_recovered_at_any_request(
    monkeypatch: pytest.MonkeyPatch, digit: str, undo: bool
) -> None:
    number = 60
    for moment in moments(number, 2 * undo + (digit == GOOD)):
        for sent in (False, True):
            world = World(monkeypatch)
            world.deploy(BEFORE)
            world.arm.clock.sleep(1000)
            world.arm.log.clear()
            world.arm.fault = KilledAt(moment, sent=sent)
            with contextlib.suppress(Killed, RolloutFailed):
                world.deploy(digit)
            world.arm.fault = Fault()
            world.arm.clock.sleep(60)
            live = finish_interrupted(world.deploys.site(), undo_unverified=undo)
            told = f"killed {'after' if sent else 'before'} request {moment}"
            assert world.arm.violations == [], told
            assert live is not None
            kept = live.tags[names.TAG_IMAGE][-1]
            assert kept in ((BEFORE, GOOD) if digit == GOOD else (BEFORE,)), told
            assert is_complete(world.arm, kept), told
            assert SECRET in world.arm.secrets(), told
            world.target().retire()
            assert len(world.groups()) == 2, (told, world.groups())
            world.deploy(GOOD)
            assert is_complete(world.arm, GOOD), told


def test_what_is_left_over_of_a_deploy_that_began_is_not_taken_away(world: World) -> None:
    """`retire` of one run waits while another one begins, and looks again before it deletes."""
    world.deploy(BEFORE)
    world.deploy(GOOD)

    def begins() -> None:
        assert world.arm.profile is not None
        world.arm.profile["tags"][SLOT] = "blue"

    world.arm.clock.alarms.append((world.arm.clock.seconds + 30, begins))
    with pytest.raises(Exception, match="another deploy began"):
        world.target().retire()
    assert world.groups() == ["blue-1", "blue-2", "green-1", "green-2"]
