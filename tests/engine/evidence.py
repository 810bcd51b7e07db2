"""Container groups as Azure Resource Manager shows them, for the tests of the diagnosis."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from engine.deploy.azure_ids import ACR_PULL
from engine.deploy.diagnosis.evidence import Evidence, Problem, Readiness, Registry
from engine.deploy.targets.aci.evidence import read_group

IDENTITY = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/iris-shared/providers/"
    "Microsoft.ManagedIdentity/userAssignedIdentities/iris-runtime"
)
IMAGE = "iris.azurecr.io/iris@sha256:" + "ab" * 32
NOW = datetime(2026, 11, 21, 10, 30, tzinfo=UTC)
READY = Readiness("ready")
REGISTRY = Registry("iris", abac=False, roles=frozenset({ACR_PULL}), has_image=True)


def event(name: str, message: str, *, bad: bool = True, count: int = 1) -> dict[str, Any]:
    """An event of the last minutes."""
    return {
        "count": count,
        "firstTimestamp": "2026-11-21T10:24:03Z",
        "lastTimestamp": "2026-11-21T10:29:11Z",
        "name": name,
        "message": message,
        "type": "Warning" if bad else "Normal",
    }


def ended(code: int, detail: str = "Error") -> dict[str, Any]:
    """A state: the container has ended."""
    return {
        "state": "Terminated",
        "startTime": "2026-11-21T10:26:03Z",
        "exitCode": code,
        "finishTime": "2026-11-21T10:27:09Z",
        "detailStatus": detail,
    }


RUNNING: dict[str, Any] = {
    "state": "Running",
    "startTime": "2026-11-21T10:24:00.123Z",
    "detailStatus": "",
}
BACKING_OFF: dict[str, Any] = {
    "state": "Waiting",
    "detailStatus": "CrashLoopBackOff: Back-off restarting failed",
}


def arm_group(
    *,
    current: dict[str, Any] | None = None,
    previous: dict[str, Any] | None = None,
    restarts: int = 0,
    events: list[dict[str, Any]] | None = None,
    provisioning: str = "Succeeded",
    state: str = "Running",
    port: str = "8000",
    probe_port: int = 8000,
    public_port: int = 8000,
    address: str = "Public",
    attached: str = IDENTITY,
    gpu: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The answer to GET containerGroups/iris-staging."""
    view: dict[str, Any] = {
        "restartCount": restarts,
        "currentState": current or RUNNING,
        "events": events or [],
    }
    if previous:
        view["previousState"] = previous
    size: dict[str, Any] = {"cpu": 1.0, "memoryInGB": 1.5} | ({"gpu": gpu} if gpu else {})
    probe = {"httpGet": {"path": "/readyz", "port": probe_port, "scheme": "http"}}
    ports = [{"port": public_port, "protocol": "TCP"}]
    container = {
        "image": IMAGE,
        "ports": ports,
        "environmentVariables": [{"name": "API_KEYS"}, {"name": "PORT", "value": port}],
        "resources": {"requests": size},
        "livenessProbe": probe,
        "readinessProbe": probe,
        "instanceView": view,
    }
    return {
        "name": "iris-staging",
        "location": "westeurope",
        "type": "Microsoft.ContainerInstance/containerGroups",
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {attached: {}}},
        "properties": {
            "provisioningState": provisioning,
            "osType": "Linux",
            "imageRegistryCredentials": [{"server": "iris.azurecr.io", "identity": IDENTITY}],
            "ipAddress": {
                "type": address,
                "ports": ports,
                "fqdn": "iris-staging.westeurope.azurecontainer.io",
            },
            "containers": [{"name": "service", "properties": container}],
            "instanceView": {"state": state, "events": []},
        },
    }


def as_az_shows(group: dict[str, Any]) -> dict[str, Any]:
    """The same group as ``az container show`` prints it: properties one level higher."""
    shown = {**group, **group["properties"]}
    del shown["properties"]
    shown["containers"] = [
        {"name": each["name"], **each["properties"]} for each in shown["containers"]
    ]
    for each in shown["containers"]:
        requests = each["resources"]["requests"]
        requests["memoryInGb"] = requests.pop("memoryInGB")
    return shown


def seen(
    *messages: str,
    code: str = "",
    logs: str = "",
    readiness: Readiness | None = READY,
    registry: Registry | None = REGISTRY,
    target: Any = "aci",
    group: dict[str, Any] | None = None,
    more: dict[str, Any] | None = None,
) -> Evidence:
    """Evidence about a group, healthy where nothing else is said, and about refusals."""
    return Evidence(
        target=target,
        stage="staging",
        deployed=True,
        group=read_group(group or arm_group()),
        logs=tuple(logs.splitlines()),
        problems=tuple(Problem(message, code) for message in messages),
        registry=registry,
        readiness=readiness,
        now=NOW,
        **(more or {}),
    )
