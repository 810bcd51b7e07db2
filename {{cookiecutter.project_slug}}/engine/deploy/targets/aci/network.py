"""A private address for a container group: the subnet, what `bootstrap` makes of it, and its rules.

Azure docs, virtual network scenarios for Container Instances: the subnet is delegated to container
groups and holds nothing else; a NAT gateway is the only way out of it, and without one no image can
be pulled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.deploy.az import Az, AzError
from engine.deploy.azure_ids import same
from engine.deploy.bootstrap.inputs import Inputs
from engine.deploy.bootstrap.price import HOURS_A_MONTH, Cost, Price
from engine.deploy.bootstrap.resources import tags
from engine.deploy.bootstrap.role import CustomRole
from engine.deploy.bootstrap.roles import RoleScope, assignment
from engine.deploy.bootstrap.step import Found, Rule, Step, always, az, value_at
from engine.deploy.config import names
from engine.deploy.config.project import Project
from engine.deploy.config.rules.rule import Broken
from engine.deploy.finding import Finding
from engine.deploy.targets.aci.environment import GroupEnvironment

PROVIDER = "Microsoft.Network"
DELEGATION = "Microsoft.ContainerInstance/containerGroups"
SUBNET = "containers"
ROLE = CustomRole(
    "role subnet",
    names.subnet_role,
    (f"{PROVIDER}/virtualNetworks/subnets/read", f"{PROVIDER}/virtualNetworks/subnets/join/action"),
    "lets a workflow put container groups into a subnet",
)
"""Network Contributor may also change the network and everything else in it."""
_LISTED = "published cost estimation of azurerm_nat_gateway, c3x.dev, region eastus"
GATEWAY = Price(0.045, "hour of a NAT gateway", _LISTED, "2026-11")
ADDRESS = Price(0.005, "hour of a public IP address, Standard", _LISTED, "2026-11")
TRAFFIC = Price(0.045, "GB through a NAT gateway", _LISTED, "2026-11")
MONTH = (GATEWAY.dollars + ADDRESS.dollars) * HOURS_A_MONTH
VERIFYING_CPU, VERIFYING_MEMORY_GB = 1, 1.5
"""What verifies a release from inside of the subnet asks for, for a minute or two."""
_RESERVED = 5
"""Addresses of a subnet that Azure keeps."""


def subnet_id(environment: GroupEnvironment, subscription: str) -> str:
    """Azure's id of the subnet, which may not be there yet."""
    given = environment.network.subnet if environment.network else None
    return given or (
        f"/subscriptions/{subscription}/resourceGroups/{environment.resource_group}/providers/"
        f"{PROVIDER}/virtualNetworks/{environment.name}/subnets/{SUBNET}"
    )


def subnet_ids(environment: GroupEnvironment, subscription: str) -> dict[str, Any]:
    """The subnet as a property of a group; nothing without a network."""
    if environment.network is None:
        return {}
    return {"subnetIds": [{"id": subnet_id(environment, subscription)}]}


def bill(environment: GroupEnvironment) -> str:
    """What the network costs besides the group, for people."""
    if environment.network is None:
        return ""
    if environment.network.subnet is not None:
        return "; the NAT gateway of the subnet is billed to who made it"
    return (
        f", and the network ${MONTH:.2f} a month, stopped or not, with ${TRAFFIC.dollars:g} for "
        "each GB through its NAT gateway"
    )


def bills_on(environment: GroupEnvironment) -> str:
    """What bills on although the group is stopped, as the end of a sentence."""
    if environment.network is None or environment.network.subnet is not None:
        return ""
    return f", except its network with ${MONTH:.2f} a month, until `down` removes it"


def rules(project: Project, environment: GroupEnvironment) -> Iterator[Broken]:
    """What a group with a private address cannot have."""
    if environment.network is None:
        return
    without = "or remove network"
    if environment.https is not None:
        yield Broken(
            ("https",),
            "a group in a subnet has no public address, and an authority asks a public one before "
            "it signs",
            f"remove https and let your gateway end HTTPS, {without}",
        )
    if environment.beside:
        yield Broken(
            ("copies",) if environment.copies > 1 else ("switch",),
            "Traffic Manager leads to public addresses only, and a group in a subnet has none",
            f"write copies: 1 and switch: in_place, {without}",
        )
    if environment.dns.model_fields_set:
        yield Broken(
            ("dns",),
            "a group in a subnet has no name of Azure's",
            f"remove dns and make a record in your own DNS, {without}",
        )
    if environment.alerts.outside_check_minutes:
        yield Broken(
            ("alerts", "outside_check_minutes"),
            "Azure asks from outside, and nobody outside reaches a private address",
            f"write 0, {without}",
        )
    if environment.network.subnet and "addresses" in environment.network.model_fields_set:
        yield Broken(
            ("network", "addresses"),
            "is for the network that bootstrap makes, and network.subnet names another one",
            "remove one of them",
        )


def findings(az_cli: Az, environment: GroupEnvironment, subscription: str) -> list[Finding]:
    """What of the subnet makes a deploy fail."""
    if environment.network is None:
        return []
    whole = subnet_id(environment, subscription)
    name = "/".join(whole.split("/")[-3::2])
    try:
        found = az_cli.find("network", "vnet", "subnet", "show", "--ids", whole)
    except AzError as error:
        if not error.forbidden:
            raise
        return [_missing(f"this login may not read the subnet {name}, or it is not there")]
    if found is None:
        return [_missing(f"there is no subnet {name}")]
    return [*_delegation(found, name), *_way_out(found, name), *_room(found, name)]


def _missing(cause: str) -> Finding:
    fix = "`.venv/bin/python -m engine.deploy bootstrap` makes what is missing, or correct "
    return Finding("subnet", cause, f"{fix}network.subnet")


def _delegation(found: Found, name: str) -> list[Finding]:
    if _is_delegated(found):
        return []
    return [
        Finding(
            "subnet-delegation",
            f"the subnet {name} is not delegated to {DELEGATION}",
            f"az network vnet subnet update --ids {found['id']} --delegations {DELEGATION}, if "
            "nothing else is in it; else take another subnet",
        )
    ]


def _way_out(found: Found, name: str) -> list[Finding]:
    if value_at(found, "natGateway.id"):
        return []
    certainty_of_route = value_at(found, "routeTable.id")
    if certainty_of_route:
        return []  # a firewall of the company may be the way out
    return [
        Finding(
            "subnet-nat",
            f"the subnet {name} has neither a NAT gateway nor a route table: no image can be "
            "pulled and no log sent from it",
            f"az network vnet subnet update --ids {found['id']} --nat-gateway NAME",
        )
    ]


def _room(found: Found, name: str) -> list[Finding]:
    """A deploy needs one address for the group and one for what verifies it."""
    prefix = value_at(found, "addressPrefix") or value_at(found, "addressPrefixes.0")
    if not isinstance(prefix, str) or not prefix.partition("/")[2].isdigit():
        return []
    most = 2 ** (32 - int(prefix.partition("/")[2])) - _RESERVED
    used = len(value_at(found, "ipConfigurations") or [])
    if used + 2 <= most or most >= 2 + _RESERVED:
        return []
    return [
        Finding(
            "subnet-full",
            f"the subnet {name} ({prefix}) has {most} addresses, of which {used} are taken; a "
            "deploy needs two",
            "take a larger subnet: /27 has 27",
        )
    ]


def steps(inputs: Inputs, stage: str, environment: GroupEnvironment) -> tuple[Step, ...]:
    """The network of an environment, if it asks for one, and who may use its subnet."""
    if environment.network is None:
        return ()
    whole = subnet_id(environment, inputs.account.subscription)
    scope = RoleScope(f"subnet {'/'.join(whole.split('/')[-3::2])}", whole)
    joins = assignment(inputs, f"identity deploy {stage}", ROLE, scope, ROLE.purpose)
    if environment.network.subnet is not None:
        return (joins,)
    return (*_made(inputs, stage, environment, environment.network.addresses), joins)


def _made(
    inputs: Inputs, stage: str, environment: GroupEnvironment, addresses: str
) -> tuple[Step, ...]:
    name, group = environment.name, ("--resource-group", environment.resource_group)
    place = (*group, "--name", name)
    made = (*place, "--location", environment.region, *tags(inputs))
    address = (*group, "--name", f"{name}-out")
    subnet = (*group, "--vnet-name", name, "--name", SUBNET)
    out = ("--nat-gateway", name)
    delegated = ("--delegations", DELEGATION)
    return (
        Step(
            key=f"network {stage}",
            what=f"virtual network {name} with {addresses}",
            purpose=f"is where {stage} has its private address",
            look=az("network", "vnet", "show", *place),
            make=(az("network", "vnet", "create", *made, "--address-prefixes", addresses),),
            state="provisioningState",
        ),
        Step(
            key=f"public address {stage}",
            what=f"public IP address {name}-out",
            purpose="is what others see of requests that leave the network; nothing listens on it",
            look=az("network", "public-ip", "show", *address),
            make=(
                az(
                    *("network", "public-ip", "create", *address, *made[4:]),
                    *("--sku", "Standard", "--allocation-method", "Static"),
                ),
            ),
            state="provisioningState",
            cost=_month(ADDRESS),
        ),
        Step(
            key=f"nat gateway {stage}",
            what=f"NAT gateway {name}",
            purpose="lets the containers pull their image and send their log",
            look=az("network", "nat", "gateway", "show", *place),
            make=(
                az(
                    *("network", "nat", "gateway", "create", *made),
                    *("--public-ip-addresses", f"{name}-out"),
                ),
            ),
            state="provisioningState",
            cost=_month(GATEWAY),
        ),
        Step(
            key=f"subnet {stage}",
            what=f"subnet {name}/{SUBNET}",
            purpose="is for container groups only, which Azure wants",
            look=az("network", "vnet", "subnet", "show", *subnet),
            make=(
                az(
                    *("network", "vnet", "subnet", "create", *subnet),
                    *("--address-prefixes", addresses, *out, *delegated),
                ),
            ),
            state="provisioningState",
            rules=(
                Rule(
                    path=_is_delegated,
                    wanted=True,
                    wrong=f"is not delegated to {DELEGATION}",
                    repair=always(az("network", "vnet", "subnet", "update", *subnet, *delegated)),
                ),
                Rule(
                    path=lambda found: value_at(found, "natGateway.id") is not None,
                    wanted=True,
                    wrong="has no NAT gateway",
                    repair=always(az("network", "vnet", "subnet", "update", *subnet, *out)),
                ),
            ),
        ),
    )


def _month(price: Price) -> Cost:
    month = price.dollars * HOURS_A_MONTH
    return Cost(month, f"about ${month:.2f} a month")


def _is_delegated(found: Found) -> bool:
    return any(
        same(value_at(each, "serviceName"), DELEGATION)
        for each in value_at(found, "delegations") or []
    )
