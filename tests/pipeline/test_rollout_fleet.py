"""A client in a loop while releases change behind a shared name: no failure, no wrong answer.

The real `az`, real Docker, the double's Traffic Manager with a cached TTL. Times are shortened in
the driver: the TTL is a second, and the old colour serves for some seconds after a switch.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.azure_double.client import AzureDouble, Person

from .rollout_world import (
    PLANTED,
    SLUG,
    RolloutWorld,
    ended,
    eventually,
    failed,
    rollout_world,
    succeeded,
)

pytestmark = pytest.mark.slow
STAGE = "fleet"
STAGES = {STAGE: {"copies": 2, "start": 120}}
SECONDS = 900
"""For one deploy: it sends twice as many requests as that of a single group."""
HOST = f"{SLUG}-{STAGE}.trafficmanager.net"
ADDRESS = f"http://{HOST}:8000"
ROW = [5.9, 3.0, 5.1, 1.8]
SHORT = ("crash", "other", "good", "killed", "wrong-revision")
"""Releases in their order: "good" after "other" is the rollback, for its groups still run."""
LONG = (*SHORT, "third", "wrong-model", "other", "third", "good", "unready", "other", "good")


class FleetWorld(RolloutWorld):
    """A world whose deploy identities may lead the shared name too."""

    def _deployer(self, stage: str, group: str) -> Person:
        return self.double.principal(
            f"deploy-{stage}",
            ("Azure Container Instances Contributor Role", group),
            ("Traffic Manager Contributor", group),
            (self._role, group),
            ("Managed Identity Operator", self.identity),
            ("Reader", self.registry),
            ("AcrPull", self.registry),
        )

    def made(self) -> int:
        """How many groups were asked for."""
        coloured = (f"PUT {SLUG}-{STAGE}-blue", f"PUT {SLUG}-{STAGE}-green")
        return sum(change.startswith(coloured) for change in self.changes())


class Client(threading.Thread):
    """Asks the shared name again and again, and keeps what went wrong.

    ``keep_alive``: one connection for many requests, made anew when the answer says ``Connection:
    close`` or when the connection was closed before a byte of an answer came, as clients do.
    """

    def __init__(self, proxy: str, *, keep_alive: bool) -> None:
        super().__init__(daemon=True)
        self.wrong: list[str] = []
        self.answers: set[str] = set()
        self.count = 0
        self._proxy = urlsplit(proxy)
        self._keep_alive = keep_alive
        self._done = threading.Event()
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        """Ask until the end."""
        while not self._done.wait(0.05):
            self.count += 1
            try:
                status, answer = self._asked()
            except (OSError, http.client.HTTPException) as error:
                self._connection = None
                self.wrong.append(f"{self.count}: {error!r}")
                continue
            if status != 200:
                self.wrong.append(f"{self.count}: HTTP {status} {answer[:200]}")
            else:
                self.answers.add(answer)

    def end(self) -> None:
        """Stop, and wait for the last answer."""
        self._done.set()
        self.join()

    def _asked(self) -> tuple[int, str]:
        fresh = self._connection is None
        try:
            return self._once()
        except ConnectionError:
            if fresh:
                raise
            self._connection = None
            return self._once()

    def _once(self) -> tuple[int, str]:
        connection = self._connection
        if connection is None:
            assert self._proxy.hostname is not None
            connection = http.client.HTTPConnection(self._proxy.hostname, self._proxy.port, 10)
        if self.count % 2:
            connection.request("GET", f"{ADDRESS}/v2", headers={"Host": f"{HOST}:8000"})
        else:
            headers = {"X-API-Key": PLANTED.partition(",")[0], "Content-Type": "application/json"}
            body = json.dumps({"data": [ROW]})
            connection.request("POST", f"{ADDRESS}/predict", body, {**headers, "Host": HOST})
        response = connection.getresponse()
        text = response.read().decode()
        keep = self._keep_alive and response.getheader("Connection", "").lower() != "close"
        if not keep:
            connection.close()
        self._connection = connection if keep else None
        return response.status, _said(text)


def _said(text: str) -> str:
    """The answer without what differs between equal answers."""
    try:
        found: Any = json.loads(text)
    except ValueError:
        return text
    for volatile in ("request_id", "id", "started", "uptime_seconds"):
        found.pop(volatile, None)
    return json.dumps(found, sort_keys=True)


@pytest.fixture(scope="module")
def world(
    running_double: AzureDouble,
    rendered_service: Path,
    deploy_python: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RolloutWorld]:
    """Registry with images, and one environment of two copies."""
    folder = tmp_path_factory.mktemp("rollout")
    yield from rollout_world(
        running_double, rendered_service, deploy_python, folder, STAGES, FleetWorld
    )


def killed(world: FleetWorld) -> None:
    """A deploy whose process ends when the first group of the candidate was asked for."""
    before = world.made()
    process = world.roll_out(STAGE, "third")
    eventually(lambda: world.made() > before or process.poll() is not None, SECONDS)
    assert process.poll() is None, process.communicate()
    process.kill()
    ended(process)


def releases(world: FleetWorld, names: tuple[str, ...]) -> None:
    """Deploy one after the other; those that are bad must be refused."""
    for name in names:
        if name == "killed":
            killed(world)
            recovered = succeeded(ended(world.recover(STAGE), SECONDS))
            assert "is undone" in recovered.err
        elif name in ("good", "other", "third"):
            done = succeeded(ended(world.roll_out(STAGE, name), SECONDS))
            assert done.address == ADDRESS
        else:
            failed(ended(world.roll_out(STAGE, name), SECONDS))


@pytest.mark.parametrize(
    "names", [SHORT, pytest.param(LONG, marks=pytest.mark.exhaustive)], ids=["short", "ten"]
)
def test_clients_see_no_failure_and_one_release_through_all_of_them(
    world: FleetWorld, names: tuple[str, ...]
) -> None:
    succeeded(ended(world.roll_out(STAGE, "good"), SECONDS))
    proxy = world.double.network()["http_proxy"]
    clients = [Client(proxy, keep_alive=keep) for keep in (False, True)]
    began = time.monotonic()
    for client in clients:
        client.start()
    try:
        releases(world, names)
        time.sleep(2)
    finally:
        for client in clients:
            client.end()
    told = f"{[client.count for client in clients]} in {time.monotonic() - began:.0f} s"
    print(f"requests {told}")
    for client in clients:
        assert client.wrong == [], told
        assert client.count > 50, told
        # One of each question: every release that answered was the one of this commit.
        assert len(client.answers) == 2, client.answers
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=world.service, capture_output=True, text=True, check=True
    )
    assert any(head.stdout.strip() in answer for answer in clients[0].answers)
