"""Microsoft.App: environments, apps and revisions, whose replicas really run on Docker."""

from __future__ import annotations

import asyncio
import copy
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ..arm.azure import Azure, ControlHandler, Provider
from ..arm.call import Answer, Call
from ..arm.routes import ResourceType, Route
from ..arm.store import Resource
from ..settings import REGIONS
from . import app_document, app_rules, app_schema
from .aci_pace import Pace
from .app_changes import Changes, document_of, require_idle
from .app_domains import Domains
from .app_environments import NAMESPACE, VERSIONS, Environments
from .app_fleet import SENT, STOPPED, Fleet
from .app_logs import TOKEN, LogStream
from .app_revisions import Revisions


class App(Provider):
    """Container Apps."""

    namespace = NAMESPACE

    def __init__(self, azure: Azure) -> None:
        super().__init__(azure)
        self.apps = ResourceType(NAMESPACE, "containerApps", VERSIONS, on_delete=self._end)
        self._environments = Environments(azure)
        self._fleet = Fleet(azure)
        self._changes = Changes(azure, self._fleet)
        self._revisions = Revisions(azure, self._fleet, self._changes)
        self._domains = Domains(azure, self.apps, self._fleet.world.pace)
        self._stale_seconds = 0.0
        self._seen: dict[str, tuple[float, dict[str, Any]]] = {}

    def types(self) -> Iterable[ResourceType]:
        """Environments, apps, revisions, certificates."""
        more = (self._revisions.type, self._domains.certificates)
        return (self._environments.type, self._environments.storages, self.apps, *more)

    def routes(self) -> Iterable[Route]:
        """What `az containerapp` and the deploy package call."""
        yield from self._environments.routes()
        yield from self._revisions.routes()
        yield from self._domains.routes()
        apps = self.apps
        yield apps.put(self.put)
        yield apps.patch(self.patch)
        yield apps.get(self.show)
        yield apps.delete(self.delete)
        yield apps.list(self.list)
        yield apps.list_all(self.list)
        yield apps.post("start", self.start_app)
        yield apps.post("stop", self.stop_app)
        yield apps.post("listSecrets", self.list_secrets)
        yield apps.post("getAuthToken", self.auth_token)

    def control(self) -> Mapping[str, ControlHandler]:
        """``app.pace``: set waiting times. ``app.habits``: what Azure does not document; ``word``
        is the ``runningState`` of a revision whose replicas are ready (docs: also Processing and
        Degraded), ``stale_seconds`` how long a GET shows an app as before a change.
        """
        return {"app.pace": self._set_pace, "app.habits": self._set_habits}

    async def start(self) -> None:
        """The hosts of the log stream."""
        for region in REGIONS:
            stream = LogStream(self.azure, self._fleet)
            self.azure.hosts.add(f"{region}.azurecontainerapps.dev", stream)

    async def reset(self) -> None:
        """End all apps; times are as at the start again."""
        self._fleet.world.pace.stop_grace = 0
        apps = self.azure.store.list(self.apps.name)
        await asyncio.gather(*(self._end(app) for app in apps))
        await self._fleet.docker.forget_shares()
        self._fleet.world.pace.change(vars(Pace()))
        self._fleet.word, self._stale_seconds = "", 0.0
        self._seen.clear()

    async def put(self, call: Call) -> Answer:
        """Create an app, or replace it."""
        app_rules.check_name(call.values["name"])
        app_schema.check(call.body, "ContainerApp")
        existing = self.azure.store.get(call.id)
        require_idle(existing)
        self._remember(existing)
        return await self._changes.accept(call, existing, document_of(call.body), status=201)

    async def patch(self, call: Call) -> Answer:
        """Change an app in part."""
        app_schema.check(call.body, "ContainerApp", partial=True)
        existing = call.resource()
        require_idle(existing)
        self._remember(existing)
        document = app_document.merged(existing.hidden[SENT], document_of(call.body))
        return await self._changes.accept(call, existing, document, status=202)

    async def show(self, call: Call) -> Answer:
        """The app; for ``stale_seconds`` as it was before the last change."""
        app = call.resource()
        changed, before = self._seen.get(app.id, (float("-inf"), {}))
        stale = time.monotonic() - changed < self._stale_seconds
        return Answer(200, before if stale else self._fleet.shown_app(app))

    async def list(self, call: Call) -> Answer:
        """The apps of a group or subscription."""
        found = self.azure.store.list(self.apps.name, call.scope)
        return Answer(200, {"value": [self._fleet.shown_app(each) for each in found]})

    async def delete(self, call: Call) -> Answer:
        """End the app and forget it."""
        app = self.azure.store.get(call.id)
        if app is None:
            return Answer(204)
        require_idle(app)
        app.properties["provisioningState"] = "Deleting"

        async def work() -> None:
            await self.azure.remove(call.id)

        return call.long_running(work, status=202)

    async def start_app(self, call: Call) -> Answer:
        """Start the replicas of all active revisions."""
        app = call.resource()
        require_idle(app)

        async def work() -> None:
            if app.properties["runningStatus"] == STOPPED:
                for revision in self._fleet.active(app):
                    self._fleet.begin(app, revision)
            app.properties["runningStatus"] = "Running"

        return self._changes.working(call, app, work)

    async def stop_app(self, call: Call) -> Answer:
        """End all replicas and keep the app."""
        app = call.resource()
        require_idle(app)

        async def work() -> None:
            for revision in self._fleet.active(app):
                await self._fleet.end(revision)
            app.properties["runningStatus"] = STOPPED

        return self._changes.working(call, app, work)

    async def list_secrets(self, call: Call) -> Answer:
        """The secrets with their values."""
        app = call.resource()
        configuration = app.hidden[SENT]["properties"]["configuration"]
        return Answer(200, {"value": copy.deepcopy(configuration.get("secrets") or [])})

    async def auth_token(self, call: Call) -> Answer:
        """The token for the log stream."""
        app = call.resource()
        token = app.hidden.setdefault(TOKEN, secrets.token_urlsafe())
        properties = {"token": token, "expires": "2099-01-01T00:00:00Z"}
        shown = {"id": app.id, "name": app.name, "location": app.body["location"]}
        return Answer(200, {**shown, "properties": properties})

    async def _end(self, app: Resource) -> None:
        await self._fleet.end_app(app)

    def _remember(self, app: Resource | None) -> None:
        if app is not None:
            self._seen[app.id] = (time.monotonic(), self._fleet.shown_app(app))

    async def _set_habits(self, values: dict[str, Any]) -> Any:
        self._fleet.word = values.get("word", self._fleet.word)
        self._stale_seconds = values.get("stale_seconds", self._stale_seconds)
        return {"word": self._fleet.word, "stale_seconds": self._stale_seconds}

    async def _set_pace(self, values: dict[str, Any]) -> Any:
        return self._fleet.world.pace.change(values)
