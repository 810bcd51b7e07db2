"""Microsoft.Network: virtual networks with subnets, NAT gateways and public IP addresses.

As far as container groups need them. Azure docs: virtual network scenarios for Container Instances;
and what az 2.91 sends.
"""

from __future__ import annotations

import copy
import ipaddress
from collections.abc import Iterable
from typing import Any

from ..arm import ids
from ..arm.azure import Azure
from ..arm.call import Answer, Call, demand, lister, remove
from ..arm.errors import ArmError
from ..arm.routes import ResourceType, Route
from ..arm.store import Resource

NAMESPACE = "Microsoft.Network"
NETWORKS, SUBNETS = f"{NAMESPACE}/virtualNetworks", f"{NAMESPACE}/virtualNetworks/subnets"
VERSIONS: frozenset[str] = frozenset({"2024-07-01", "2025-07-01", "2025-09-01"})
"""Those that az 2.91 sends."""
JOIN = f"{SUBNETS}/join/action"
DELEGATION = "Microsoft.ContainerInstance/containerGroups"
GROUPS = DELEGATION
KEPT = 4
"""Azure keeps the first four addresses of a subnet, and the last one."""
PRIVATE_IP = "private-ip"
"""Where a group's address in its subnet lies in its hidden values."""


class Networks:
    """The calls on networks and what leads out of them."""

    def __init__(self, azure: Azure) -> None:
        self.azure = azure
        self.networks = ResourceType(NAMESPACE, "virtualNetworks", VERSIONS)
        self.subnets = ResourceType(NAMESPACE, "virtualNetworks/subnets", VERSIONS)
        self.gateways = ResourceType(NAMESPACE, "natGateways", VERSIONS)
        self.addresses = ResourceType(NAMESPACE, "publicIPAddresses", VERSIONS)

    def types(self) -> Iterable[ResourceType]:
        """All of them."""
        return (self.networks, self.subnets, self.gateways, self.addresses)

    def routes(self) -> Iterable[Route]:
        """Put, get, list and delete of each."""
        for each, put in (
            (self.networks, self.put_network),
            (self.subnets, self.put_subnet),
            (self.gateways, self.put_gateway),
            (self.addresses, self.put_address),
        ):
            yield each.put(put)
            yield each.get(self.show)
            yield each.list(lister(each.name))
            yield each.delete(remove)

    async def show(self, call: Call) -> Answer:
        """The resource; a network with its subnets, a subnet with who has an address in it."""
        return Answer(200, self._shown(call.resource()))

    async def put_network(self, call: Call) -> Answer:
        """Make a network; subnets have calls of their own."""
        prefixes = demand(call.body, "properties.addressSpace.addressPrefixes")
        for each in prefixes:
            _network(each)
        if call.body["properties"].get("subnets"):
            raise _bad("InvalidRequestFormat", "Subnets of a network are put one by one here.")
        properties = {"addressSpace": {"addressPrefixes": prefixes}}
        return self._made(call, properties)

    async def put_subnet(self, call: Call) -> Answer:
        """Make or change a subnet: within its network, apart from the others."""
        network = self.azure.store.require(call.id.rpartition("/subnets/")[0])
        given = call.body.get("properties") or {}
        prefix = given.get("addressPrefix") or (given.get("addressPrefixes") or [""])[0]
        space = [_network(each) for each in network.properties["addressSpace"]["addressPrefixes"]]
        own = _network(prefix)
        if not any(own.subnet_of(each) for each in space):
            raise _bad(
                "NetcfgSubnetRangeOutsideVnet",
                f"Subnet '{call.values['name']}' is not valid because its IP address range is "
                f"outside the IP address range of virtual network '{network.name}'.",
            )
        for other in self.azure.store.list(SUBNETS, network.id):
            if ids.key(other.id) != ids.key(call.id) and own.overlaps(_range(other)):
                raise _bad(
                    "NetcfgSubnetRangesOverlap",
                    f"Subnet '{call.values['name']}' is not valid because its IP address range "
                    f"overlaps with that of an existing subnet '{other.name}'.",
                )
        if gateway := (given.get("natGateway") or {}).get("id"):
            self.azure.store.require(gateway)
        delegations = [
            {"name": each["name"], "properties": {"serviceName": each["properties"]["serviceName"]}}
            for each in given.get("delegations") or []
        ]
        existing = self.azure.store.get(call.id)
        if existing and groups_in(self.azure, existing) and not delegations:
            raise _bad(
                "SubnetMissingRequiredDelegation",
                f"Subnet {call.id} requires the delegation {DELEGATION}: it is in use.",
            )
        kept = {key: given[key] for key in ("natGateway", "routeTable") if given.get(key)}
        return self._made(call, {"addressPrefix": prefix, "delegations": delegations, **kept})

    async def put_gateway(self, call: Call) -> Answer:
        """Make a NAT gateway with its public addresses."""
        properties = call.body.get("properties") or {}
        listed = properties.get("publicIpAddresses") or []
        for each in listed:
            found = self.azure.store.require(each["id"])
            if found.body["sku"]["name"] != "Standard":
                raise _bad("InvalidResourceReference", "A NAT gateway takes Standard addresses.")
        if demand(call.body, "sku.name") != "Standard":
            raise _bad("InvalidRequestFormat", "The sku of a NAT gateway must be Standard.")
        return self._made(call, {"publicIpAddresses": listed})

    async def put_address(self, call: Call) -> Answer:
        """Make a public IP address."""
        method = (call.body.get("properties") or {}).get("publicIPAllocationMethod")
        if demand(call.body, "sku.name") == "Standard" and method != "Static":
            raise _bad(
                "StandardSkuPublicIPAddressesMustBeStatic",
                "Standard sku publicIp must have AllocationMethod set to Static.",
            )
        return self._made(call, {"publicIPAllocationMethod": method, "ipAddress": "203.0.113.200"})

    def _made(self, call: Call, properties: dict[str, Any]) -> Answer:
        existing = self.azure.store.get(call.id)
        properties = {**properties, "provisioningState": "Succeeded"}
        kept = {key: call.body[key] for key in ("location", "tags", "sku") if call.body.get(key)}
        made = self.azure.store.put(call.id, {**kept, "properties": properties})
        return Answer(200 if existing else 201, self._shown(made))

    def _shown(self, resource: Resource) -> dict[str, Any]:
        shown = copy.deepcopy(resource.shown())
        if resource.id.lower().count("/subnets/"):
            profiles = [{"id": each.id} for each in groups_in(self.azure, resource)]
            shown["properties"]["ipConfigurationProfiles"] = profiles
        elif "/virtualnetworks/" in resource.id.lower():
            inner = self.azure.store.list(SUBNETS, resource.id)
            shown["properties"]["subnets"] = [self._shown(each) for each in inner]
        return shown


def groups_in(azure: Azure, subnet: Resource) -> list[Resource]:
    """The container groups that have an address in a subnet."""
    key = ids.key(subnet.id)
    return [
        each
        for each in azure.store.list(GROUPS)
        if any(ids.key(one["id"]) == key for one in each.properties.get("subnetIds") or [])
    ]


def subnet_of(azure: Azure, document: dict[str, Any]) -> Resource | None:
    """The subnet of a container group's document; None: it asks for none, or it is gone."""
    listed = document["properties"].get("subnetIds") or []
    return azure.store.get(listed[0]["id"]) if listed else None


def check_subnet(call: Call) -> str | None:
    """Refuse a subnet that a group cannot be in; the address that it gets there.

    Raises:
        ArmError: 403 LinkedAuthorizationFailed; 400 with what is wrong with the subnet.
    """
    listed = call.body["properties"].get("subnetIds") or []
    if not listed:
        return None
    call.require_linked(JOIN, listed[0]["id"])
    subnet = subnet_of(call.azure, call.body)
    if subnet is None:
        raise _bad("InvalidResourceReference", f"Resource {listed[0]['id']} was not found.")
    network = call.azure.store.require(subnet.id.rpartition("/subnets/")[0])
    if network.body["location"] != call.body["location"]:
        raise _bad(
            "InvalidResourceReference",
            f"The subnet {subnet.id} is in {network.body['location']}, and the container group in "
            f"{call.body['location']}.",
        )
    delegated = [each["properties"]["serviceName"] for each in subnet.properties["delegations"]]
    if DELEGATION.lower() not in [each.lower() for each in delegated]:
        raise _bad(
            "SubnetMissingRequiredDelegation",
            f"Subnet {subnet.id} requires any of the following delegation(s) [{DELEGATION}] to "
            "reference service association link.",
        )
    mine = call.azure.store.get(call.id)
    if mine is not None and (known := mine.hidden.get(PRIVATE_IP)):
        return str(known)
    taken = {each.hidden.get(PRIVATE_IP) for each in groups_in(call.azure, subnet)}
    possible = list(_range(subnet))[KEPT:-1]
    free = next((str(each) for each in possible if str(each) not in taken), None)
    if free is None:
        raise _bad(
            "SubnetIsFull",
            f"Subnet {subnet.name} with address prefix {subnet.properties['addressPrefix']} does "
            "not have enough capacity for 1 IP addresses.",
        )
    return free


def way_out(azure: Azure, document: dict[str, Any]) -> bool:
    """Whether a group reaches its registry: from a subnet by a NAT gateway only."""
    if not document["properties"].get("subnetIds"):
        return True
    subnet = subnet_of(azure, document)
    return subnet is not None and bool(subnet.properties.get("natGateway"))


def _range(subnet: Resource) -> ipaddress.IPv4Network:
    return _network(subnet.properties["addressPrefix"])


def _network(text: Any) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(text)
    except ValueError as error:
        raise _bad(
            "InvalidAddressPrefixFormat", f"Address prefix {text} is invalid: {error}."
        ) from None


def _bad(code: str, message: str) -> ArmError:
    return ArmError(400, code, message)
