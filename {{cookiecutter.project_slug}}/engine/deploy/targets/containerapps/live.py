"""What Azure says of an app, its last applied revision and that one's replicas, as ``Live``."""

from __future__ import annotations

from typing import Any

from engine.deploy.targets.base import Live
from engine.deploy.targets.containerapps.client import Json, settled
from engine.deploy.targets.containerapps.request import applied_revision
from engine.deploy.targets.containerapps.shape import document_of

# Azure docs, revisions: "Processing" is scaling while replicas run, "Degraded" is one replica of
# several that failed. "RunningAtMaxScale" and "ScaledToZero" are answered in place of "Running".
_RUNNING = frozenset({"Running", "RunningAtMaxScale", "ScaledToZero"})
_ENDED = frozenset({"Failed", "ActivationFailed", "Stopped", "Deprovisioning"})
_REVISION_FINAL = frozenset({"Provisioned", "Failed", "Deprovisioned", None})
# Azure has given up then, and leaves the revision in a state that could pass.
_GAVE_UP = "Deadline Exceeded"
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
    running = not stopped and _runs(there, containers)
    return Live(
        document=document,
        tags=document["tags"],
        address=f"https://{fqdn}" if fqdn else None,
        state=_state(app, name, there),
        settled=settled(app)
        and there.get("provisioningState") in _REVISION_FINAL
        and there.get("runningState") != "Deprovisioning",
        running=running,
        stopped=stopped,
        failure=None
        if stopped or running
        else _failure(properties, name, there, containers, restarts),
        restarts=restarts,
        since=max((str(one["properties"].get("createdTime")) for one in replicas), default=None),
    )


def _runs(revision: Json, containers: list[dict[str, Any]]) -> bool:
    """Whether a replica of the revision may answer: its word, its health or a replica says so."""
    state = revision.get("runningState")
    broken = revision.get("provisioningError") or revision.get("provisioningState") == "Failed"
    if not revision.get("active") or broken or state in _ENDED:
        return False
    ready = any(each.get("ready") for each in containers)
    return state in _RUNNING or revision.get("healthState") == "Healthy" or ready


def _state(app: Json, name: str, revision: Json) -> str:
    properties = app["properties"]
    if properties.get("runningStatus") == "Stopped":
        return "stopped"
    if not settled(app):
        return f"Azure is working on it ({properties.get('provisioningState')})"
    running = revision.get("runningState") or "not there"
    copies, weight = revision.get("replicas") or 0, revision.get("trafficWeight") or 0
    details = revision.get("runningStateDetails")
    return f"revision {name}: {running}, {copies} replica(s), {weight} % of the traffic" + (
        f" ({details})" if details else ""
    )


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
    why = str(revision.get("runningStateDetails") or "")
    if _GAVE_UP in why:
        return f"revision {name} does not come up: {why}"
    if restarts >= _CRASHES:
        details = next(filter(None, (each.get("runningStateDetails") for each in containers)), "")
        return f"its container keeps crashing, {restarts} times so far: {details or 'it ends'}"
    if revision.get("runningState") in ("Failed", "ActivationFailed"):
        return f"revision {name} does not come up: {why or revision['runningState']}"
    return None
