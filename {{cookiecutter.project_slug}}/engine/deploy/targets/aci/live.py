"""What Azure says of a container group, as ``Live``: its state, and whether there is hope."""

from __future__ import annotations

from typing import Any

from engine.deploy.config import names
from engine.deploy.diagnosis.shares import MOUNT_FAILED
from engine.deploy.targets.aci import edge
from engine.deploy.targets.aci.shape import restorable
from engine.deploy.targets.base import Live

_FINAL = frozenset({"succeeded", "failed", "canceled", "stopped"})
"""Azure lists more states than it explains; what is not known to be the end is waited for."""
_CRASHES = 2
"""Restarts after which nobody has to wait for the next one."""
_PULLS = 3
"""Failed attempts to pull after which the image will not come: a new role needs some time."""
_Json = dict[str, Any]


def live_of(group: _Json) -> Live:
    """The group as it is, from Azure's answer about it."""
    properties = group["properties"]
    view = _view(properties, names.CONTAINER)
    current = view.get("currentState") or {}
    group_state = (properties.get("instanceView") or {}).get("state")
    provisioning = str(properties.get("provisioningState"))
    stopped = group_state == "Stopped"
    document = restorable(group)
    return Live(
        document=document,
        tags=document["tags"],
        address=_address(properties),
        state=_state(provisioning, group_state, view),
        settled=provisioning.lower() in _FINAL,
        running=not stopped and current.get("state") == "Running",
        stopped=stopped,
        failure=None if stopped else _failure(view) or _edge_failure(properties),
        restarts=int(view.get("restartCount") or 0),
        since=current.get("startTime"),
    )


def _view(properties: _Json, name: str) -> _Json:
    """What Azure says of one container; of the first one if none has the name."""
    listed = properties["containers"]
    found = [each for each in listed if each["name"] == name] or listed[:1]
    view: _Json = found[0]["properties"].get("instanceView") or {}
    return view


def _edge_failure(properties: _Json) -> str | None:
    """Why a share, or HTTPS, does not come up although the service may."""
    for event in (properties.get("instanceView") or {}).get("events") or []:
        if event.get("name") == MOUNT_FAILED and int(event.get("count") or 1) >= _PULLS:
            return f"a file share cannot be mounted: {event.get('message')}"
    if not any(each["name"] == names.EDGE for each in properties["containers"]):
        return None
    failure = _failure(_view(properties, names.EDGE))
    return f"HTTPS: {failure}" if failure else None


def _address(properties: _Json) -> str | None:
    address = properties.get("ipAddress") or {}
    host = address.get("fqdn") or address.get("ip")
    ports = address.get("ports") or []
    if not host or not ports:
        return None
    listed = [int(each["port"]) for each in ports]
    if edge.HTTPS in listed:
        return f"https://{host}"
    port = listed[0]
    return f"http://{host}" if port == 80 else f"http://{host}:{port}"


def _state(provisioning: str, group_state: str | None, view: _Json) -> str:
    current = view.get("currentState") or {}
    words = [f"Azure: {provisioning}"]
    if group_state == "Stopped":
        return "stopped"
    if name := current.get("state"):
        detail = str(current.get("detailStatus") or "").partition(":")[0]
        words.append(f"container: {name}" + (f" ({detail})" if detail else ""))
    if restarts := int(view.get("restartCount") or 0):
        words.append(f"{restarts} restart(s)")
    if current.get("state") != "Running" and (last := _last_event(view)):
        words.append(f"last event: {last}")
    return ", ".join(words)


def _failure(view: _Json) -> str | None:
    current = view.get("currentState") or {}
    if not current or current.get("state") == "Running":
        return None
    if pull := _failed_pull(view):
        return pull
    restarts = int(view.get("restartCount") or 0)
    ended = current if current.get("state") == "Terminated" else view.get("previousState") or {}
    if restarts >= _CRASHES:
        code = ended.get("exitCode")
        how = "" if code is None else f" with exit code {code}"
        reason = ended.get("detailStatus")
        named = f" ({reason})" if reason and reason != "Error" else ""
        return f"the container keeps ending{how}{named}, {restarts} times so far"
    return None


def _failed_pull(view: _Json) -> str | None:
    for event in view.get("events") or []:
        message = str(event.get("message"))
        if event.get("type") == "Warning" and "pull image" in message:
            return message if int(event.get("count") or 1) >= _PULLS else None
    return None


def _last_event(view: _Json) -> str:
    events = view.get("events") or []
    if not events:
        return ""
    latest = max(events, key=lambda event: str(event.get("lastTimestamp")))
    text = " ".join(str(latest.get("message") or "").split())
    return text if len(text) <= 160 else text[:157] + "..."
