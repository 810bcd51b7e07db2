"""A private environment: made, verified, loaded, refused and rolled back without a public address.

The real `az`, real Docker: a subnet of the double is a network of Docker's that leads nowhere else.
"""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from tests.azure_double.client import Person

from .rollout_world import (
    PLANTED,
    REGION,
    SLUG,
    RolloutWorld,
    Stages,
    ended,
    eventually,
    failed,
    succeeded,
)

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]
STAGE = "private"
ADDRESSES = f"10.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}.64/27"
"""Docker has each range of addresses once: other runs of these tests have other ones."""
NETWORK = f'network: {{addresses: "{ADDRESSES}"}}\n'
STAGES: Stages = {STAGE: {"start": 120, "more": NETWORK}}
JOIN = ("read", "join/action")
SECONDS = 400


class PrivateWorld(RolloutWorld):
    """A world with the network that `bootstrap` makes, and a deploy that may use its subnet."""

    def _deployer(self, stage: str, group: str) -> Person:
        subnets = "Microsoft.Network/virtualNetworks/subnets"
        actions = tuple(f"{subnets}/{each}" for each in JOIN)
        role = self._role_for("subnet", actions)
        name = f"{SLUG}-{stage}"
        place = ("--resource-group", name, "--name", name, "--location", REGION)
        self._az("network", "vnet", "create", *place, "--address-prefixes", ADDRESSES)
        self._az("network", "nat", "gateway", "create", *place)
        made = self._az(
            *("network", "vnet", "subnet", "create", "--resource-group", name),
            *("--vnet-name", name, "--name", "containers", "--address-prefixes", ADDRESSES),
            *("--nat-gateway", name),
            *("--delegations", "Microsoft.ContainerInstance/containerGroups"),
        )
        return self.double.principal(
            f"deploy-{stage}",
            ("Azure Container Instances Contributor Role", group),
            (self._role, group),
            (role, made["id"]),
            ("Managed Identity Operator", self.identity),
            ("Reader", self.registry),
            ("AcrPull", self.registry),
        )

    def groups(self) -> list[str]:
        """The container groups that are there."""
        kind = "/containergroups/"
        found = (each.lower() for each in self.double.resources(self._scope(STAGE)))
        return sorted(each.rpartition(kind)[2] for each in found if kind in each)

    def asked_inside(self) -> list[dict[str, Any]]:
        """The groups that were made to ask the service."""
        made = self.double.requests("PUT", "*/containergroups/*-verify-*")
        return [each["body"] for each in made]


WORLD = PrivateWorld


def test_a_private_environment_is_made_and_verified_from_inside_of_its_network(
    world: PrivateWorld,
) -> None:
    done = succeeded(ended(world.roll_out(STAGE, "good"), SECONDS))
    assert re.fullmatch(r"http://10(\.\d+){3}:8000", done.address)
    assert "answers: as in training" in done.err
    assert "speed: 20 requests" in done.err
    # Nobody outside of the network has asked it, and nobody can.
    assert not world.double.requests("*", "/readyz")
    assert "knows no host" in world.get(f"{done.address}/readyz")
    assert world.groups() == [f"{SLUG}-{STAGE}"]
    (asks,) = world.asked_inside()
    container = asks["properties"]["containers"][0]["properties"]
    assert "ipAddress" not in asks["properties"]
    assert not any(key in str(container["command"]) for key in PLANTED.split(","))
    assert [each["name"] for each in container["environmentVariables"]] == ["LOAD_API_KEY"]


def test_it_refuses_bad_releases_bears_its_load_rolls_back_and_recovers(
    world: PrivateWorld,
) -> None:
    if not world.serves(STAGE, "good"):
        succeeded(ended(world.roll_out(STAGE, "good"), SECONDS))
    refused = failed(ended(world.roll_out(STAGE, "wrong-revision"), SECONDS))
    assert f"runs revision {'0' * 12}" in refused.err
    assert world.serves(STAGE, "good")
    refused = failed(ended(world.roll_out(STAGE, "crash"), SECONDS))
    assert "no such model" in refused.err
    assert world.serves(STAGE, "good")
    succeeded(ended(world.roll_out(STAGE, "other"), SECONDS))
    assert world.serves(STAGE, "other")
    back = succeeded(world.deploy(STAGE, "rollback", STAGE))
    assert world.serves(STAGE, "good")
    assert back.address.startswith("http://10.")

    loaded = world.deploy(STAGE, "load", STAGE, "--seconds", "4")
    assert re.search(r"error_ratio +at most 0.001 +0\.0000 .* kept", loaded.out), loaded.err
    assert re.search(r"predict, 1 row +\d{2,} +0 ", loaded.out), loaded.out

    # A deploy is killed while it is verified: what verifies is left, and goes.
    killed = world.roll_out(STAGE, "third")
    eventually(lambda: len(world.groups()) == 2)
    killed.kill()
    killed.wait()
    assert len(world.groups()) == 2
    undone = succeeded(world.deploy(STAGE, "recover", STAGE, "--undo"))
    assert "removed what verified" in undone.err
    assert world.serves(STAGE, "good")
    assert world.groups() == [f"{SLUG}-{STAGE}"]

    healthy = world.deploy(STAGE, "doctor", STAGE)
    assert f"{STAGE} is healthy" in healthy.out, healthy.out
    status = succeeded(world.deploy(STAGE, "status", STAGE))
    assert back.address in status.out
    succeeded(world.deploy(STAGE, "stop", STAGE))
    started = succeeded(world.deploy(STAGE, "start", STAGE))
    assert "answers: as in training" in started.err
    assert world.deploy(STAGE, "verify", STAGE, "--any-revision").code == 0
