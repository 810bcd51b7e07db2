"""Microsoft.MachineLearningServices: workspaces and online endpoints, which run on Docker.

The rules are those of Microsoft's pages on managed online endpoints: limits, quotas, safe rollout,
troubleshooting. Not modelled: mirrored traffic, autoscale, private networks.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..arm import ids
from ..arm.azure import Azure, ControlHandler, Provider
from ..arm.call import Answer, Call, lister, show
from ..arm.errors import ArmError
from ..arm.routes import ResourceType, Route
from ..arm.store import Resource
from ..dockerrun import DockerRun
from ..engine import Engine
from ..shape import check
from .aci_pace import Pace
from .app_access import ASSIGN, Images
from .app_replicas import RunningRevision, World
from .ml_scoring import KEY, Scoring, shares

NAMESPACE = "Microsoft.MachineLearningServices"
VERSIONS = frozenset({"2025-12-01"})
QUOTA_CORES = 24
MOST_DEPLOYMENTS, MOST_INSTANCES = 20, 50
MOST_SECONDS = 180
_NAME = re.compile(r"[a-zA-Z](-?[a-zA-Z0-9]){2,31}")
_SIZE = re.compile(r"Standard_[A-Z]+(\d+)a?s?_v\d")
_DURATION = re.compile(r"PT(\d+)S")
_PROBE = {
    "initialDelay": str,
    "period": str,
    "timeout": str,
    "failureThreshold": int,
    "successThreshold": int,
}
_ENDPOINT = {
    "location": str,
    "identity": {"type": str, "userAssignedIdentities": {"*": {}}},
    "tags": {"*": str},
    "properties": {"authMode": str, "publicNetworkAccess?": str, "traffic?": {"*": int}},
}
_DEPLOYMENT = {
    "location": str,
    "sku": {"name": str, "capacity": int},
    "properties": {
        "endpointComputeType": str,
        "instanceType": str,
        "environmentId": str,
        "environmentVariables?": {"*": str},
        "livenessProbe?": _PROBE,
        "readinessProbe?": _PROBE,
        "requestSettings?": {"requestTimeout?": str, "maxConcurrentRequestsPerInstance?": int},
        "scaleSettings?": {"scaleType": str},
        "properties?": {"*": str},
    },
}
_ROUTE = {"path": str, "port": int}
_VERSION = {
    "properties": {
        "image": str,
        "osType": str,
        "inferenceConfig": {
            "livenessRoute": _ROUTE,
            "readinessRoute": _ROUTE,
            "scoringRoute": _ROUTE,
        },
    }
}


class MachineLearning(Provider):
    """Workspaces, versions of environments, endpoints and deployments."""

    namespace = NAMESPACE

    def __init__(self, azure: Azure) -> None:
        super().__init__(azure)
        self.workspaces = ResourceType(NAMESPACE, "workspaces", VERSIONS)
        self.versions = ResourceType(NAMESPACE, "workspaces/environments/versions", VERSIONS)
        self.endpoints = ResourceType(
            NAMESPACE, "workspaces/onlineEndpoints", VERSIONS, on_delete=self._withdraw
        )
        self.deployments = ResourceType(
            NAMESPACE, "workspaces/onlineEndpoints/deployments", VERSIONS, on_delete=self._end
        )
        self.cores = QUOTA_CORES
        self._engine: Engine = DockerRun(azure.settings.run_id).engine
        self._world = World(self._engine, azure.faults, Pace())
        self._running: dict[str, RunningRevision] = {}
        self._scoring = Scoring(azure, self._running)

    def types(self) -> Iterable[ResourceType]:
        """All four."""
        return (self.workspaces, self.versions, self.endpoints, self.deployments)

    def routes(self) -> Iterable[Route]:
        """What `az resource` and the deploy package call."""
        yield self.workspaces.put(self.put_workspace)
        yield self.workspaces.get(show)
        yield self.versions.put(self.put_version)
        yield self.versions.get(show)
        yield self.endpoints.put(self.put_endpoint)
        yield self.endpoints.patch(self.patch_endpoint)
        yield self.endpoints.get(show)
        yield self.endpoints.delete(self.delete)
        yield self.endpoints.post("listKeys", self.list_keys)
        yield self.deployments.put(self.put_deployment)
        yield self.deployments.get(show)
        yield self.deployments.list(lister(self.deployments.name))
        yield self.deployments.delete(self.delete_deployment)
        yield self.deployments.post("getLogs", self.logs)

    def control(self) -> Mapping[str, ControlHandler]:
        """``ml.pace``: set waiting times; ``ml.cores``: the quota."""
        return {"ml.pace": self._set_pace, "ml.cores": self._set_cores}

    async def reset(self) -> None:
        """End all deployments; times and quota are as at the start again."""
        self._world.pace.stop_grace = 0
        await asyncio.gather(*(each.end() for each in self._running.values()))
        self._running.clear()
        self._world.pace.change(vars(Pace()))
        self.cores = QUOTA_CORES

    async def put_workspace(self, call: Call) -> Answer:
        """Make a workspace; what it needs beside it is not looked at."""
        kept = ("location", "tags", "properties")
        sent: dict[str, Any] = {key: call.body[key] for key in kept if key in call.body}
        made = self.azure.store.put(call.id, sent)
        made.properties["provisioningState"] = "Succeeded"
        return Answer(201, made.shown())

    async def put_version(self, call: Call) -> Answer:
        """Make a version of an environment, which never changes."""
        self._require_workspace(call.id)
        check(call.body, _VERSION)
        existing = self.azure.store.get(call.id)
        if existing is not None and existing.properties != call.body["properties"]:
            raise _user_error("Cannot override existing environment version: InferenceConfig")
        return Answer(201, self.azure.store.put(call.id, call.body).shown())

    async def put_endpoint(self, call: Call) -> Answer:
        """Make an endpoint, or change its traffic and tags."""
        self._require_workspace(call.id)
        check(call.body, _ENDPOINT)
        _require_name(call.values["name"])
        for each in call.body["identity"]["userAssignedIdentities"]:
            call.require_linked(ASSIGN, each)
            if self.azure.principals.by_resource(each) is None:
                raise _user_error(f"The identity '{each}' was not found.")
        existing = self.azure.store.get(call.id)
        if existing is not None:
            _require_idle(existing)
            if _identities(existing.body) != _identities(call.body):
                raise _user_error("The identity of an endpoint cannot be changed.")
        traffic = call.body["properties"].get("traffic") or {}
        if sum(traffic.values()) not in (0, 100):
            raise _user_error("The sum of the traffic has to be 0 or 100.")
        for name in traffic:
            made = self.azure.store.get(f"{call.id}/deployments/{name}")
            if made is None or made.properties["provisioningState"] != "Succeeded":
                raise _user_error(f"The deployment '{name}' is not there, or not ready.")
        hidden = existing.hidden if existing else {}
        endpoint = self.azure.store.put(call.id, call.body, hidden)
        endpoint.properties["scoringUri"] = f"https://{self._scoring.publish(endpoint)}/"
        endpoint.properties["provisioningState"] = "Updating" if existing else "Creating"
        shown = endpoint.shown()
        return call.long_running(_succeed(endpoint), status=200 if existing else 201, body=shown)

    async def patch_endpoint(self, call: Call) -> Answer:
        """Change the tags: those that are not named stay."""
        check(call.body, {"tags": {"*": str}})
        endpoint = call.resource()
        _require_idle(endpoint)
        endpoint.body["tags"] = {**endpoint.body["tags"], **call.body["tags"]}
        return Answer(200, endpoint.shown())

    async def delete(self, call: Call) -> Answer:
        """Delete an endpoint with its deployments."""
        endpoint = self.azure.store.get(call.id)
        if endpoint is None:
            return Answer(204)
        endpoint.properties["provisioningState"] = "Deleting"

        async def work() -> None:
            await self.azure.remove(call.id)

        return call.long_running(work, status=202)

    async def list_keys(self, call: Call) -> Answer:
        """The keys of an endpoint."""
        key = call.resource().hidden.setdefault(KEY, f"key-of-{call.values['name']}")
        return Answer(200, {"primaryKey": key, "secondaryKey": f"second-{key}"})

    async def put_deployment(self, call: Call) -> Answer:
        """Make a deployment: what runs is seen only when it is made, or failed."""
        endpoint = self.azure.store.require(_endpoint_id(call.id))
        check(call.body, _DEPLOYMENT)
        _require_name(call.values["name"])
        _require_idle(endpoint)
        self._require_room(call)
        properties = call.body["properties"]
        version = self.azure.store.get(properties["environmentId"])
        if version is None:
            raise _user_error(f"The environment '{properties['environmentId']}' was not found.")
        timeout = _seconds((properties.get("requestSettings") or {}).get("requestTimeout", "PT5S"))
        if timeout > MOST_SECONDS:
            raise _user_error(f"The request timeout has to be at most {MOST_SECONDS} seconds.")
        if running := self._running.pop(ids.key(call.id), None):
            await running.end()
        made = self.azure.store.put(call.id, call.body)
        made.properties["provisioningState"] = "Creating"
        made.body["systemData"] = {"createdAt": "2026-11-30T00:00:00Z"}

        async def work() -> None:
            try:
                await self._start(endpoint, made, version)
            except BaseException:
                made.properties["provisioningState"] = "Failed"
                raise
            made.properties["provisioningState"] = "Succeeded"

        return call.long_running(work, status=201, body=made.shown())

    async def delete_deployment(self, call: Call) -> Answer:
        """Delete a deployment that has no traffic."""
        if self.azure.store.get(call.id) is None:
            return Answer(204)
        if call.values["name"] in shares(self.azure.store.require(_endpoint_id(call.id))):
            raise _user_error("A deployment that has traffic cannot be deleted.")

        async def work() -> None:
            await self.azure.remove(call.id)

        return call.long_running(work, status=202)

    async def logs(self, call: Call) -> Answer:
        """The newest lines of a deployment's container."""
        check(call.body, {"containerType?": str, "tail?": int})
        call.resource()
        running = self._running.get(ids.key(call.id))
        found = running.replicas[0].container if running and running.replicas else None
        storage = call.body.get("containerType") == "StorageInitializer"
        text = await found.log(call.body.get("tail")) if found and not storage else ""
        return Answer(200, {"content": text})

    async def _start(self, endpoint: Resource, deployment: Resource, version: Resource) -> None:
        (identity,) = endpoint.body["identity"]["userAssignedIdentities"]
        image = version.properties["image"]
        registries = [{"server": image.partition("/")[0], "identity": identity}]
        document = {"properties": {"configuration": {"registries": registries}}}
        running = RunningRevision(
            id=deployment.id,
            name=deployment.name,
            template=_template(deployment, version),
            port=version.properties["inferenceConfig"]["scoringRoute"]["port"],
            environment=deployment.properties.get("environmentVariables") or {},
            pull=Images(self.azure, self._engine, document).pull,
            world=self._world,
        )
        self._running[ids.key(deployment.id)] = running
        running.begin()
        async with asyncio.timeout(self._world.pace.provisioning * 3):
            while running.healthy != "Healthy":
                if running.state == "Failed":
                    raise ArmError(
                        400,
                        "ResourceNotReady",
                        "User container has crashed or terminated.",
                    )
                await asyncio.sleep(self._world.pace.poll)

    def _require_workspace(self, identifier: str) -> None:
        workspace = re.sub(r"(/workspaces/[^/]+)/.*", r"\1", identifier)
        self.azure.store.require(workspace)

    def _require_room(self, call: Call) -> None:
        """Azure reserves a fifth more instances than are asked for."""
        capacity = call.body["sku"]["capacity"]
        if not 1 <= capacity <= MOST_INSTANCES:
            raise _user_error(f"The instance count has to be from 1 to {MOST_INSTANCES}.")
        listed = self.azure.store.list(self.deployments.name, _endpoint_id(call.id))
        others = [each for each in listed if ids.key(each.id) != ids.key(call.id)]
        if len(others) >= MOST_DEPLOYMENTS:
            raise _user_error(f"An endpoint has at most {MOST_DEPLOYMENTS} deployments.")
        used = sum(_cores(each.body) for each in self.azure.store.list(self.deployments.name))
        if used + _cores(call.body) > self.cores:
            raise ArmError(
                400,
                "OutOfQuota",
                f"Not enough quota available for {call.body['properties']['instanceType']}: "
                f"{used} of {self.cores} cores are used, and {_cores(call.body)} more are needed.",
            )

    async def _end(self, deployment: Resource) -> None:
        if running := self._running.pop(ids.key(deployment.id), None):
            await running.end()

    async def _withdraw(self, endpoint: Resource) -> None:
        self._scoring.withdraw(endpoint)

    async def _set_pace(self, values: dict[str, Any]) -> Any:
        return self._world.pace.change(values)

    async def _set_cores(self, values: dict[str, Any]) -> Any:
        self.cores = values.get("cores", self.cores)
        return {"cores": self.cores}


def _template(deployment: Resource, version: Resource) -> dict[str, Any]:
    """As of a revision of an app, which runs the same way."""
    properties, config = deployment.properties, version.properties["inferenceConfig"]
    probes = [
        {
            "type": kind,
            "httpGet": {**config[route], "scheme": "HTTP"},
            "initialDelaySeconds": _seconds(given["initialDelay"]),
            "periodSeconds": _seconds(given["period"]),
            "timeoutSeconds": _seconds(given["timeout"]),
            "failureThreshold": given["failureThreshold"],
        }
        for kind, route in (("Liveness", "livenessRoute"), ("Readiness", "readinessRoute"))
        if (given := properties.get(f"{kind.lower()}Probe"))
    ]
    container = {
        "name": "inference-server",
        "image": version.properties["image"],
        "resources": {"cpu": 1, "memory": "1Gi"},
        "probes": probes,
    }
    return {
        "containers": [container],
        "scale": {"minReplicas": deployment.body["sku"]["capacity"]},
    }


def _cores(deployment: Mapping[str, Any]) -> int:
    found = _SIZE.fullmatch(deployment["properties"]["instanceType"])
    if found is None:
        raise _user_error("The instance type is not supported by managed online endpoints.")
    instances: int = math.ceil(1.2 * deployment["sku"]["capacity"])
    return instances * int(found[1])


def _seconds(duration: str) -> int:
    found = _DURATION.fullmatch(duration)
    if found is None:
        raise _user_error(f"'{duration}' is not a duration.")
    return int(found[1])


def _endpoint_id(identifier: str) -> str:
    return identifier.rpartition("/deployments/")[0]


def _identities(body: Mapping[str, Any]) -> set[str]:
    return {ids.key(each) for each in body["identity"]["userAssignedIdentities"]}


def _require_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise _user_error(f"The name '{name}' is not valid.")


def _require_idle(endpoint: Resource) -> None:
    if endpoint.properties["provisioningState"] not in ("Succeeded", "Failed"):
        raise ArmError(409, "Conflict", "There is already an operation in progress, retry later.")


def _user_error(message: str) -> ArmError:
    return ArmError(400, "UserError", message)


def _succeed(endpoint: Resource) -> Any:
    async def work() -> None:
        endpoint.properties["provisioningState"] = "Succeeded"

    return work
