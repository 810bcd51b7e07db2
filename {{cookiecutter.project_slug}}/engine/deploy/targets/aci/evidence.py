"""A container group as Azure or `az` shows it, read into evidence.

`az container show` puts the properties of groups and containers one level higher than the resource
itself has them; both are read. Unknown keys and missing ones do no harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from engine.deploy.diagnosis.evidence import Container, Event, Group, State

Json = Mapping[str, Any]


def read_group(shown: Json) -> Group:
    """Read a group with its instance view."""
    group = _flat(shown)
    view = group.get("instanceView") or {}
    address = group.get("ipAddress") or {}
    identities = (group.get("identity") or {}).get("userAssignedIdentities") or {}
    return Group(
        name=str(group.get("name", "")),
        provisioning=str(group.get("provisioningState") or ""),
        state=str(view.get("state") or ""),
        containers=tuple(_container(each) for each in group.get("containers") or []),
        events=_events(view),
        identities=tuple(identity.lower() for identity in identities),
        credentials={
            str(each.get("server")).lower(): str(each.get("identity") or "").lower()
            for each in group.get("imageRegistryCredentials") or []
        },
        ports=_ports(address.get("ports")),
        public=address.get("type") != "Private",
        fqdn=address.get("fqdn"),
    )


def _flat(resource: Json) -> dict[str, Any]:
    return {**resource, **(resource.get("properties") or {})}


def _container(shown: Json) -> Container:
    container = _flat(shown)
    view = container.get("instanceView") or {}
    variables = container.get("environmentVariables") or []
    requests = (container.get("resources") or {}).get("requests") or {}
    memory = requests.get("memoryInGB", requests.get("memoryInGb"))
    return Container(
        name=str(container.get("name", "")),
        image=str(container.get("image", "")),
        ports=_ports(container.get("ports")),
        probe_ports=tuple(
            int(probe["httpGet"]["port"])
            for kind in ("livenessProbe", "readinessProbe")
            if (probe := container.get(kind)) and probe.get("httpGet")
        ),
        variables={
            str(each["name"]): str(each["value"])
            for each in variables
            if each.get("value") is not None
        },
        names=tuple(str(each["name"]) for each in variables),
        memory_gb=None if memory is None else float(memory),
        gpu=bool(requests.get("gpu")),
        current=_state(view.get("currentState")),
        previous=_state(view.get("previousState")),
        restarts=int(view.get("restartCount") or 0),
        events=_events(view),
    )


def _ports(ports: Any) -> tuple[int, ...]:
    return tuple(int(each["port"]) for each in ports or [])


def _state(shown: Json | None) -> State | None:
    if not shown or not shown.get("state"):
        return None
    code = shown.get("exitCode")
    return State(
        name=str(shown["state"]),
        detail=str(shown.get("detailStatus") or ""),
        exit_code=None if code is None else int(code),
        started=_time(shown.get("startTime")),
        finished=_time(shown.get("finishTime")),
    )


def _events(view: Json) -> tuple[Event, ...]:
    return tuple(
        Event(
            name=str(each.get("name") or ""),
            message=str(each.get("message") or ""),
            warning=each.get("type") == "Warning",
            count=int(each.get("count") or 1),
            first=_time(each.get("firstTimestamp")),
            last=_time(each.get("lastTimestamp")),
        )
        for each in view.get("events") or []
    )


def _time(text: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return time if time.tzinfo else None
