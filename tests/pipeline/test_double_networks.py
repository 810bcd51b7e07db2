"""Container groups of the double in a subnet: who reaches them, and what Azure refuses there."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.azure_double.client import AzureDouble

from .commands import Azure, CommandError, run
from .double_world import GROUP, REGION, SECRET, World, changed, eventually

pytestmark = pytest.mark.slow
PREFIX = f"10.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
"""Docker has each range of addresses once: other runs of these tests have other ones."""
DELEGATED = ("--delegations", "Microsoft.ContainerInstance/containerGroups")
IN_GROUP = ("--resource-group", GROUP)
ASK = (
    "import os, sys, urllib.request as u\n"
    "answer = u.urlopen('http://{host}:8000/alive', timeout=5)\n"
    "print(answer.status, len(os.environ['API_KEYS']), flush=True)\n"
    "sys.exit(7)"
)


class NetworkWorld(World):
    """A world with a network, as a person makes it with `az`."""

    def __init__(self, double: AzureDouble) -> None:
        super().__init__(double)
        self.az = az = Azure(double, double.env(double.owner))
        made = (*IN_GROUP, "--location", REGION)
        az(
            *("network", "vnet", "create", *made, "--name", "net"),
            *("--address-prefixes", f"{PREFIX}.0/24"),
        )
        az(
            *("network", "public-ip", "create", *made, "--name", "out", "--sku", "Standard"),
            *("--allocation-method", "Static"),
        )
        az(
            *("network", "nat", "gateway", "create", *made, "--name", "nat"),
            *("--public-ip-addresses", "out"),
        )
        self.subnet = self.make_subnet("groups", 0, "--nat-gateway", "nat", *DELEGATED)

    def make_subnet(self, name: str, first: int, *options: str, bits: int = 29) -> str:
        """Make a subnet of eight addresses, three of them free; its id."""
        where = ("--vnet-name", "net", "--name", name)
        prefix = ("--address-prefixes", f"{PREFIX}.{first}/{bits}")
        command = ("network", "vnet", "subnet", "create")
        return str(self.az(*command, *IN_GROUP, *where, *prefix, *options)["id"])

    def private(self, subnet: str = "", **environment: str) -> dict[str, Any]:
        """A group in the subnet, right as it is."""
        public = self.document(**environment)
        placed = changed(public, "properties.subnetIds", [{"id": subnet or self.subnet}])
        return changed(placed, "properties.ipAddress.type", "Private")

    def once(self, host: str) -> dict[str, Any]:
        """A group in the subnet that asks another address once, and ends with exit code 7."""
        document = changed(self.private(), "properties.ipAddress", None)
        document = changed(document, "properties.restartPolicy", "Never")
        container = document["properties"]["containers"][0]["properties"]
        del container["ports"]
        container["command"] = ["python", "-c", ASK.format(host=host)]
        return document


@pytest.fixture(scope="module")
def world(running_double: AzureDouble) -> NetworkWorld:
    running_double.reset()
    return NetworkWorld(running_double)


def refused(world: NetworkWorld, document: dict[str, Any], name: str = "refused") -> str:
    """The code with which a group is refused."""
    status, answer, _ = world.call("PUT", world.group(name), document)
    assert status >= 400, answer
    return str(answer["error"]["code"])


def test_only_groups_of_its_subnet_reach_a_group_and_one_that_runs_once_says_how(
    world: NetworkWorld,
) -> None:
    assert world.create("one", world.private())["status"] == "Succeeded"
    address = world.show("one")["properties"]["ipAddress"]
    assert address["ip"] == f"{PREFIX}.4"
    assert "fqdn" not in address
    status, _ = world.get(f"http://{address['ip']}:8000/alive")
    assert status == 502

    assert world.create("asks", world.once(address["ip"]))["status"] == "Succeeded"
    eventually(lambda: world.view("asks")["currentState"]["state"] == "Terminated")
    shown = world.show("asks")["properties"]
    assert shown["instanceView"]["state"] == "Failed"
    assert world.view("asks")["currentState"]["exitCode"] == 7
    logged = run(world.az.env, "az", "container", "logs", *IN_GROUP, "--name", "asks")
    assert logged.strip() == f"200 {len(SECRET)}"

    # A group in another network, or in none, gets no answer.
    outside = changed(world.once(address["ip"]), "properties.subnetIds", None)
    world.create("outside", outside)
    eventually(lambda: world.view("outside")["currentState"]["state"] == "Terminated", 30)
    assert world.view("outside")["currentState"]["exitCode"] == 1

    assert world.create("two", world.private())["status"] == "Succeeded"
    assert refused(world, world.private(), "three") == "SubnetIsFull"
    for name in ("one", "two", "asks", "outside"):
        world.call("DELETE", world.group(name))


def test_what_a_subnet_does_not_allow(world: NetworkWorld) -> None:
    plain = world.make_subnet("plain", 8, "--nat-gateway", "nat")
    assert refused(world, world.private(plain)) == "SubnetMissingRequiredDelegation"
    gone = world.subnet.replace("groups", "nowhere")
    assert refused(world, world.private(gone)) == "InvalidResourceReference"
    public = changed(world.private(), "properties.ipAddress.type", "Public")
    assert refused(world, public) == "PublicIPAddressNotSupported"
    alone = changed(world.private(), "properties.subnetIds", None)
    assert refused(world, alone) == "PrivateIPAddressNotSupported"
    named = changed(world.private(), "properties.ipAddress.dnsNameLabel", "iris-private")
    assert refused(world, named) == "DnsNameLabelNotSupported"
    with pytest.raises(CommandError, match="NetcfgSubnetRangesOverlap"):
        world.make_subnet("overlaps", 0)

    group = world.group("x").rpartition("/providers/")[0]
    runs = "Azure Container Instances Contributor Role"
    roles = ((runs, group), ("Managed Identity Operator", world.identity))
    person = world.double.principal("no-join", *roles)
    status, answer, _ = world.call("PUT", world.group("x"), world.private(), person=person)
    assert (status, answer["error"]["code"]) == (403, "LinkedAuthorizationFailed")
    assert "subnets/join/action" in answer["error"]["message"]


@pytest.mark.exhaustive
def test_without_a_nat_gateway_nothing_is_pulled(world: NetworkWorld) -> None:
    closed = world.make_subnet("closed", 16, *DELEGATED)
    world.double.ask("aci.pace", {"provisioning": 3})
    try:
        ended = world.create("closed", world.private(closed))
    finally:
        world.double.ask("aci.pace", {"provisioning": 20})
    assert ended["status"] == "Failed"
    assert "i/o timeout" in ended["error"]["message"]
    world.call("DELETE", world.group("closed"))
