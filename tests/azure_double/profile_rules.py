"""What Azure takes as a Traffic Manager profile.

Strict to the published schema of 2022-04-01 (Azure/azure-rest-api-specs, trafficmanager.json) and
to the limits of Microsoft's pages on monitoring and routing methods. Of the kinds of endpoints only
external ones are known, of the routing methods the weighted one: anything else is answered 501.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .arm.errors import ArmError, not_modelled

TYPE = "Microsoft.Network/trafficManagerProfiles"
EXTERNAL = f"{TYPE}/externalEndpoints"

_HEADERS = [{"name": str, "value": str}]
_MONITOR = {
    "protocol?": str,
    "port?": int,
    "path?": str,
    "intervalInSeconds?": int,
    "timeoutInSeconds?": int,
    "toleratedNumberOfFailures?": int,
    "customHeaders?": _HEADERS,
    "expectedStatusCodeRanges?": [{"min": int, "max": int}],
    "profileMonitorStatus?": str,
}
_ENDPOINT = {
    "id?": str,
    "name": str,
    "type": str,
    "properties": {
        "target": str,
        "endpointStatus?": str,
        "weight?": int,
        "priority?": int,
        "alwaysServe?": str,
        "endpointLocation?": str,
        "endpointMonitorStatus?": str,
        "customHeaders?": _HEADERS,
    },
}
PROFILE = {
    "id?": str,
    "name?": str,
    "type?": str,
    "location": str,
    "tags?": {"*": str},
    "properties": {
        "profileStatus?": str,
        "trafficRoutingMethod": str,
        "dnsConfig": {"relativeName": str, "ttl?": int, "fqdn?": str},
        "monitorConfig": _MONITOR,
        "endpoints?": [_ENDPOINT],
        "trafficViewEnrollmentStatus?": str,
        "maxReturn?": int,
    },
}
_TAG_NAME = re.compile(r"[^ #:0-9][^ #:]*")
_HOST = re.compile(
    r"(?=.*[a-z])[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+", re.I
)


def check_rules(body: dict[str, Any]) -> None:
    """What the schema does not say and Azure refuses.

    Raises:
        ArmError: 400 BadRequest.
    """
    properties, monitor = body["properties"], body["properties"]["monitorConfig"]
    if body["location"].lower() != "global":
        raise bad("The location of a Traffic Manager profile must be 'global'.")
    if properties["trafficRoutingMethod"] != "Weighted":
        raise not_modelled(f"the routing method {properties['trafficRoutingMethod']}")
    check_tags(body.get("tags") or {})
    label = properties["dnsConfig"]["relativeName"]
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label, re.I):
        raise bad(f"The relative name '{label}' is not a valid DNS label.")
    _within("dnsConfig.ttl", properties["dnsConfig"].get("ttl", 60), 0, 2**31 - 1)
    interval = monitor.get("intervalInSeconds", 30)
    if interval not in (10, 30):
        raise bad("The property 'monitorConfig.intervalInSeconds' must be 10 or 30.")
    timeout = monitor.get("timeoutInSeconds", 10 if interval == 30 else 9)
    _within("monitorConfig.timeoutInSeconds", timeout, 5, 10 if interval == 30 else 9)
    _within(
        "monitorConfig.toleratedNumberOfFailures", monitor.get("toleratedNumberOfFailures", 3), 0, 9
    )
    if monitor.get("protocol") not in ("HTTP", "HTTPS", "TCP"):
        raise bad("The property 'monitorConfig.protocol' must be HTTP, HTTPS or TCP.")
    if monitor["protocol"] != "HTTP":
        raise not_modelled(f"probes by {monitor['protocol']}")
    if not str(monitor.get("path", "")).startswith("/"):
        raise bad("The property 'monitorConfig.path' must start with '/'.")
    _within("monitorConfig.port", monitor.get("port", 0), 1, 65535)
    _status_word("profileStatus", properties.get("profileStatus", "Enabled"))
    _check_endpoints(properties.get("endpoints") or [])


def _check_endpoints(endpoints: list[dict[str, Any]]) -> None:
    names = [each["name"].lower() for each in endpoints]
    targets = [each["properties"]["target"].lower() for each in endpoints]
    for what, values in (("names", names), ("targets", targets)):
        if len(set(values)) != len(values):
            raise bad(f"The endpoints of a profile must have different {what}.")
    for each in endpoints:
        properties = each["properties"]
        if each["type"].lower() != EXTERNAL.lower():
            raise not_modelled(f"endpoints of the type {each['type']}")
        if not _HOST.fullmatch(properties["target"]):
            raise bad(f"The target '{properties['target']}' is not a DNS name.")
        _within("weight", properties.get("weight", 1), 1, 1000)
        _within("priority", properties.get("priority", 1), 1, 1000)
        _status_word("endpointStatus", properties.get("endpointStatus", "Enabled"))


def check_tags(tags: Mapping[str, str]) -> None:
    """Azure docs, limits of tags: Traffic Manager takes no space, "#" or ":" in a tag's name, nor
    one that begins with a number.
    """
    for name in tags:
        if not _TAG_NAME.fullmatch(name):
            raise bad(f"The tag name '{name}' has characters that are not allowed.")


def _within(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise bad(f"The property '{name}' must be from {least} to {most}.")


def _status_word(name: str, value: str) -> None:
    if value not in ("Enabled", "Disabled"):
        raise bad(f"The property '{name}' must be Enabled or Disabled.")


def bad(message: str) -> ArmError:
    return ArmError(400, "BadRequest", message)
