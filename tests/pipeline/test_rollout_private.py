"""A private environment: made, verified, loaded, refused and rolled back without a public address.

The real `az`, real Docker: a subnet of the double is a network of Docker's that leads nowhere else.
"""

from __future__ import annotations

import os
import re

import pytest

from tests.azure_double.client import Person

from .rollout_world import (
    PLANTED,
    REGION,
    SLUG,
    RolloutWorld,
    Stages,
    ended,
    failed,
    succeeded,
)

pytestmark = pytest.mark.slow
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


WORLD = PrivateWorld


def test_a_private_environment_is_verified_refused_and_rolled_back_from_inside(
    world: PrivateWorld,
) -> None:
    done = succeeded(ended(world.roll_out(STAGE, "good"), SECONDS))
    assert re.fullmatch(r"http://10(\.\d+){3}:8000", done.address)
    assert "answers: as in training" in done.err
    assert "speed: 20 requests" in done.err
    assert "knows no host" in world.get(f"{done.address}/readyz")
    assert world.groups() == [f"{SLUG}-{STAGE}"]

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

    # The key travelled as a secret, and nobody outside of the network was asked.
    sent = [each for each in world.double.requests("PUT", "*/containergroups/*")]
    asks = [each for each in sent if "-verify-" in each["path"].lower()]
    assert len(asks) >= 4
    bodies = [each["body"]["properties"]["containers"][0]["properties"] for each in asks]
    assert not any(key in str(each["command"]) for each in bodies for key in PLANTED.split(","))
    assert all("ipAddress" not in each["body"]["properties"] for each in asks)
    assert not world.double.requests("*", "/readyz")
    assert world.groups() == [f"{SLUG}-{STAGE}"]
    assert not any("public" in str(each["body"]).lower() for each in sent)
