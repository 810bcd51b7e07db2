"""The target's calls, against a real control plane with a node whose pods do as they are told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from engine.deploy.config import names
from engine.deploy.rollout import marks
from engine.deploy.targets.aks.target import Aks
from engine.deploy.targets.base import Document, Live, Release

from tests.engine.kubernetes.conftest import DEPLOYER
from tests.engine.kubernetes.control_plane import ControlPlane
from tests.engine.kubernetes.node import CRASHES, STARTS, ScriptedNode
from tests.engine.kubernetes.test_control_plane import PLACES, SERVER, client, environment

pytestmark = pytest.mark.slow
SECONDS = 30
GOOD, BETTER, BAD, SLOW = (f"{SERVER}/iris@sha256:{digit * 64}" for digit in "1234")


def release(image: str) -> Release:
    return Release(image, "a" * 40, "sha256:" + "1" * 64)


def tags(rollout: str, state: str = "starting") -> dict[str, str]:
    return {names.TAG_ROLLOUT: rollout, names.TAG_STATE: state}


@pytest.fixture
def node(control_plane: ControlPlane) -> Iterator[ScriptedNode]:
    behaviour = {BAD: CRASHES, SLOW: STARTS}
    with ScriptedNode(control_plane, "node-0", behaviour) as found:
        yield found


@pytest.fixture
def target(control_plane: ControlPlane, node: ScriptedNode) -> Iterator[Aks]:
    """An empty environment."""
    found = Aks(environment(replicas={"min": 2, "max": 2}), PLACES, client(control_plane, DEPLOYER))
    found.delete()
    yield found
    found.delete()


def until(target: Aks, holds: Callable[[Live], bool]) -> Live:
    give_up = time.monotonic() + SECONDS
    while True:
        live = target.read()
        assert live is not None
        if holds(live):
            return live
        assert time.monotonic() < give_up, live.state
        time.sleep(0.1)


def up(target: Aks, image: str, rollout: str) -> Document:
    document = target.document(release(image), tags(rollout))
    target.apply(document, {}, lambda: None)
    until(target, lambda live: live.running)
    target.keep({**target.tags(document), names.TAG_STATE: "kept"})
    return document


def serving(control_plane: ControlPlane) -> str:
    path = "/api/v1/namespaces/iris-staging/services/iris-staging"
    selector = control_plane.ask("GET", path)["spec"]["selector"]
    return str(selector["deploy.service/release"])


def test_nothing_is_there_at_first(target: Aks) -> None:
    assert target.read() is None


def test_a_release_serves_when_it_is_kept_and_not_before(
    target: Aks, control_plane: ControlPlane
) -> None:
    document = target.document(release(GOOD), tags("one"))
    target.apply(document, {}, lambda: None)
    live = until(target, lambda live: live.running)
    assert serving(control_plane) == "none"
    assert target.differences(live.document, document) == ()
    target.keep({**target.tags(document), names.TAG_STATE: "kept"})
    assert serving(control_plane).endswith("-rone")
    assert marks.state(until(target, lambda live: live.running).tags) == "kept"


def test_the_release_before_serves_until_the_next_is_kept_and_then_goes(
    target: Aks, control_plane: ControlPlane
) -> None:
    up(target, GOOD, "one")
    document = target.document(release(BETTER), tags("two"))
    target.apply(document, {}, lambda: None)
    until(target, lambda live: live.running)
    assert serving(control_plane).endswith("-rone")
    target.keep({**target.tags(document), names.TAG_STATE: "kept"})
    assert serving(control_plane).endswith("-rtwo")
    assert target.retire() == ("iris-staging-rone",)
    assert target.retire() == ()


@pytest.mark.parametrize(("image", "why"), [(BAD, "keeps crashing"), (SLOW, "")])
def test_a_release_that_does_not_come_up_is_undone(
    target: Aks, control_plane: ControlPlane, image: str, why: str
) -> None:
    before = up(target, GOOD, "one")
    document = target.document(release(image), tags("two"))
    target.apply(document, {}, lambda: None)
    live = until(target, lambda live: bool(live.failure) == bool(why) and "two" in live.state)
    assert not live.running and why in (live.failure or "")
    target.restore(before, {}, lambda: None)
    live = until(target, lambda live: live.running)
    assert serving(control_plane).endswith("-rone")
    assert live.tags[names.TAG_IMAGE] == "sha256:" + "1" * 64
    assert target.differences(live.document, before) == ()


def test_what_an_autoscaler_or_a_policy_changes_is_no_difference(
    target: Aks, control_plane: ControlPlane
) -> None:
    document = up(target, GOOD, "one")
    path = "/apis/apps/v1/namespaces/iris-staging/deployments/iris-staging-rone"
    merge = "application/merge-patch+json"
    control_plane.ask("PATCH", path, {"metadata": {"annotations": {"policy": "looked"}}}, merge)
    live = target.read()
    assert live is not None
    assert target.differences(live.document, document) == ()


def test_what_somebody_changes_of_ours_is_a_difference(
    target: Aks, control_plane: ControlPlane
) -> None:
    document = up(target, GOOD, "one")
    path = "/apis/apps/v1/namespaces/iris-staging/deployments/iris-staging-rone"
    body = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 20}}}}
    control_plane.ask("PATCH", path, body, "application/merge-patch+json")
    live = target.read()
    assert live is not None
    assert "terminationGracePeriodSeconds" in " ".join(target.differences(live.document, document))


def test_stopped_nothing_runs_and_started_it_serves(target: Aks) -> None:
    up(target, GOOD, "one")
    target.stop()
    live = until(target, lambda live: live.stopped)
    assert not live.running and live.failure is None
    target.start()
    until(target, lambda live: live.running)


def test_a_second_pod_with_the_only_gpu_waits_and_says_why(control_plane: ControlPlane) -> None:
    """The deadlock of a rolling update: the old release holds what the new one needs."""
    fields = {"gpu": "t4", "cpu": 3.5, "memory_gb": 20}
    target = Aks(environment(**fields), PLACES, client(control_plane, DEPLOYER))
    target.delete()
    with ScriptedNode(control_plane, "gpu-0", gpus=1):
        up(target, GOOD, "one")
        target.apply(target.document(release(BETTER), tags("two")), {}, lambda: None)
        live = until(target, lambda live: "nvidia.com/gpu" in live.state)
        assert "Insufficient nvidia.com/gpu" in live.state and not live.running
        target.delete()
