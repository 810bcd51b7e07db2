"""The project's own image on a cluster: real control plane, pods on Docker, the real verification.

The models are those of the project whose folder the tests run in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from engine.client import wire
from engine.client.parity import read_records
from engine.client.service import Service
from engine.deploy.image import current_release
from engine.deploy.rollout import checks
from engine.deploy.rollout.guard import Guard
from engine.deploy.rollout.run import UPDATED, roll_out
from engine.deploy.rollout.site import RolloutFailed, Site, SystemClock
from engine.deploy.say import Say
from engine.deploy.targets.aks.target import Aks
from engine.deploy.targets.base import Places, Release

from tests.engine.kubernetes.conftest import DEPLOYER, NAMESPACE
from tests.engine.kubernetes.control_plane import ControlPlane
from tests.engine.kubernetes.docker_node import DockerNode
from tests.engine.kubernetes.gateway import Gateway
from tests.engine.kubernetes.registry import Registry
from tests.engine.kubernetes.test_control_plane import client, environment
from tests.engine.project import ROOT
from tests.engine.rollout_world import MemoryJournal, World
from tests.service.containers import build_image, docker_client, remove_image

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]
TAG = f"aci-ml-template-test:cluster-{os.getpid()}"
KEY = "a-planted-key-of-24-signs"
OTHER = "ENV COLOUR=green"
CRASH = 'ENTRYPOINT ["sh", "-c", "echo error: no such model >&2; exit 1"]'
WRONG = f"ENV GIT_REVISION={'0' * 40}"
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
PROBE = {"initial_delay_seconds": 0, "period_seconds": 2}
FIELDS: dict[str, Any] = {
    "secrets": ["API_KEYS"],
    "replicas": {"min": 2, "max": 2},
    "cpu": 1,
    "memory_gb": 1,
    "probes": {"liveness": PROBE, "readiness": PROBE},
    "rollout": {
        "start_seconds": 90,
        "lease_seconds": 30,
        "burst": {"requests": 20, "p95_ms": 5000},
    },
}


class Deploys:
    """One environment on the cluster, and runs that deploy images to it."""

    def __init__(self, plane: ControlPlane, registry: Registry, service: Path) -> None:
        self._plane = plane
        self._registry = registry
        self._service = service
        self._world = World()

    def target(self) -> Aks:
        places = Places("s", self._registry.server, "/identity")
        return Aks(environment(**FIELDS), places, client(self._plane, DEPLOYER))

    def up(self, name: str, lines: str = "") -> str:
        """Deploy the image, with some lines more, and end what served before."""
        say, target, wanted = Say(), self.target(), environment(**FIELDS)
        found = current_release(self._service)
        release = Release(self._pushed(name, lines), found.revision, found.model_digest)
        site = Site(
            service=NAMESPACE,
            target=target,
            journal=MemoryJournal(self._world),
            checks=checks.ServiceChecks(wanted, self._service, say, lambda error: error),
            limits=wanted.rollout,
            say=say,
            guard=Guard(say),
            by="tester",
            secrets={"API_KEYS": KEY},
            clock=SystemClock(),
        )
        outcome = roll_out(site, target.document(release, {}))
        target.retire()
        return outcome.kind

    def _pushed(self, name: str, lines: str) -> str:
        tag = f"{TAG}-{name}"
        command = [docker_client(), "build", "--quiet", "--tag", tag, "-"]
        text = f"FROM {TAG}\n{lines}\n"
        subprocess.run(command, input=text, text=True, check=True, capture_output=True)
        try:
            return self._registry.push(tag, name)
        finally:
            remove_image(tag)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A commit of the project, and its image."""
    folder = tmp_path_factory.mktemp("project") / ROOT.name
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".venv", ".git", "__pycache__"))
    for command in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "-m", "service")):
        subprocess.run([*GIT, *command], cwd=folder, check=True)
    built = build_image(folder, TAG, "cpu")
    assert built.returncode == 0, built.stdout[-3000:]
    yield folder
    remove_image(TAG)


@pytest.fixture
def deploys(
    control_plane: ControlPlane,
    service: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Deploys]:
    """An empty environment on a cluster whose node runs containers."""
    plain = SimpleNamespace(shared_host=lambda _: None, probe_address=lambda _, address: address)
    monkeypatch.setattr(checks, "kind_of", lambda _: plain)
    monkeypatch.setenv("API_KEYS", KEY)
    with Registry(tmp_path) as registry, DockerNode(control_plane, "docker-0", tmp_path):
        found = Deploys(control_plane, registry, service)
        found.target().delete()
        yield found
        found.target().delete()


def test_a_model_is_deployed_and_answers_as_in_training(
    deploys: Deploys, control_plane: ControlPlane, service: Path
) -> None:
    """Verified on the way, and then asked as a client asks."""
    assert deploys.up("good") == UPDATED
    with Gateway(control_plane, NAMESPACE, NAMESPACE) as gateway:
        gateway.wait()
        with Service(gateway.address, KEY, 30) as asked:
            for record in read_records(service / "models"):
                rows = record.some(0, min(4, record.samples))
                answer = asked.post(wire.predict(record.manifest.name, rows))
                assert answer.status_code == 200, answer.text
                got = wire.read_predict(answer.content, record.manifest)
                for name, values in got.items():
                    expected = record.golden.outputs[name][: len(values)]
                    if expected.dtype.kind == "f":
                        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)
                    else:
                        assert values.tolist() == expected.tolist()


def test_clients_see_no_failure_through_three_releases_one_of_them_bad(
    deploys: Deploys, control_plane: ControlPlane, service: Path
) -> None:
    deploys.up("good")
    record = read_records(service / "models")[0]
    ended, answers = threading.Event(), []
    with Gateway(control_plane, NAMESPACE, NAMESPACE) as gateway:
        gateway.wait()

        def loop() -> None:
            with Service(gateway.address, KEY, 30) as asked:
                while not ended.wait(0.01):
                    answer = asked.post(wire.predict(record.manifest.name, record.some(0, 1)))
                    answers.append((answer.status_code, answer.text[:200]))

        clients = [threading.Thread(target=loop) for _ in range(2)]
        for each in clients:
            each.start()
        try:
            deploys.up("other", OTHER)
            for name, lines in (("crash", CRASH), ("wrong", WRONG)):
                with pytest.raises(RolloutFailed):
                    deploys.up(name, lines)
            deploys.up("good")
            give_up = time.monotonic() + 10
            while len(gateway.served) < 3 and time.monotonic() < give_up:
                time.sleep(0.1)
        finally:
            ended.set()
            for each in clients:
                each.join()
    assert len(answers) > 200
    assert [each for each in answers if each[0] != 200] == []
    assert len(gateway.served) == 3, "the three that were kept, and no other"
