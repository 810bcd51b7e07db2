"""A release on Kubernetes, read into the evidence that container groups give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from engine.deploy.config import names
from engine.deploy.diagnosis.evidence import Container, Event, Group, State
from engine.deploy.targets.aks.client import KubeClient
from engine.deploy.targets.aks.document import Object

_Json = Mapping[str, Any]
_GIB = 2**30
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def read_release(client: KubeClient, service: str, name: str, pods: Sequence[Object]) -> Group:
    """Read the Deployment of a release and that pod of it which is worst off."""
    deployment = client.get("Deployment", name)
    template = ((deployment or {}).get("spec") or {}).get("template") or {}
    shown: _Json = next(iter((template.get("spec") or {}).get("containers") or []), {})
    worst = max(pods, key=_trouble, default=None)
    events = _events(client, worst) if worst is not None else ()
    status = _status(worst)
    conditions = ((deployment or {}).get("status") or {}).get("conditions") or []
    state: _Json = next((each for each in conditions if each["type"] == "Available"), {})
    return Group(
        name=service,
        provisioning="Succeeded" if deployment is not None else "",
        state="Running" if state.get("status") == "True" else str(state.get("reason") or ""),
        containers=(
            Container(
                name=names.CONTAINER,
                image=str(shown.get("image") or ""),
                variables={
                    str(each["name"]): str(each["value"])
                    for each in shown.get("env") or []
                    if "value" in each
                },
                names=tuple(str(each["name"]) for each in shown.get("env") or []),
                memory_gb=_memory((shown.get("resources") or {}).get("limits") or {}),
                current=_state(status.get("state")),
                previous=_state(status.get("lastState")),
                restarts=int(status.get("restartCount") or 0),
                events=events,
            ),
        ),
        events=_replica_failures(conditions),
    )


def _trouble(pod: Object) -> tuple[bool, int]:
    status = _status(pod)
    return not status.get("ready"), int(status.get("restartCount") or 0)


def _status(pod: Object | None) -> _Json:
    found = ((pod or {}).get("status") or {}).get("containerStatuses") or []
    first: _Json = next(iter(found), {})
    return first


def _memory(limits: _Json) -> float | None:
    text = str(limits.get("memory") or "")
    unit = _UNITS.get(text[-2:])
    return float(text[:-2]) * unit / _GIB if unit else None


def _state(state: _Json | None) -> State | None:
    """Of a container, which is in exactly one of three states."""
    for key, name in (("running", "Running"), ("waiting", "Waiting"), ("terminated", "Terminated")):
        if (told := (state or {}).get(key)) is not None:
            return State(
                name,
                str(told.get("reason") or told.get("message") or ""),
                told.get("exitCode"),
                _time(told.get("startedAt")),
                _time(told.get("finishedAt")),
            )
    return None


def _replica_failures(conditions: Sequence[_Json]) -> tuple[Event, ...]:
    """A Deployment says in a condition why it gets no pods."""
    return tuple(
        Event(str(each.get("reason") or ""), str(each.get("message") or ""), warning=True)
        for each in conditions
        if each["type"] == "ReplicaFailure" and each["status"] == "True"
    )


def _events(client: KubeClient, pod: Object) -> tuple[Event, ...]:
    return tuple(
        Event(
            name=str(each.get("reason") or ""),
            message=str(each.get("message") or ""),
            warning=each.get("type") == "Warning",
            count=int(each.get("count") or 1),
            first=_time(each.get("firstTimestamp")),
            last=_time(each.get("lastTimestamp") or each.get("eventTime")),
        )
        for each in client.events("Pod", pod["metadata"]["name"])
    )


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
