"""What Azure says of an app, its last applied revision and that one's replicas, as ``Live``."""

from __future__ import annotations

from typing import Any

from deploy.targets.base import Live
from deploy.targets.containerapps_client import UNSETTLED, Json
from deploy.targets.containerapps_request import applied_revision
from deploy.targets.containerapps_shape import document_of

# Microsoft documents the first; the second and third are what Azure answers in their place.
_RUNNING = frozenset({"Running", "RunningAtMaxScale", "ScaledToZero"})
_REVISION_UNSETTLED = frozenset({"Provisioning", "Deprovisioning"})
_CRASHES = 3
"""Restarts of one container after which nobody has to wait for the next one."""


def live_of(app: Json, revision: Json | None, replicas: list[Json]) -> Live:
    """What is there now, of the release that was applied last."""
    properties = app["properties"]
    name = revision["name"] if revision else applied_revision(app)
    there = revision["properties"] if revision else {}
    document = document_of(app, name, there.get("template") or properties["template"])
    containers = [each for one in replicas for each in one["properties"].get("containers") or []]
    restarts = max((int(each.get("restartCount") or 0) for each in containers), default=0)
    stopped = properties.get("runningStatus") == "Stopped"
    fqdn = (properties["configuration"].get("ingress") or {}).get("fqdn")
    return Live(
        document=document,
        tags=document["tags"],
        address=f"https://{fqdn}" if fqdn else None,
        state=_state(properties, name, there),
        settled=properties.get("provisioningState") not in UNSETTLED
        and there.get("provisioningState") not in _REVISION_UNSETTLED,
        running=not stopped and there.get("runningState") in _RUNNING,
        stopped=stopped,
        failure=None if stopped else _failure(properties, name, there, containers, restarts),
        restarts=restarts,
        since=max((str(one["properties"].get("createdTime")) for one in replicas), default=None),
    )


def _state(app: Json, name: str, revision: Json) -> str:
    if app.get("runningStatus") == "Stopped":
        return "stopped"
    provisioning = app.get("provisioningState")
    if provisioning in UNSETTLED:
        return f"Azure is working on it ({provisioning})"
    running = revision.get("runningState") or "not there"
    copies, weight = revision.get("replicas") or 0, revision.get("trafficWeight") or 0
    return f"revision {name}: {running}, {copies} replica(s), {weight} % of the traffic"


def _failure(
    app: Json, name: str, revision: Json, containers: list[dict[str, Any]], restarts: int
) -> str | None:
    if error := revision.get("provisioningError"):
        return f"revision {name} could not be made: {error}"
    if revision.get("provisioningState") == "Failed" or (
        app.get("provisioningState") == "Failed" and not revision
    ):
        return f"revision {name} could not be made"
    if revision and not revision.get("active"):
        return f"revision {name} was deactivated"
    if restarts >= _CRASHES and revision.get("runningState") not in _RUNNING:
        details = next(filter(None, (each.get("runningStateDetails") for each in containers)), "")
        return f"its container keeps crashing, {restarts} times so far: {details or 'it ends'}"
    if revision.get("runningState") in ("Failed", "ActivationFailed"):
        return f"revision {name} does not come up: {revision['runningState']}"
    return None
