"""Nodes of a cluster: what every one says of itself, and one without containers.

``docker_node`` has the one that runs its pods.
"""

from __future__ import annotations

import threading
import urllib.error
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from tests.engine.kubernetes.control_plane import ControlPlane

PAUSE_SECONDS = 0.1
READY, CRASHES, STARTS = "ready", "crashes", "starts"
_MERGE = "application/strategic-merge-patch+json"

Pod = dict[str, Any]


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def path_of(pod: Pod) -> str:
    """Where the API server has a pod."""
    metadata = pod["metadata"]
    return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"


def status_of(
    pod: Pod,
    state: Mapping[str, Any],
    address: str,
    *,
    ready: bool,
    started: bool = True,
    restarts: int = 0,
    last: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What kubelet says of a pod with one container; ``state`` and ``last`` are the container's."""
    container = pod["spec"]["containers"][0]
    shown = {
        "name": container["name"],
        "image": container["image"],
        "imageID": container["image"],
        "ready": ready,
        "started": started,
        "restartCount": restarts,
        "state": state,
        **({"lastState": {"terminated": last}} if last else {}),
    }
    conditions = [
        {"type": kind, "status": "True" if ready else "False", "lastTransitionTime": now()}
        for kind in ("Ready", "ContainersReady")
    ]
    return {
        "phase": "Running" if address else "Pending",
        "conditions": conditions,
        "containerStatuses": [shown],
        "startTime": now(),
        # Those of before would stay: a strategic merge joins lists.
        **(
            {"podIP": address, "podIPs": [{"$patch": "replace"}, {"ip": address}]}
            if address
            else {}
        ),
    }


class Node(ABC):
    """A node; use it as a context manager.

    Args:
        gpus: how many it has; with some it belongs to the pool ``gpu`` and is tainted as there.
    """

    def __init__(self, plane: ControlPlane, name: str, gpus: int = 0) -> None:
        self._plane = plane
        self._name = name
        self._gpus = gpus
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @abstractmethod
    def look_at(self, pod: Pod) -> None:
        """Do for a pod of this node what is to be done now."""

    def details(self) -> dict[str, Any]:
        """More of the node's status."""
        return {}

    def __enter__(self) -> Self:
        """Join the cluster."""
        size = {"cpu": "16", "memory": "64Gi", "pods": "110", "nvidia.com/gpu": str(self._gpus)}
        taints = [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}] if self._gpus else []
        labels = {"kubernetes.io/hostname": self._name}
        labels |= {"agentpool": "gpu"} if self._gpus else {"agentpool": "system"}
        self._plane.ask(
            "POST",
            "/api/v1/nodes",
            {
                "metadata": {"name": self._name, "labels": labels},
                "spec": {"taints": taints},
            },
        )
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}
        status = {"capacity": size, "allocatable": size, "conditions": [ready], **self.details()}
        self._plane.ask("PATCH", f"/api/v1/nodes/{self._name}/status", {"status": status}, _MERGE)
        # The API server has added what keeps pods away until a node is ready.
        self._plane.ask(
            "PATCH",
            f"/api/v1/nodes/{self._name}",
            {"spec": {"taints": taints}},
            "application/merge-patch+json",
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Leave it."""
        self._stop.set()
        self._thread.join()
        self._plane.ask("DELETE", f"/api/v1/nodes/{self._name}")

    def pods(self) -> list[Pod]:
        """Those that the scheduler gave this node."""
        query = f"fieldSelector=spec.nodeName%3D{self._name}"
        found: list[Pod] = self._plane.ask("GET", f"/api/v1/pods?{query}")["items"]
        return found

    def report(self, pod: Pod, status: Mapping[str, Any]) -> None:
        """Tell the API server how a pod is; nothing if it is gone."""
        self._forgiving("PATCH", f"{path_of(pod)}/status", {"status": status}, _MERGE)

    def forget(self, pod: Pod) -> None:
        """Tell the API server that a pod has ended for good."""
        self._forgiving("DELETE", path_of(pod), {"gracePeriodSeconds": 0})

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_SECONDS):
            for pod in self.pods():
                self.look_at(pod)

    def _forgiving(self, method: str, path: str, body: Mapping[str, Any], *kind: str) -> None:
        try:
            self._plane.ask(method, path, body, *kind)
        except urllib.error.HTTPError as error:
            if error.code not in (404, 409):
                raise


class ScriptedNode(Node):
    """A node without containers: pods come up as their image is told to.

    Args:
        behaviour: ready, crashes or starts (and is never ready), by image; else ready.
    """

    def __init__(
        self,
        plane: ControlPlane,
        name: str,
        behaviour: Mapping[str, str] | None = None,
        gpus: int = 0,
    ) -> None:
        super().__init__(plane, name, gpus)
        self.behaviour = dict(behaviour or {})
        self._known: dict[str, str] = {}

    def look_at(self, pod: Pod) -> None:
        """See ``Node``."""
        metadata = pod["metadata"]
        if "deletionTimestamp" in metadata:
            self.forget(pod)
            return
        behaviour = self.behaviour.get(pod["spec"]["containers"][0]["image"], READY)
        if self._known.get(metadata["uid"]) == behaviour:
            return
        self._known[metadata["uid"]] = behaviour
        self.report(pod, self._status(pod, behaviour))

    def _status(self, pod: Pod, behaviour: str) -> dict[str, Any]:
        good, crashes = behaviour == READY, behaviour == CRASHES
        state: dict[str, Any] = {"running": {"startedAt": now()}}
        if crashes:
            name = pod["spec"]["containers"][0]["name"]
            state = {"waiting": waiting(name)}
        return status_of(
            pod,
            state,
            f"10.1.0.{len(self._known) % 250 + 1}",
            ready=good,
            started=good,
            restarts=5 if crashes else 0,
            last=ended(1) if crashes else None,
        )


def waiting(container: str) -> dict[str, str]:
    """The state of a container that is started again after a while."""
    message = f"back-off restarting failed container {container}"
    return {"reason": "CrashLoopBackOff", "message": message}


def ended(code: int, started: str = "", reason: str = "") -> dict[str, Any]:
    """The state of a container that has ended."""
    reason = reason or ("Completed" if code == 0 else "Error")
    return {"exitCode": code, "reason": reason, "finishedAt": now(), "startedAt": started or now()}
