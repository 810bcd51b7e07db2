"""A node without containers: pods that the scheduler gives it come up as their image is told to."""

from __future__ import annotations

import threading
import urllib.error
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from tests.engine.kubernetes.control_plane import ControlPlane

PAUSE_SECONDS = 0.1
READY, CRASHES, STARTS = "ready", "crashes", "starts"
_MERGE = "application/strategic-merge-patch+json"


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class ScriptedNode:
    """A node; use it as a context manager.

    Args:
        behaviour: ready, crashes or starts (and is never ready), by image; else ready.
        gpus: how many it has; with some it belongs to the pool ``gpu`` and is tainted as there.
    """

    def __init__(
        self,
        plane: ControlPlane,
        name: str,
        behaviour: Mapping[str, str] | None = None,
        gpus: int = 0,
    ) -> None:
        self._plane = plane
        self._name = name
        self._gpus = gpus
        self.behaviour = dict(behaviour or {})
        self._known: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> ScriptedNode:
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
        self._patch(
            f"/api/v1/nodes/{self._name}/status",
            {"status": {"capacity": size, "allocatable": size, "conditions": [ready]}},
        )
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

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_SECONDS):
            query = f"fieldSelector=spec.nodeName%3D{self._name}"
            for pod in self._plane.ask("GET", f"/api/v1/pods?{query}")["items"]:
                try:
                    self._look_at(pod)
                except urllib.error.HTTPError as error:
                    if error.code not in (404, 409):
                        raise

    def _look_at(self, pod: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        if "deletionTimestamp" in metadata:
            self._plane.ask("DELETE", path, {"gracePeriodSeconds": 0})
            return
        container = pod["spec"]["containers"][0]
        behaviour = self.behaviour.get(container["image"], READY)
        if self._known.get(metadata["uid"]) == behaviour:
            return
        self._known[metadata["uid"]] = behaviour
        self._patch(f"{path}/status", {"status": self._status(container, behaviour)})

    def _status(self, container: Mapping[str, Any], behaviour: str) -> dict[str, Any]:
        good = behaviour == READY
        ended = {"exitCode": 1, "reason": "Error", "finishedAt": now(), "startedAt": now()}
        state: dict[str, Any] = {"running": {"startedAt": now()}}
        if behaviour == CRASHES:
            message = f"back-off restarting failed container {container['name']}"
            state = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        shown = {
            "name": container["name"],
            "image": container["image"],
            "imageID": container["image"],
            "ready": good,
            "started": good,
            "restartCount": 5 if behaviour == CRASHES else 0,
            "state": state,
            **({"lastState": {"terminated": ended}} if behaviour == CRASHES else {}),
        }
        conditions = [
            {"type": kind, "status": "True" if good else "False", "lastTransitionTime": now()}
            for kind in ("Ready", "ContainersReady")
        ]
        address = f"10.1.0.{len(self._known) % 250 + 1}"
        return {
            "phase": "Running",
            "conditions": conditions,
            "containerStatuses": [shown],
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": now(),
        }

    def _patch(self, path: str, body: Mapping[str, Any]) -> None:
        self._plane.ask("PATCH", path, body, _MERGE)
