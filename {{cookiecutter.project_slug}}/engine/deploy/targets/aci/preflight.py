"""What only Azure knows about the place of a container group, asked before anything is changed."""

from __future__ import annotations

import socket
from typing import Any

from engine.deploy.az import Az, AzError
from engine.deploy.azure_ids import same
from engine.deploy.finding import Finding
from engine.deploy.targets.aci import edge, network
from engine.deploy.targets.aci.document import API_VERSION
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.base import Places


def findings(
    az: Az, environment: GroupEnvironment, places: Places, group: dict[str, Any] | None
) -> list[Finding]:
    """Is the label free, and does the region's quota leave room? ``group`` is what is there now."""
    mine = group["properties"] if group else {}
    return [
        *([] if environment.network else _label(environment, mine)),
        *network.findings(az, environment, places.subscription),
        *quota(az, environment, places, cores(environment), _cores(mine)),
    ]


def cores(environment: GroupEnvironment) -> float:
    """Cores of one container group: of the service, and of what ends HTTPS or verifies it."""
    more = edge.CPU if environment.https else network.VERIFYING_CPU if environment.network else 0
    return environment.cpu + more


def _label(environment: GroupEnvironment, mine: dict[str, Any]) -> list[Finding]:
    """Another's label can only be seen by its address, and only where no hash is put into it."""
    label = environment.dns_label
    ours = (mine.get("ipAddress") or {}).get("dnsNameLabel")
    if environment.dns.reuse != "Unsecure" or same(ours, label):
        return []
    host = f"{label}.{environment.region}.azurecontainer.io"
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return []
    return [
        Finding(
            "label-taken",
            f"the address {host} is somebody else's",
            "choose another dns.label, or a dns.reuse other than Unsecure, which puts a hash "
            "into the address",
        )
    ]


def quota(
    az: Az, environment: GroupEnvironment, places: Places, wanted: float, freed: float
) -> list[Finding]:
    """Whether the region's quota leaves room for the cores that are wanted.

    Args:
        freed: cores that are given back before.
    """
    url = (
        f"/subscriptions/{places.subscription}/providers/Microsoft.ContainerInstance/locations/"
        f"{environment.region}/usages?api-version={API_VERSION}"
    )
    try:
        usages = az.json("rest", "--method", "get", "--url", url)["value"]
    except AzError as error:
        if error.status in (403, 404):
            # A deploy identity has no role at the subscription: it cannot tell.
            return []
        raise
    cores = next((each for each in usages if same(each["name"]["value"], "StandardCores")), None)
    if cores is None:
        return []
    left = cores["limit"] - cores["currentValue"] + freed
    if wanted <= left:
        return []
    return [
        Finding(
            "quota",
            f"{wanted:g} vCPU are asked for, and the quota of {environment.region} leaves "
            f"{left:g} of {cores['limit']:g}",
            "stop or delete what is not needed, take another region, or ask for more in the "
            "portal: Quotas, Container Instances, Standard cores",
        )
    ]


def _cores(mine: dict[str, Any]) -> float:
    containers = [each["properties"] for each in mine.get("containers") or []]
    return sum(float(each["resources"]["requests"]["cpu"]) for each in containers)
