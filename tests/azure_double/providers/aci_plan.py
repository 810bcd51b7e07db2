"""From a container group's document to what is run."""

from __future__ import annotations

from typing import Any

from ..arm import ids
from ..engine import ContainerSpec
from .aci_container import Plan

GROUP_LABEL = "azure-double.group"


def plans(identifier: str, document: dict[str, Any]) -> list[Plan]:
    """What a document, with its secrets, asks to be run."""
    properties = document["properties"]
    policy = properties.get("restartPolicy", "Always")
    return [_plan(identifier, policy, each) for each in properties["containers"]]


def _plan(identifier: str, policy: str, container: dict[str, Any]) -> Plan:
    properties = container["properties"]
    requests = properties["resources"]["requests"]
    limits = properties["resources"].get("limits") or {}
    liveness, readiness = properties.get("livenessProbe"), properties.get("readinessProbe")
    ports = {port["port"] for port in properties.get("ports") or []}
    ports |= {probe["httpGet"]["port"] for probe in (liveness, readiness) if _is_http(probe)}
    variables = properties.get("environmentVariables") or []
    spec = ContainerSpec(
        image=properties["image"],
        command=tuple(properties.get("command") or ()),
        environment={each["name"]: _value(each) for each in variables},
        cpu=limits.get("cpu") or requests["cpu"],
        memory=limits.get("memoryInGB") or requests["memoryInGB"],
        ports=tuple(sorted(ports)),
        labels={GROUP_LABEL: ids.key(identifier)},
    )
    mounts = {
        each["name"]: (each["mountPath"], bool(each.get("readOnly")))
        for each in properties.get("volumeMounts") or []
    }
    return Plan(identifier, container["name"], spec, policy, liveness, readiness, mounts)


def _value(variable: dict[str, Any]) -> str:
    secret = variable.get("secureValue")
    return str(variable["value"] if secret is None else secret)


def _is_http(probe: dict[str, Any] | None) -> bool:
    return bool(probe and probe.get("httpGet"))
