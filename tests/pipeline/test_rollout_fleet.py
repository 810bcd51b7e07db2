"""A client in a loop while releases change behind a shared name: no failure, no wrong answer.

The real `az`, real Docker, the double's Traffic Manager with a cached TTL. Times are shortened in
the driver: the TTL is a second, and the old colour serves for some seconds after a switch.
"""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.azure_double.client import Person

from .rollout_world import (
    DRIVER,
    PLANTED,
    SLUG,
    Deployed,
    RolloutWorld,
    ended,
    eventually,
    failed,
    succeeded,
)

pytestmark = pytest.mark.slow
STAGE, DAILY = "fleet", "daily"
STAGES = {STAGE: {"copies": 2, "start": 120}, DAILY: {"copies": 2, "start": 120}}
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

    def command(
        self,
        *arguments: str,
        folder: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> Deployed:
        """Run a command of `python -m engine.deploy` on DAILY to its end."""
        path = {"PYTHONPATH": str(folder or self.service), "PYTHONSAFEPATH": "1"}
        command = (str(DRIVER), "--command", *arguments)
        return ended(self._start(DAILY, command, {**path, **(settings or {})}, folder), SECONDS)

    def endpoints(self, stage: str) -> dict[str, str]:
        """What the shared name leads to: host names by the names of their groups."""
        name = f"{SLUG}-{stage}"
        profile = f"providers/Microsoft.Network/trafficManagerProfiles/{name}"
        found = self.double.resource(f"{self._scope(stage)}/{profile}")
        listed = found["body"]["properties"]["endpoints"] if found else []
        return {each["name"]: each["properties"]["target"] for each in listed}

    def groups(self, stage: str) -> list[str]:
        """The container groups that are there."""
        found = self.double.resources(self._scope(stage))
        kind = "/containergroups/"
        return sorted(each.lower().rpartition(kind)[2] for each in found if kind in each.lower())

    def made(self, stage: str) -> int:
        """How many groups were asked for."""
        coloured = (f"PUT {SLUG}-{stage}-blue", f"PUT {SLUG}-{stage}-green")
        return sum(change.startswith(coloured) for change in self.changes())


class Client(threading.Thread):
    """Asks the shared name again and again, and keeps what went wrong.

    ``keep_alive``: one connection for many requests, made anew when the answer says ``Connection:
    close`` or when the connection was closed before a byte of an answer came, as clients do.
    """

    def __init__(self, proxy: str, *, keep_alive: bool = False, stage: str = STAGE) -> None:
        super().__init__(daemon=True)
        self.host = f"{SLUG}-{stage}.trafficmanager.net"
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

    def resolved(self) -> str:
        """The host that is asked: the double's proxy resolves the shared name itself."""
        return self.host

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
        url = f"http://{self.resolved()}:8000"
        if self.count % 2:
            connection.request("GET", f"{url}/v2", headers={"Host": f"{self.host}:8000"})
        else:
            headers = {"X-API-Key": PLANTED.partition(",")[0], "Content-Type": "application/json"}
            body = json.dumps({"data": [ROW]})
            connection.request("POST", f"{url}/predict", body, {**headers, "Host": self.host})
        response = connection.getresponse()
        text = response.read().decode()
        keep = self._keep_alive and response.getheader("Connection", "").lower() != "close"
        if not keep:
            connection.close()
        self._connection = connection if keep else None
        return response.status, _said(text)


class Keeper(Client):
    """A client that keeps an answer of DNS for ``seconds``, whatever its TTL says. A request that
    fails makes it ask DNS again; ``lost`` counts those.
    """

    def __init__(self, world: FleetWorld, proxy: str, seconds: float) -> None:
        super().__init__(proxy)
        self._world = world
        self._seconds = seconds
        self._kept: tuple[float, str] = (float("-inf"), "")
        self.lost = 0

    def resolved(self) -> str:
        """One of the addresses that DNS has, or had."""
        if len(self.wrong) > self.lost:
            self.lost = len(self.wrong)
            self._kept = (float("-inf"), "")
        until, target = self._kept
        if time.monotonic() >= until:
            target = random.choice(list(self._world.endpoints(STAGE).values()))
            self._kept = (time.monotonic() + self._seconds, target)
        return target


def _said(text: str) -> str:
    """The answer without what differs between equal answers."""
    try:
        # A row alone and one among others are answered alike but for the last digits.
        found: Any = json.loads(text, parse_float=lambda number: round(float(number), 5))
    except ValueError:
        return text
    for volatile in ("request_id", "id", "started", "uptime_seconds"):
        found.pop(volatile, None)
    return json.dumps(found, sort_keys=True)


WORLD = FleetWorld


def killed(world: FleetWorld) -> None:
    """A deploy whose process ends when the first group of the candidate was asked for."""
    before = world.made(STAGE)
    process = world.roll_out(STAGE, "third")
    eventually(lambda: world.made(STAGE) > before or process.poll() is not None, SECONDS)
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
    """What a client loses that keeps addresses for longer than the guide says is counted too."""
    succeeded(ended(world.roll_out(STAGE, "good"), SECONDS))
    proxy = world.double.network()["http_proxy"]
    clients = [Client(proxy, keep_alive=keep) for keep in (False, True)]
    # For less time than the old colour lives, and for ever.
    keepers = [Keeper(world, proxy, seconds) for seconds in (4, float("inf"))]
    began = time.monotonic()
    for client in (*clients, *keepers):
        client.start()
    try:
        releases(world, names)
        time.sleep(2)
    finally:
        for client in (*clients, *keepers):
            client.end()
    told = f"{[client.count for client in clients]} in {time.monotonic() - began:.0f} s"
    lost = [len(each.wrong) for each in keepers]
    print(f"requests {told}; {[each.count for each in keepers]} with addresses kept, lost {lost}")
    # One request for each time that the colour it knew was deleted; in the short run none is.
    assert lost[0] == 0, keepers[0].wrong
    assert (names == LONG) <= lost[1] <= len(names), keepers[1].wrong
    for client in clients:
        assert client.wrong == [], told
        assert client.count > 50, told
        # One of each question: every release that answered was the one of this commit.
        assert len(client.answers) == 2, client.answers
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=world.service, capture_output=True, text=True, check=True
    )
    assert any(head.stdout.strip() in answer for answer in clients[0].answers)


@pytest.mark.exhaustive
def test_the_daily_commands_on_a_fleet_and_the_way_back_to_one_group(
    world: FleetWorld, tmp_path: Path
) -> None:
    """Each command as it is typed; a client asks the shared name from the first to the last."""

    def coloured(colour: str) -> list[str]:
        return [f"{SLUG}-{DAILY}-{colour}-{number}" for number in (1, 2)]

    def up(image: str, folder: Path | None = None) -> Deployed:
        return world.command("up", DAILY, "--image", world.images[image], folder=folder)

    address = f"http://{SLUG}-{DAILY}.trafficmanager.net:8000"
    assert succeeded(up("good")).address == address
    assert "is what" not in up("good").err
    client = Client(world.double.network()["http_proxy"], stage=DAILY)
    client.start()
    done = succeeded(up("other"))
    assert f"removed {coloured('blue')[0]}" in done.err
    assert world.groups(DAILY) == coloured("green")
    assert succeeded(world.command("rollback", DAILY)).address == address
    assert world.groups(DAILY) == coloured("blue")
    failed(up("crash"), "previous release serves again")
    assert world.groups(DAILY) == coloured("blue")

    # The roles of a deploy do not let it read metrics; those of a person do.
    world.double.ask("insights.metrics", {"CpuUsage": 420})
    shown = succeeded(world.command("status", DAILY, settings=world.owner)).out
    assert "0.42" in shown
    assert "blue serves, 2 of 2 run" in shown
    assert succeeded(world.command("logs", DAILY)).out.count('"ready"') == 2
    assert "daily is healthy" in succeeded(world.command("doctor", DAILY)).out

    before = world.made(DAILY)
    process = world.start(DAILY, "up", DAILY, "--image", world.images["third"])
    eventually(lambda: world.made(DAILY) > before or process.poll() is not None, SECONDS)
    assert process.poll() is None, process.communicate()
    process.kill()
    ended(process)
    recovered = succeeded(world.command("recover", DAILY, "--undo"))
    assert "the interrupted rollout is closed; serving" in recovered.out
    assert world.groups(DAILY) == coloured("blue")

    pruned = succeeded(world.command("prune", "--keep", "0", settings=world.owner))
    assert world.images["crash"].partition("@")[2] in pruned.out
    assert world.images["good"].partition("@")[2] not in pruned.out
    world.images.pop("unready", None)

    single = world.later(tmp_path, "single", "copies: 2", "copies: 1")
    broken = failed(up("unready", single), "serve as before, and bill")
    assert "nothing bills" not in broken.err
    assert world.groups(DAILY) == coloured("blue")
    alone = succeeded(up("single", single))
    assert alone.address != address
    assert world.groups(DAILY) == [f"{SLUG}-{DAILY}"]
    assert list(world.endpoints(DAILY)) == [f"{SLUG}-{DAILY}"]
    told = f"az network traffic-manager profile delete --resource-group {SLUG}-{DAILY}"
    assert told in alone.err
    time.sleep(2)
    client.end()
    assert client.wrong == [], client.count
    assert client.count > 50

    # A second fleet of the same commands: stopped and started as a whole, then removed.
    succeeded(up("good"))
    succeeded(world.command("stop", DAILY))
    assert "stopped" in succeeded(world.command("status", DAILY)).out
    assert succeeded(world.command("start", DAILY)).address == address
    assert len(world.groups(DAILY)) == 3
    succeeded(world.command("down", DAILY, "--yes", settings=world.owner))
    assert (world.groups(DAILY), world.endpoints(DAILY)) == ([], {})
