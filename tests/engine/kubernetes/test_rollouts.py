"""Rollouts on a real control plane: a good release serves, a bad one leaves what was before.

Pods do as their image says, and so do the answers; the journal is in memory. Time between looks is
skipped. At every moment the live Service leads to a release that was verified, or to none.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from engine.client.failures import WrongRelease
from engine.deploy.commands import wanted
from engine.deploy.commands.wanted import Wanted
from engine.deploy.config import names
from engine.deploy.config.environment import Rollout as Limits
from engine.deploy.journal import FAILED, KEPT, RESTORED
from engine.deploy.rollout import marks
from engine.deploy.rollout.guard import Guard
from engine.deploy.rollout.interrupted import finish_interrupted
from engine.deploy.rollout.run import STARTED_AGAIN, UNCHANGED, UPDATED, roll_out
from engine.deploy.rollout.site import NotUp, RolloutFailed, Site
from engine.deploy.rollout.waiting import wait_until_stopped
from engine.deploy.say import Say
from engine.deploy.targets.aks.client import Access, KubeClient, KubeError
from engine.deploy.targets.aks.document import NONE, RELEASE_LABEL, VERIFIED_LABEL
from engine.deploy.targets.aks.target import Aks
from engine.deploy.targets.base import Release
from engine.errors import EngineError

from tests.engine.kubernetes.conftest import DEPLOYER, NAMESPACE
from tests.engine.kubernetes.control_plane import ControlPlane
from tests.engine.kubernetes.node import CRASHES, STARTS, ScriptedNode
from tests.engine.kubernetes.test_control_plane import PLACES, SERVER, environment
from tests.engine.rollout_world import Killed, MemoryJournal, World

pytestmark = pytest.mark.slow
BEFORE, GOOD, CRASHING, SLOW, WRONG_MODEL, NEVER_READY = "123456"
LONG = pytest.mark.exhaustive
BAD = (
    pytest.param(CRASHING, "keeps crashing", id="crash"),
    pytest.param(WRONG_MODEL, "other models", id="wrong model"),
    pytest.param(SLOW, "is not ready after 60 s", id="slow", marks=LONG),
    pytest.param(NEVER_READY, "answers differently", id="never ready", marks=LONG),
)
FIELDS: dict[str, Any] = {"replicas": {"min": 2, "max": 2}, "secrets": ["API_KEYS"]}
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
SERVICES = f"/api/v1/namespaces/{NAMESPACE}/services"


def release(digit: str) -> Release:
    return Release(f"{SERVER}/iris@sha256:{digit * 64}", digit * 40, f"sha256:{digit * 64}")


class Clock:
    """Real time, but a wait is short."""

    def __init__(self) -> None:
        self._skipped = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._skipped)

    def monotonic(self) -> float:
        return time.monotonic() + self._skipped

    def sleep(self, seconds: float) -> None:
        short = min(seconds, 0.1)
        time.sleep(short)
        self._skipped += seconds - short


class Cluster:
    """One environment: what is asked of its API server, and what its service answers.

    Attributes:
        writes: the requests that changed something, as "PATCH services/iris".
        kill: ends the process after this one of them (before it: negative), counted from 1.
        loses: the answer to every second one does not arrive.
    """

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.world = World()
        self.clock = Clock()
        self.writes: list[str] = []
        self.kill = 0
        self.loses = False
        self.verified: set[str] = set()

    def target(self, **fields: Any) -> Aks:
        cluster = self

        class Client(KubeClient):
            def _once(
                self,
                method: str,
                path: str,
                query: Mapping[str, str] | None,
                body: Any,
                kind: str,
            ) -> Any:
                if method == "GET":
                    return super()._once(method, path, query, body, kind)
                cluster.writes.append(f"{method} {path.partition(f'/{NAMESPACE}/')[2]}")
                if cluster.kill == -len(cluster.writes):
                    raise Killed
                found = super()._once(method, path, query, body, kind)
                cluster.watch()
                if cluster.kill == len(cluster.writes):
                    raise Killed
                if cluster.loses and len(cluster.writes) % 2:
                    raise KubeError(path, 0, "ReadError", "the connection is lost")
                return found

        access = Access(self.plane.server, self.plane.authority, f"token-of-{DEPLOYER}")
        client = Client(lambda: access, NAMESPACE, sleep=self.clock.sleep)
        return Aks(environment(**{**FIELDS, **fields}), PLACES, client)

    def site(self, key: str = "a-key", **fields: Any) -> Site:
        say = Say()
        return Site(
            service=NAMESPACE,
            target=self.target(**fields),
            journal=MemoryJournal(self.world),
            checks=Answers(self),
            limits=Limits(start_seconds=60, lease_seconds=30),
            say=say,
            guard=Guard(say),
            by="tester",
            secrets={"API_KEYS": key},
            clock=self.clock,
        )

    def up(self, digit: str, **fields: Any) -> str:
        """Deploy a release, and end what served before; how it ended."""
        site = self.site(**fields)
        outcome = roll_out(site, site.target.document(release(digit), {}))
        site.target.retire()
        return outcome.kind

    def plan(self, digit: str, patch: pytest.MonkeyPatch, **fields: Any) -> str:
        """What `plan` prints of a release; costs and images of another kind aside."""
        patch.setattr(Wanted, "lacks_edge", False)
        patch.setattr(wanted, "running", lambda _: "nothing")
        target = self.target(**fields)
        context: Any = SimpleNamespace(
            target=target,
            environment=environment(**{**FIELDS, **fields}),
            project=SimpleNamespace(name="iris"),
            places=PLACES,
            own_names=None,
        )
        return Wanted(context, release(digit), target.read()).plan()

    def selected(self) -> str:
        """The release to which the live Service leads; NONE: there is none."""
        found = self.plane.ask("GET", SERVICES)["items"]
        there = [each for each in found if each["metadata"]["name"] == NAMESPACE]
        return str(there[0]["spec"]["selector"][RELEASE_LABEL]) if there else NONE

    def verifiable(self, service: str) -> str:
        """The release to which a release's own Service leads."""
        found = self.plane.ask("GET", SERVICES)["items"]
        there = [each for each in found if each["metadata"]["name"] == service]
        return str(there[0]["spec"]["selector"][VERIFIED_LABEL]) if there else NONE

    def digit(self, name: str) -> str:
        """Of the image of a release's ready pods; "" if there are none."""
        labels = f"labelSelector={RELEASE_LABEL}%3D{name}"
        for pod in self.plane.ask("GET", f"{PODS}?{labels}")["items"]:
            conditions = (pod.get("status") or {}).get("conditions") or []
            if any(each["type"] == "Ready" and each["status"] == "True" for each in conditions):
                return str(pod["spec"]["containers"][0]["image"][-1])
        return ""

    def watch(self) -> None:
        serving = self.selected()
        assert serving == NONE or serving in self.verified, f"{serving} is not verified"

    def serves(self) -> str:
        """The digit of the release that serves; nothing else is left, and no rollout is open."""
        assert not any(each.open for each in self.world.records.values())
        name = self.selected()
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
        there = {each["metadata"]["name"] for each in self.plane.ask("GET", path)["items"]}
        assert there == {name}, there
        live = self.target().read()
        assert live is not None and marks.state(live.tags) == marks.KEPT
        found = self.digit(name)
        assert found and live.tags[names.TAG_REVISION] == found * 40
        return found

    def ends(self) -> list[str]:
        return [record.phase for _, record in sorted(self.world.records.items())]


class Answers:
    """What the release answers to which the candidate's Service leads."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def ready(
        self, address: str, headers: Mapping[str, str], authority: str | None = None
    ) -> str | None:
        _, digit = self._asked(address, headers, authority)
        if digit == NEVER_READY:
            raise NotUp("the model answers differently than in training", "train it again")
        return None if digit else "nothing answers"

    def verify(
        self,
        address: str,
        headers: Mapping[str, str],
        wanted: Release | None,
        authority: str | None = None,
    ) -> str:
        name, digit = self._asked(address, headers, authority)
        if digit == WRONG_MODEL:
            raise EngineError("it serves other models", "build it again")
        if wanted is not None and wanted.revision != digit * 40:
            error = WrongRelease(f"it runs {digit}", "none")
            error.found = (digit * 40, f"sha256:{digit * 64}")
            raise error
        self._cluster.verified.add(name)
        return "verified"

    def explain(self, error: EngineError) -> EngineError:
        return error

    def _asked(
        self, address: str, headers: Mapping[str, str], authority: str | None
    ) -> tuple[str, str]:
        assert authority == self._cluster.plane.authority
        assert headers["Authorization"].startswith("Bearer ")
        service = address.partition("/services/http:")[2].partition(":")[0]
        name = self._cluster.verifiable(service)
        return name, self._cluster.digit(name)


@pytest.fixture(scope="module")
def node(control_plane: ControlPlane) -> Iterator[None]:
    """Pods come up, or do not."""
    behaviour = {release(CRASHING).image: CRASHES, release(SLOW).image: STARTS}
    with ScriptedNode(control_plane, "node-0", behaviour):
        yield


@pytest.fixture
def cluster(control_plane: ControlPlane, node: None) -> Iterator[Cluster]:
    """An empty environment."""
    found = Cluster(control_plane)
    found.target().delete()
    found.writes.clear()
    yield found
    found.kill = 0
    found.target().delete()


@pytest.fixture
def deployed(cluster: Cluster) -> Cluster:
    """A release serves."""
    assert cluster.up(BEFORE) == UPDATED
    assert cluster.serves() == BEFORE
    cluster.writes.clear()
    return cluster


def test_the_next_release_serves_and_the_same_again_changes_nothing(deployed: Cluster) -> None:
    assert deployed.up(GOOD) == UPDATED
    assert deployed.serves() == GOOD
    assert deployed.ends()[-1] == KEPT
    deployed.writes.clear()
    assert deployed.up(GOOD) == UNCHANGED
    assert deployed.writes == []


def test_what_a_plan_prints_is_what_kubectl_finds(
    deployed: Cluster,
    control_plane: ControlPlane,
    kubectl: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The official kubectl sees no difference after a deploy, and it sees another release.

    Values of secrets are not printed, so the Secret is left out.
    """
    deployed.up(GOOD)
    config = control_plane.kubeconfig(control_plane.admin)
    command: list[str | Path] = [
        kubectl,
        "--kubeconfig",
        config,
        "diff",
        "--server-side",
        "--force-conflicts",
    ]
    seen = {}
    for digit in (GOOD, BEFORE):
        printed = deployed.plan(digit, monkeypatch)
        document = json.loads(printed.partition("document:\n")[2])
        document["items"] = [each for each in document["items"] if each["kind"] != "Secret"]
        file = tmp_path / f"{digit}.json"
        file.write_text(json.dumps(document), encoding="utf-8")
        seen[digit] = subprocess.run(
            [*command, "--field-manager", "deploy", "-f", file], capture_output=True, text=True
        )
    assert (seen[GOOD].returncode, seen[GOOD].stdout) == (0, ""), seen[GOOD]
    assert seen[BEFORE].returncode == 1 and release(BEFORE).image in seen[BEFORE].stdout


def test_another_key_is_another_release(deployed: Cluster) -> None:
    before = deployed.selected()
    assert deployed.up(BEFORE, key="another") == UPDATED
    assert deployed.selected() != before and deployed.serves() == BEFORE


@pytest.mark.parametrize(("digit", "why"), BAD)
def test_a_bad_release_leaves_what_was_before(deployed: Cluster, digit: str, why: str) -> None:
    name = deployed.selected()
    with pytest.raises(RolloutFailed, match=why) as failed:
        deployed.up(digit)
    assert failed.value.restored
    assert deployed.selected() == name and deployed.serves() == BEFORE
    assert deployed.ends()[-1] == RESTORED


def test_a_bad_first_release_leaves_nothing(cluster: Cluster) -> None:
    with pytest.raises(RolloutFailed):
        cluster.up(CRASHING)
    assert cluster.ends() == [FAILED]
    assert cluster.target().read() is None
    assert cluster.plane.ask("GET", SERVICES)["items"] == []


@pytest.mark.parametrize("digit", [GOOD, pytest.param(CRASHING, marks=LONG)])
def test_lost_answers_change_nothing(deployed: Cluster, digit: str) -> None:
    """Every request that changes something may be sent twice."""
    deployed.loses = True
    with contextlib.suppress(RolloutFailed):
        deployed.up(digit)
    assert deployed.serves() == (GOOD if digit == GOOD else BEFORE)


@pytest.mark.exhaustive
def test_a_first_release_whose_removal_was_interrupted_is_removed(cluster: Cluster) -> None:
    with pytest.raises(RolloutFailed):
        cluster.up(CRASHING)
    number = next(n for n, each in enumerate(cluster.writes, 1) if each.startswith("DELETE"))
    cluster.writes.clear()
    cluster.kill = -number
    with pytest.raises(Killed):
        cluster.up(CRASHING)
    cluster.kill = 0
    site = cluster.site()
    finish_interrupted(site)
    site.target.retire()
    assert cluster.target().read() is None
    assert cluster.plane.ask("GET", SERVICES)["items"] == []


def test_back_to_the_release_before_by_what_the_journal_has(deployed: Cluster) -> None:
    deployed.up(GOOD)
    record = max(deployed.world.records.values(), key=lambda each: each.id)
    assert record.previous is not None
    site = deployed.site()
    assert roll_out(site, record.previous).kind == UPDATED
    site.target.retire()
    assert deployed.serves() == BEFORE


@pytest.mark.parametrize("most", [2, 4], ids=["fixed", "with an autoscaler"])
def test_stopped_it_is_started_by_the_same_release(cluster: Cluster, most: int) -> None:
    fields: dict[str, Any] = {"replicas": {"min": 2, "max": most}}
    assert cluster.up(BEFORE, **fields) == UPDATED
    site = cluster.site(**fields)
    site.target.stop()
    wait_until_stopped(site)
    assert cluster.digit(cluster.selected()) == ""
    assert cluster.up(BEFORE, **fields) == STARTED_AGAIN
    assert cluster.up(BEFORE, **fields) == UNCHANGED
    assert cluster.serves() == BEFORE


@pytest.mark.exhaustive
def test_what_is_stopped_is_stopped_again_after_a_bad_release(deployed: Cluster) -> None:
    site = deployed.site()
    site.target.stop()
    wait_until_stopped(site)
    with pytest.raises(RolloutFailed):
        deployed.up(CRASHING)
    live = deployed.target().read()
    assert live is not None and (live.stopped or not live.running)


KINDS = (
    f"PATCH services/{NAMESPACE}",
    "PATCH secrets/",
    "PATCH deployments/",
    "PATCH poddisruptionbudgets/",
    f"PATCH services/{NAMESPACE}-r",
    "keep",
    "DELETE deployments/",
)
ALWAYS = (("PATCH deployments/", "after", GOOD), ("keep", "after", GOOD))
DEATHS = [
    pytest.param(kind, when, digit, marks=() if (kind, when, digit) in ALWAYS else LONG)
    for kind in KINDS
    for when in ("before", "after")
    for digit in (GOOD, CRASHING)
]


@pytest.mark.parametrize(("kind", "when", "digit"), DEATHS)
def test_the_next_run_ends_what_a_killed_one_left(
    deployed: Cluster, kind: str, when: str, digit: str
) -> None:
    """At each kind of request: the new release serves or the one before, and nothing is open."""
    with contextlib.suppress(RolloutFailed):
        deployed.up(digit)
    number = _number(deployed.writes, kind)
    if deployed.ends()[-1] == KEPT:
        deployed.up(BEFORE)
    deployed.writes.clear()
    deployed.kill = number if when == "after" else -number
    with contextlib.suppress(RolloutFailed), pytest.raises(Killed):
        deployed.up(digit)
    deployed.kill = 0
    site = deployed.site()
    finish_interrupted(site)
    site.target.retire()
    allowed = {BEFORE, GOOD} if digit == GOOD else {BEFORE}
    assert deployed.serves() in allowed


def _number(writes: list[str], kind: str) -> int:
    """Which request is the first of its kind; ``keep`` is the second one of the live Service."""
    own = [n for n, each in enumerate(writes, 1) if each == KINDS[0]]
    if kind in ("keep", KINDS[0]):
        return own[1 if kind == "keep" else 0]
    return next(n for n, each in enumerate(writes, 1) if each.startswith(kind))


def test_a_killed_run_whose_candidate_was_not_reachable_is_not_verified_by_what_serves(
    deployed: Cluster,
) -> None:
    """The same image with another key: what serves would answer just as well."""
    deployed.up(BEFORE, key="another")
    number = _number(deployed.writes, "PATCH deployments/")
    deployed.writes.clear()
    deployed.kill = -number
    with pytest.raises(Killed):
        deployed.up(BEFORE, key="a third")
    deployed.kill = 0
    site = deployed.site(key="a third")
    finish_interrupted(site)
    site.target.retire()
    assert deployed.serves() == BEFORE


def test_recover_undoes_what_nobody_has_verified(deployed: Cluster) -> None:
    name = deployed.selected()
    deployed.kill = 4
    with pytest.raises(Killed):
        deployed.up(GOOD)
    deployed.kill = 0
    finish_interrupted(deployed.site(), undo_unverified=True)
    assert deployed.selected() == name and deployed.serves() == BEFORE


GPU = {"gpu": "t4", "cpu": 3.5, "memory_gb": 20, "replicas": {"min": 1, "max": 1}}


@pytest.fixture
def gpu(control_plane: ControlPlane, cluster: Cluster) -> Iterator[Cluster]:
    """A release holds the only GPU."""
    with ScriptedNode(control_plane, "gpu-0", gpus=1):
        assert cluster.up(BEFORE, **GPU) == UPDATED
        yield cluster
        cluster.target().delete()


def test_a_release_that_finds_no_free_gpu_is_undone_and_says_why(gpu: Cluster) -> None:
    """The deadlock of a pool with one GPU: what serves goes on."""
    with pytest.raises(RolloutFailed, match=r"Insufficient nvidia\.com/gpu"):
        gpu.up(GOOD, **GPU)
    assert gpu.serves() == BEFORE


def test_with_replace_the_only_gpu_is_freed_first_and_the_gap_is_told(
    gpu: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = gpu.plan(GOOD, monkeypatch, replace=True, **GPU)
    assert "delete and create it, for the GPU that it holds" in planned
    assert gpu.up(GOOD, replace=True, **GPU) == UPDATED
    assert "nothing answers meanwhile" in capsys.readouterr().err
    assert gpu.serves() == GOOD
    assert gpu.up(GOOD, replace=True, **GPU) == UNCHANGED


def test_with_replace_a_bad_release_gives_the_gpu_back(gpu: Cluster) -> None:
    with pytest.raises(RolloutFailed) as failed:
        gpu.up(WRONG_MODEL, replace=True, **GPU)
    assert failed.value.restored
    assert gpu.serves() == BEFORE


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["DELETE deployments/", f"DELETE services/{NAMESPACE}", "PATCH d"])
def test_a_run_killed_in_the_gap_is_ended_by_the_next_one(gpu: Cluster, kind: str) -> None:
    """Between the end of the release that held the GPU and the start of the next."""
    fields: dict[str, Any] = {"replace": True, **GPU}
    gpu.writes.clear()
    gpu.up(GOOD, **fields)
    gpu.kill = max(n for n, each in enumerate(gpu.writes, 1) if each.startswith(kind))
    gpu.writes.clear()
    with pytest.raises(Killed):
        gpu.up(BEFORE, **fields)
    gpu.kill = 0
    site = gpu.site(**fields)
    finish_interrupted(site)
    site.target.retire()
    assert gpu.serves() in (GOOD, BEFORE)
