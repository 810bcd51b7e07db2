"""What the cluster says of the release that was applied last, as ``Live``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.deploy.targets.aks.document import Object
from engine.deploy.targets.base import Document, Live

_Json = Mapping[str, Any]
_CRASHES = 3
"""Restarts of one container after which nobody has to wait for the next one."""
# Reasons of a waiting container that do not pass by themselves. (Kubernetes, kubelet's images and
# containers packages.) An image may be pulled late: its registry's role takes minutes.
_HOPELESS = frozenset({"InvalidImageName", "CreateContainerConfigError", "CreateContainerError"})


def live_of(
    document: Document,
    tags: Mapping[str, str],
    address: str | None,
    deployment: Object | None,
    pods: Sequence[Object],
) -> Live:
    """What is there now, of the release that was applied last; None: its Deployment is gone."""
    spec = (deployment or {}).get("spec") or {}
    status = (deployment or {}).get("status") or {}
    wanted = int(spec.get("replicas", 1))
    ready = int(status.get("readyReplicas") or 0)
    observed = int(status.get("observedGeneration") or 0)
    generation = int(((deployment or {}).get("metadata") or {}).get("generation") or 0)
    idle = deployment is not None and wanted == 0
    settled = deployment is None or (observed >= generation and not (idle and pods))
    restarts = max((int(each.get("restartCount") or 0) for each in _statuses(pods)), default=0)
    running = deployment is not None and not idle and settled and ready >= wanted
    why = _failure(deployment, status, pods, restarts)
    return Live(
        document=document,
        tags=tags,
        address=address,
        state=_state(deployment, wanted, ready, pods),
        settled=settled,
        running=running,
        stopped=idle and not pods,
        failure=None if idle or running else why,
        restarts=restarts,
        since=max(_starts(pods), default=None),
    )


def _statuses(pods: Sequence[Object]) -> Iterator[_Json]:
    for pod in pods:
        yield from (pod.get("status") or {}).get("containerStatuses") or []


def _starts(pods: Sequence[Object]) -> Iterator[str]:
    for each in _statuses(pods):
        if started := ((each.get("state") or {}).get("running") or {}).get("startedAt"):
            yield str(started)


def _waiting(pods: Sequence[Object]) -> Iterator[tuple[str, str]]:
    """Reason and message of what does not run."""
    for each in _statuses(pods):
        if waiting := (each.get("state") or {}).get("waiting"):
            yield str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    for pod in pods:
        for condition in (pod.get("status") or {}).get("conditions") or []:
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                yield str(condition.get("reason") or ""), str(condition.get("message") or "")


def _state(deployment: Object | None, wanted: int, ready: int, pods: Sequence[Object]) -> str:
    if deployment is None:
        return "its Deployment is not there"
    if wanted == 0:
        return f"stopping: {len(pods)} pod(s) leave" if pods else "stopped"
    told = next((f" ({reason}: {message})" for reason, message in _waiting(pods)), "")
    return f"{deployment['metadata']['name']}: {ready} of {wanted} pod(s) ready{told[:300]}"


def _failure(
    deployment: Object | None, status: _Json, pods: Sequence[Object], restarts: int
) -> str | None:
    if deployment is None:
        return "its Deployment is not there"
    name = deployment["metadata"]["name"]
    conditions = {each["type"]: each for each in status.get("conditions") or []}
    if (failed := conditions.get("ReplicaFailure")) and failed["status"] == "True":
        return f"{name} gets no pods: {failed.get('message')}"
    for reason, message in _waiting(pods):
        if reason in _HOPELESS:
            return f"{name} does not come up: {reason}: {message}"
    if restarts >= _CRASHES:
        return f"its container keeps crashing, {restarts} times so far"
    progress = conditions.get("Progressing") or {}
    if progress.get("reason") == "ProgressDeadlineExceeded":
        return f"{name} does not come up: {progress.get('message')}"
    return None
