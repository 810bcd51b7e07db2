"""Revisions of an app and their replicas: shown, activated, deactivated, restarted."""

from __future__ import annotations

from collections.abc import Iterable

from ..arm.azure import Azure
from ..arm.call import Answer, Call
from ..arm.errors import ArmError
from ..arm.routes import ResourceType, Route
from ..arm.store import Resource
from .app_changes import Changes, require_idle
from .app_environments import NAMESPACE, VERSIONS
from .app_fleet import STOPPED, Fleet


class Revisions:
    """The calls on revisions."""

    def __init__(self, azure: Azure, fleet: Fleet, changes: Changes) -> None:
        self.azure = azure
        self.type = ResourceType(NAMESPACE, "containerApps/revisions", VERSIONS)
        self._fleet = fleet
        self._changes = changes

    def routes(self) -> Iterable[Route]:
        """What `az containerapp revision` and `replica` call."""
        yield self.type.list(self.list_revisions)
        yield self.type.get(self.show_revision)
        yield self.type.post("activate", self.activate)
        yield self.type.post("deactivate", self.deactivate)
        yield self.type.post("restart", self.restart)
        yield self.type.below("GET", "replicas", self.list_replicas, "replicas/read")
        yield self.type.below("GET", "replicas/{replica}", self.show_replica, "replicas/read")

    async def list_revisions(self, call: Call) -> Answer:
        """All revisions, inactive ones too."""
        app = self.azure.store.require(_app_id(call.id))
        shown = [self._fleet.shown_revision(app, each) for each in self._fleet.revisions(app)]
        return Answer(200, {"value": shown})

    async def show_revision(self, call: Call) -> Answer:
        """One revision."""
        app, revision = self._revision(call)
        return Answer(200, self._fleet.shown_revision(app, revision))

    async def activate(self, call: Call) -> Answer:
        """Start the replicas of a revision."""
        app, revision = self._revision(call)
        require_idle(app)
        if not revision.properties["active"]:
            revision.properties["active"] = True
            if app.properties["runningStatus"] != STOPPED:
                self._fleet.begin(app, revision)
            self._changes.publish(app)
        return Answer(200, "Activate succeeded")

    async def deactivate(self, call: Call) -> Answer:
        """End the replicas of a revision, whatever traffic it has: Azure does not ask either."""
        app, revision = self._revision(call)
        require_idle(app)
        revision.properties["active"] = False
        await self._fleet.end(revision)
        self._changes.publish(app)
        return Answer(200, "Deactivate succeeded")

    async def restart(self, call: Call) -> Answer:
        """End the replicas of a revision and start others, which see the secrets of now."""
        app, revision = self._revision(call)
        await self._fleet.end(revision)
        self._fleet.begin(app, revision)
        return Answer(200, "Restart succeeded")

    async def list_replicas(self, call: Call) -> Answer:
        """The replicas of a revision."""
        _, revision = self._revision(call)
        running = self._fleet.running(revision)
        replicas = running.replicas if running else []
        shown = [self._fleet.shown_replica(revision, each) for each in replicas]
        return Answer(200, {"value": shown})

    async def show_replica(self, call: Call) -> Answer:
        """One replica."""
        _, revision = self._revision(call)
        running = self._fleet.running(revision)
        for each in running.replicas if running else []:
            if each.name == call.values["replica"]:
                return Answer(200, self._fleet.shown_replica(revision, each))
        raise ArmError(404, "ReplicaNotFound", "There is no such replica.")

    def _revision(self, call: Call) -> tuple[Resource, Resource]:
        app_id, name = _app_id(call.id), call.values["name"]
        app = self.azure.store.require(app_id)
        revision = self.azure.store.get(f"{app_id}/revisions/{name}")
        if revision is None:
            raise ArmError(
                404, "RevisionNotFound", f"Revision '{name}' of app '{app.name}' was not found."
            )
        return app, revision


def _app_id(identifier: str) -> str:
    return identifier.partition("/revisions")[0]
