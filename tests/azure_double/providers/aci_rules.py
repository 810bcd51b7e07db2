"""Azure's rules for a container group that need nothing but the document itself.

Sources: Azure docs, "Resource availability & quota limits", "Troubleshoot common issues" and the
frequently asked questions of Container Instances; codes and sentences as users report them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..arm.errors import ArmError, not_modelled
from . import aci_container_rules

LABEL = re.compile(r"^[a-z][a-z0-9-]{3,61}[a-z0-9]$")

MAX_PORTS = 5
MAX_CPU, MAX_MEMORY_GB = 31, 240
RESTART_POLICIES = ("Always", "OnFailure", "Never")
LABEL_SCOPES = ("Unsecure", "TenantReuse", "SubscriptionReuse", "ResourceGroupReuse", "Noreuse")
RESERVED_PORTS = (
    (22, 22),
    (1025, 1027),
    (3389, 3399),
    (9999, 9999),
    (19000, 19000),
    (19080, 19080),
    (19100, 19100),
    (19390, 19390),
    (20000, 30000),
    (49152, 65534),
)
NOT_MODELLED = (
    "confidentialComputeProperties",
    "containerGroupProfile",
    "dnsConfig",
    "encryptionProperties",
    "extensions",
    "initContainers",
    "standbyPoolProfile",
)
CONTAINER_NOT_MODELLED = ("configMap", "securityContext")


def check(name: str, body: dict[str, Any]) -> None:
    """Refuse a document as Azure does, at its first fault; `aci_schema` has passed it.

    Raises:
        ArmError: Azure's code and sentence, or 501 for what the double cannot run.
    """
    properties = body["properties"]
    _check_modelled(body, properties)
    _check_group(name, body, properties)
    _check_address(name, properties)
    for container in properties["containers"]:
        aci_container_rules.check(name, container["name"], container["properties"])
    _check_size(name, body, properties)
    _check_volumes(name, properties)
    _check_ports(name, properties)


def requested(properties: dict[str, Any]) -> tuple[float, float]:
    """Cores and memory (GB) that a group asks for: the sum over its containers."""
    requests = [each["properties"]["resources"]["requests"] for each in properties["containers"]]
    return sum(r["cpu"] for r in requests), sum(r["memoryInGB"] for r in requests)


def not_available(location: str, properties: dict[str, Any]) -> ArmError:
    """Azure has no room for a group of this size in the region."""
    cpu, memory = requested(properties)
    return ArmError(
        409,
        "ServiceUnavailable",
        f"The requested resource is not available in the location '{location}' at this moment. "
        "Please retry with a different resource request or in another location. "
        f"Resource requested: '{cpu:g}' CPU '{memory:g}' GB memory 'Linux' OS",
    )


def _check_modelled(body: dict[str, Any], properties: dict[str, Any]) -> None:
    for name in NOT_MODELLED:
        if properties.get(name):
            raise not_modelled(f"properties.{name} of a container group")
    if body.get("zones"):
        raise not_modelled("availability zones of a container group")
    if properties.get("sku", "Standard") != "Standard":
        raise not_modelled(f"container groups of sku {properties['sku']}")
    if properties.get("priority", "Regular") != "Regular":
        raise not_modelled(f"container groups of priority {properties['priority']}")
    for volume in properties.get("volumes") or []:
        if not volume.get("azureFile"):
            raise not_modelled("a volume that is no azureFile")
    for container in properties["containers"]:
        for name in CONTAINER_NOT_MODELLED:
            if _says_something(container["properties"].get(name)):
                raise not_modelled(f"{name} of a container")


def _says_something(value: Any) -> bool:
    """Not so an empty object: az sends one for every option that was not given."""
    if isinstance(value, dict):
        return any(_says_something(each) for each in value.values())
    return bool(value)


def _check_group(name: str, body: dict[str, Any], properties: dict[str, Any]) -> None:
    if not aci_container_rules.NAME.match(name):
        raise _invalid(
            "InvalidContainerGroupName",
            f"The container group name '{name}' is invalid. It can contain only lowercase "
            "letters, numbers and hyphens, may not begin or end with a hyphen, and must be "
            "between 1 and 63 characters long.",
        )
    if not body.get("location"):
        raise _invalid("LocationRequired", "The location property is required for this definition.")
    if properties.get("osType") != "Linux":
        if properties.get("osType") == "Windows":
            raise not_modelled("Windows containers")
        raise _invalid(
            "InvalidOsType",
            "The 'osType' for container group '<null>' is invalid. The value must be one of "
            "'Windows,Linux'.",
        )
    policy = properties.get("restartPolicy", "Always")
    if policy not in RESTART_POLICIES:
        raise _invalid(
            "InvalidRestartPolicy",
            f"The restart policy '{policy}' for container group '{name}' is invalid. The value "
            "must be one of 'Always,OnFailure,Never'.",
        )


def _check_address(name: str, properties: dict[str, Any]) -> None:
    address = properties.get("ipAddress")
    if len(properties.get("subnetIds") or []) > 1:
        raise _invalid("InvalidSubnetIds", f"The container group '{name}' has several subnets.")
    if not address:
        return
    private = address["type"] == "Private"
    if private != bool(properties.get("subnetIds")):
        raise _invalid(
            "PrivateIPAddressNotSupported" if private else "PublicIPAddressNotSupported",
            f"IP address type '{address['type']}' is not supported for container group '{name}': "
            "a group in a virtual network has a private address, and no other has.",
        )
    if private and address.get("dnsNameLabel"):
        raise _invalid(
            "DnsNameLabelNotSupported",
            f"A DNS name label in container group '{name}' in a virtual network is not supported.",
        )
    if address.get("ip"):
        raise not_modelled("a chosen ipAddress.ip")
    label, scope = address.get("dnsNameLabel"), address.get("autoGeneratedDomainNameLabelScope")
    if label is not None and not LABEL.match(label):
        raise _invalid(
            "InvalidDnsNameLabel",
            f"The DNS name label '{label}' in container group '{name}' is invalid. It can contain "
            "only lowercase letters, numbers and hyphens. The first character must be a letter. "
            "The last character must be a letter or number. The value must be between 5 and 63 "
            "characters long.",
        )
    if scope is not None and scope not in LABEL_SCOPES:
        raise _invalid(
            "InvalidAutoGeneratedDomainNameLabelScope",
            f"The autoGeneratedDomainNameLabelScope '{scope}' of container group '{name}' is "
            f"invalid. The value must be one of '{','.join(LABEL_SCOPES)}'.",
        )


def _check_size(name: str, body: dict[str, Any], properties: dict[str, Any]) -> None:
    for container in properties["containers"]:
        resources = container["properties"].get("resources") or {}
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        if not requests.get("cpu") or not requests.get("memoryInGB"):
            raise _invalid(
                "ResourceRequestsNotSpecified",
                f"The resource requests are not specified in container '{container['name']}' of "
                f"contain group '{name}'. Both memory and CPU requests are required since API "
                "version '2017-07-01-preview'.",
            )
        for key, word in (("cpu", "Cpu"), ("memoryInGB", "MemoryInGB")):
            if limits.get(key) is not None and limits[key] < requests[key]:
                raise _invalid(
                    "ResourceLimitsLessThanRequests",
                    f"The resource requirement in container '{container['name']}' of contain "
                    f"group '{name}' is invalid. The '{word}' limit value must be greater than or "
                    "equal to the request value.",
                )
    cpu, memory = requested(properties)
    if cpu > MAX_CPU or memory > MAX_MEMORY_GB:
        raise not_available(body["location"], properties)


def _check_volumes(name: str, properties: dict[str, Any]) -> None:
    volumes = {each["name"] for each in properties.get("volumes") or []}
    for container in properties["containers"]:
        for mount in container["properties"].get("volumeMounts") or []:
            if mount["name"] not in volumes:
                raise _invalid(
                    "VolumeMountNotFound",
                    f"The volume mount '{mount['name']}' of container '{container['name']}' in "
                    f"container group '{name}' has no volume of that name.",
                )


def _check_ports(name: str, properties: dict[str, Any]) -> None:
    address = properties.get("ipAddress")
    listed = [
        port["port"]
        for container in properties["containers"]
        for port in container["properties"].get("ports") or []
    ]
    exposed = set(listed)
    if len(exposed) != len(listed):
        raise _invalid("InvalidPort", f"Two containers of '{name}' expose the same port.")
    public = [port["port"] for port in address["ports"]] if address else []
    if address and not public:
        raise _invalid(
            "MissingIpAddressPorts",
            f"The ports in the 'ipAddress' of container group '{name}' cannot be empty.",
        )
    if len(public) > MAX_PORTS:
        raise _invalid(
            "TooManyPorts",
            f"The 'ipAddress' of container group '{name}' has {len(public)} ports; at most "
            f"{MAX_PORTS} are allowed.",
        )
    for fault in _port_faults(public, exposed):
        raise _invalid("InvalidPort", f"{fault} in container group '{name}'.")
    if address and any(port.get("protocol", "TCP") != "TCP" for port in address["ports"]):
        raise not_modelled("ports of another protocol than TCP")


def _port_faults(public: list[int], exposed: set[int]) -> Iterator[str]:
    for port in [*public, *sorted(exposed)]:
        if not 1 <= port <= 65535:
            yield f"The port '{port}' is not between 1 and 65535"
        if any(low <= port <= high for low, high in RESERVED_PORTS):
            yield f"The port '{port}' is reserved by the service"
    for port in public:
        if port not in exposed:
            yield f"The port '{port}' of the 'ipAddress' is exposed by no container"
    if len(set(public)) != len(public):
        yield "The ports of the 'ipAddress' are not distinct"


def _invalid(code: str, message: str) -> ArmError:
    return ArmError(400, code, message)
