"""A container app as Azure shows it, read into the evidence that container groups give.

What a group has in one answer is in four places here: the app, the revision applied last, its
replicas, and the system log, whose lines are Azure's events.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from engine.deploy.diagnosis.evidence import Container, Event, Group, State

Json = Mapping[str, Any]

_ENDED = re.compile(r"terminated with exit code '(\d+)'(?: and reason '(\w+)')?")
_PROBE = re.compile(r"^Probe of (\w+) failed")


def read_app(
    app: Json, revision: Json | None, replicas: Sequence[Json], system_log: Iterable[str]
) -> Group:
    """Read an app with the revision that was applied last; None: it could not be made."""
    properties = app["properties"]
    configuration = properties.get("configuration") or {}
    there = (revision or {}).get("properties") or {}
    template = there.get("template") or properties.get("template") or {}
    name = str((revision or {}).get("name") or "")
    events = _events(system_log, name)
    registries = configuration.get("registries") or []
    identities = (app.get("identity") or {}).get("userAssignedIdentities") or {}
    return Group(
        name=str(app.get("name", "")),
        provisioning=str(properties.get("provisioningState") or ""),
        state=str(there.get("runningState") or ""),
        containers=tuple(
            _container(each, replicas, events) for each in template.get("containers") or []
        ),
        identities=tuple(identity.lower() for identity in identities),
        credentials={
            str(each.get("server")).lower(): str(each.get("identity") or "").lower()
            for each in registries
        },
        fqdn=there.get("fqdn"),
    )


def _container(shown: Json, replicas: Sequence[Json], events: tuple[Event, ...]) -> Container:
    name = str(shown.get("name", ""))
    variables = shown.get("env") or []
    memory = str((shown.get("resources") or {}).get("memory") or "").removesuffix("Gi")
    running = [
        each
        for replica in replicas
        for each in replica["properties"].get("containers") or []
        if each.get("name") == name
    ]
    worst = max(running, key=lambda each: int(each.get("restartCount") or 0), default=None)
    return Container(
        name=name,
        image=str(shown.get("image", "")),
        variables={
            str(each["name"]): str(each["value"])
            for each in variables
            if each.get("value") is not None and not each.get("secretRef")
        },
        names=tuple(str(each["name"]) for each in variables),
        memory_gb=float(memory) if memory else None,
        current=_state(worst),
        previous=_last_end(events),
        restarts=int(worst.get("restartCount") or 0) if worst else 0,
        events=events,
    )


def _state(container: Json | None) -> State | None:
    if container is None or not container.get("runningState"):
        return None
    details = str(container.get("runningStateDetails") or "")
    return State(str(container["runningState"]), details)


def _last_end(events: tuple[Event, ...]) -> State | None:
    for event in reversed(events):
        if found := _ENDED.search(event.message):
            return State("Terminated", found[2] or "", int(found[1]), finished=event.last)
    return None


def _events(lines: Iterable[str], revision: str) -> tuple[Event, ...]:
    """The events of a revision; lines that are no JSON are the stream's own words."""
    found = []
    for line in lines:
        try:
            shown = json.loads(line)
        except ValueError:
            continue
        if isinstance(shown, dict) and shown.get("RevisionName") in (revision, None, ""):
            found.append(_event(shown))
    return tuple(found)


def _event(shown: Json) -> Event:
    # The rules know the words that Kubernetes and container groups use for a probe.
    message = _PROBE.sub(r"\1 probe failed", str(shown.get("Msg") or ""))
    return Event(
        name=str(shown.get("Reason") or ""),
        message=message,
        warning=shown.get("Type") == "Warning",
        count=int(shown.get("Count") or 1),
        last=_time(shown.get("TimeStamp")),
    )


def _time(text: Any) -> datetime | None:
    # Azure's events have Go's form, "2026-06-22 02:24:25.7316352 +0000 UTC", its stream ISO 8601.
    plain = re.sub(r"(\.\d{6})\d*", r"\1", str(text).removesuffix(" UTC"))
    try:
        time = datetime.fromisoformat(re.sub(r" ([+-]\d{4})$", r"\1", plain))
    except ValueError:
        return None
    return time if time.tzinfo else None
