"""Apps and their revisions that run: begun, ended, shown, reachable."""

from __future__ import annotations

import asyncio
from typing import Any

from ..arm import ids
from ..arm.azure import Azure
from ..arm.store import Resource
from ..dockerrun import DockerRun
from .aci_events import now
from .aci_pace import Pace
from .app_access import Images
from .app_document import environment_of, shown_template
from .app_environments import storage_id
from .app_ingress import Ingress
from .app_replicas import Replica, RunningRevision, World
from .storage import may_mount

SENT = "sent"
"""Where an app's document, with its secrets, lies in its hidden values."""
APPS = "Microsoft.App/containerApps"
REVISIONS = f"{APPS}/revisions"
STOPPED = "Stopped"


class Fleet:
    """The running side of the store's apps.

    Attributes:
        world: Docker, faults, the pace of time.
        word: the ``runningState`` of revisions whose replicas are ready; "": Running, or alike.
    """

    def __init__(self, azure: Azure) -> None:
        self._azure = azure
        self.word = ""
        self._running: dict[str, RunningRevision] = {}
        self._ingresses: dict[str, Ingress] = {}
        self.docker = DockerRun(azure.settings.run_id)
        self.world = World(self.docker.engine, azure.faults, Pace())

    def revisions(self, app: Resource) -> list[Resource]:
        """All revisions of an app, the oldest first."""
        return self._azure.store.list(REVISIONS, app.id)

    def active(self, app: Resource) -> list[Resource]:
        """Those that run, or would if the app were not stopped."""
        return [each for each in self.revisions(app) if each.properties["active"]]

    def running(self, revision: Resource) -> RunningRevision | None:
        """What runs for a revision; None when nothing does."""
        return self._running.get(ids.key(revision.id))

    def add(self, app: Resource, name: str, template: dict[str, Any]) -> Resource:
        """A new revision; `begin` starts it."""
        properties = {
            "createdTime": now(),
            "template": shown_template(template),
            "active": True,
            "provisioningState": "Provisioning",
            "provisioningError": None,
        }
        made = self._azure.store.put(f"{app.id}/revisions/{name}", {"properties": properties})
        app.properties["latestRevisionName"] = name
        return made

    def begin(self, app: Resource, revision: Resource) -> RunningRevision:
        """Start the replicas of a revision."""
        document = app.hidden[SENT]
        configuration = document["properties"]["configuration"]
        ingress = configuration.get("ingress") or {}
        template = revision.properties["template"]
        running = RunningRevision(
            id=revision.id,
            name=revision.name,
            template=template,
            port=int(ingress.get("targetPort") or 0),
            environment=environment_of(template, configuration.get("secrets") or []),
            pull=Images(self._azure, self.world.engine, document).pull,
            world=self.world,
            volumes=self._volumes(app, template),
            share=self._share,
        )
        self._running[ids.key(revision.id)] = running
        running.begin()
        return running

    def _volumes(self, app: Resource, template: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """What a template mounts, as a container group says it; the storage has the key."""
        found = {}
        for volume in template.get("volumes") or []:
            storage = self._azure.store.require(storage_id(app, volume["storageName"]))
            file = storage.properties["azureFile"] | storage.hidden
            share = {"storageAccountName": file["accountName"], "shareName": file["shareName"]}
            share |= {"storageAccountKey": file["accountKey"]}
            read_only = file["accessMode"] == "ReadOnly"
            found[volume["name"]] = {"azureFile": {**share, "readOnly": read_only}}
        return found

    async def _share(self, volume: dict[str, Any]) -> str | None:
        if not may_mount(self._azure, volume):
            return None
        return await self.docker.share(volume["storageAccountName"].lower(), volume["shareName"])

    async def end(self, revision: Resource) -> None:
        """End the replicas of a revision."""
        if running := self._running.pop(ids.key(revision.id), None):
            await running.end()

    async def end_app(self, app: Resource) -> None:
        """End all that runs for an app, and its address."""
        if ingress := self._ingresses.pop(ids.key(app.id), None):
            ingress.withdraw()
        await asyncio.gather(*(self.end(each) for each in self.revisions(app)))

    def publish(self, app: Resource, domain: str) -> None:
        """Make the app's addresses what its configuration and its revisions say now."""
        found = self._ingresses.get(ids.key(app.id))
        if found is None:
            found = Ingress(app, domain, self._azure.hosts, self._finder(app))
            self._ingresses[ids.key(app.id)] = found
        if app.properties["configuration"].get("ingress"):
            found.publish([each.name for each in self.revisions(app)])
        else:
            found.withdraw()

    def shown_app(self, app: Resource) -> dict[str, Any]:
        """What a GET of an app answers."""
        shown = app.shown()
        properties = shown["properties"]
        name = properties.get("latestRevisionName")
        ready = [
            each.name
            for each in self.active(app)
            if (running := self.running(each)) and running.healthy == "Healthy"
        ]
        if ready:
            app.properties["latestReadyRevisionName"] = ready[-1]
            properties["latestReadyRevisionName"] = ready[-1]
        ingress = self._ingresses.get(ids.key(app.id))
        if ingress and name and properties["configuration"].get("ingress"):
            properties["latestRevisionFqdn"] = ingress.address(name)
        return shown

    def shown_revision(self, app: Resource, revision: Resource) -> dict[str, Any]:
        """What a GET of a revision answers."""
        shown = revision.shown()
        properties = shown["properties"]
        running, ingress = self.running(revision), self._ingresses.get(ids.key(app.id))
        stopped = app.properties.get("runningStatus") == STOPPED
        properties["replicas"] = len(running.replicas) if running else 0
        properties["runningState"] = running.state if running and not stopped else STOPPED
        properties["healthState"] = running.healthy if running else "None"
        if self.word and properties["healthState"] == "Healthy":
            properties["runningState"] = self.word
        properties["trafficWeight"] = ingress.share(revision.name) if ingress else 0
        if ingress and app.properties["configuration"].get("ingress"):
            properties["fqdn"] = ingress.address(revision.name)
        return shown

    def shown_replica(self, revision: Resource, replica: Replica) -> dict[str, Any]:
        """What a GET of a replica answers."""
        container = replica.container
        state = container.state
        app_id = revision.id.rpartition("/revisions/")[0]
        path = app_id.replace("/providers/Microsoft.App", "")
        place = f"{path}/revisions/{revision.name}/replicas/{replica.name}/containers"
        region = self._azure.store.require(app_id).body["location"].replace(" ", "").lower()
        base = f"https://{region}.azurecontainerapps.dev{place}/{container.plan.name}"
        shown = {
            "name": container.plan.name,
            "containerId": f"containerd://{container.docker}",
            "ready": container.ready,
            "started": state.name == "Running",
            "restartCount": container.restarts,
            "runningState": state.name,
            "runningStateDetails": _details(replica),
            "logStreamEndpoint": f"{base}/logstream",
            "execEndpoint": f"{base}/exec",
        }
        running = "Running" if state.name == "Running" else "NotRunning"
        properties = {
            "createdTime": replica.created,
            "runningState": running,
            "runningStateDetails": _details(replica),
            "containers": [shown],
            "initContainers": [],
        }
        return {
            "id": f"{revision.id}/replicas/{replica.name}",
            "name": replica.name,
            "type": f"{REVISIONS}/replicas",
            "properties": properties,
        }

    def _finder(self, app: Resource) -> Any:
        def find(name: str) -> RunningRevision | None:
            return self._running.get(ids.key(f"{app.id}/revisions/{name}"))

        return find


def _details(replica: Replica) -> str:
    """Why a container is not up: what it waits for, or how its last run ended."""
    container = replica.container
    previous = container.previous
    if container.state.name != "Running" and previous and previous.exit_code is not None:
        return f"{container.state.detail} (exit code {previous.exit_code}, {previous.detail})"
    return container.state.detail
