"""What a region has room for: cores within the quota, and host names."""

from __future__ import annotations

import math
from typing import Any

from ..arm import ids
from ..arm.azure import Azure
from ..arm.call import Call
from ..arm.errors import ArmError
from ..arm.store import Resource
from . import aci_names, aci_rules

GROUPS = "Microsoft.ContainerInstance/containerGroups"
MAX_GROUPS = 100
DEFAULT_CORES = 10.0
"""What new subscriptions get of ``StandardCores`` in a region."""


def require_room(call: Call, existing: Resource | None, cores: float) -> None:
    """Refuse a group for which the region has no capacity or the subscription no quota.

    Raises:
        ArmError: 409 ServiceUnavailable or ContainerGroupQuotaReached.
    """
    location, properties = call.body["location"], call.body["properties"]
    if call.azure.faults.take("aci.capacity", call.id):
        raise aci_rules.not_available(location, properties)
    cpu, _ = aci_rules.requested(properties)
    mine = aci_rules.requested(existing.properties)[0] if existing else 0
    used = used_cores(call.azure, location) - mine
    if used + cpu > cores:
        raise ArmError(
            409,
            "ContainerGroupQuotaReached",
            f"Resource type '{GROUPS}' container group quota 'StandardCores' exceeded in region "
            f"'{location}'. Limit: '{cores:g}', Usage: '{used:g}' Requested: '{cpu:g}'.",
        )


def used_cores(azure: Azure, location: str) -> float:
    """The cores that all groups of a region have asked for."""
    groups = [each for each in azure.store.list(GROUPS) if each.body["location"] == location]
    return sum(aci_rules.requested(each.properties)[0] for each in groups)


def usages(azure: Azure, location: str, cores: float) -> list[dict[str, Any]]:
    """The quotas of a region as Azure lists them."""
    groups = [each for each in azure.store.list(GROUPS) if each.body["location"] == location]
    return [
        _usage("ContainerGroups", "Container Groups", len(groups), MAX_GROUPS),
        _usage("StandardCores", "Standard Cores", used_cores(azure, location), cores),
    ]


def _usage(name: str, words: str, used: float, limit: float) -> dict[str, Any]:
    return {
        "unit": "Count",
        "currentValue": math.ceil(used),
        "limit": int(limit),
        "name": {"value": name, "localizedValue": words},
    }


def free_host(call: Call) -> str | None:
    """The host name that the group gets; None without a label.

    Raises:
        ArmError: 400 DnsNameLabelNotAvailable, somebody else has it.
    """
    name, location = call.values["name"], call.body["location"]
    address = call.body["properties"].get("ipAddress") or {}
    host = aci_names.fqdn(call.azure.settings.tenant, call.id, location, address)
    others = [
        each for each in call.azure.store.list(GROUPS) if ids.key(each.id) != ids.key(call.id)
    ]
    aci_names.check_free(host, name, location, others)
    if host and call.azure.faults.take("aci.label-taken", call.id):
        raise aci_names.label_taken(address["dnsNameLabel"], name, location)
    return host
