"""Microsoft.App: environments, apps and revisions, whose replicas really run on Docker."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from ..arm import ids
from ..arm.azure import Azure, ControlHandler, Provider
from ..arm.call import Answer, Call
from ..arm.errors import ArmError
from ..arm.routes import ResourceType, Route
from ..arm.store import Resource
from ..settings import REGIONS
from . import app_access, app_document, app_rules, app_schema
from .aci_pace import Pace
from .app_environments import NAMESPACE, VERSIONS, Environments, display_name, profile_type
from .app_fleet import SENT, STOPPED, Fleet
from .app_logs import TOKEN, LogStream

READ_ONLY = ("id", "name", "type", "systemData")
BUSY = ("InProgress", "Deleting")
Work = Callable[[], Awaitable[None]]


class App(Provider):
    """Container Apps."""

    namespace = NAMESPACE

    def __init__(self, azure: Azure) -> None:
        super().__init__(azure)
        self.apps = ResourceType(NAMESPACE, "containerApps", VERSIONS, on_delete=self._end)
        self.revision_type = ResourceType(NAMESPACE, "containerApps/revisions", VERSIONS)
        self._environments = Environments(azure)
        self._fleet = Fleet(azure)

    def types(self) -> Iterable[ResourceType]:
        """Environments, apps, revisions."""
        return (self._environments.type, self.apps, self.revision_type)

    def routes(self) -> Iterable[Route]:
        """What `az containerapp` and the deploy package call."""
        yield from self._environments.routes()
        apps, revisions = self.apps, self.revision_type
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
        yield revisions.list(self.list_revisions)
        yield revisions.get(self.show_revision)
        yield revisions.post("activate", self.activate)
        yield revisions.post("deactivate", self.deactivate)
        yield revisions.post("restart", self.restart)
        yield revisions.below("GET", "replicas", self.list_replicas, "replicas/read")
        yield revisions.below("GET", "replicas/{replica}", self.show_replica, "replicas/read")

    def control(self) -> Mapping[str, ControlHandler]:
        """``app.pace``: set waiting times."""
        return {"app.pace": self._set_pace}

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
        self._fleet.world.pace.change(vars(Pace()))

    async def put(self, call: Call) -> Answer:
        """Create an app, or replace it."""
        app_rules.check_name(call.values["name"])
        app_schema.check(call.body, "ContainerApp")
        existing = self.azure.store.get(call.id)
        _require_idle(existing)
        return await self._accept(call, existing, _document(call.body), status=201)

    async def patch(self, call: Call) -> Answer:
        """Change an app in part."""
        app_schema.check(call.body, "ContainerApp", partial=True)
        existing = call.resource()
        _require_idle(existing)
        document = app_document.merged(existing.hidden[SENT], _document(call.body))
        return await self._accept(call, existing, document, status=202)

    async def show(self, call: Call) -> Answer:
        """The app."""
        return Answer(200, self._fleet.shown_app(call.resource()))

    async def list(self, call: Call) -> Answer:
        """The apps of a group or subscription."""
        found = self.azure.store.list(self.apps.name, call.scope)
        return Answer(200, {"value": [self._fleet.shown_app(each) for each in found]})

    async def delete(self, call: Call) -> Answer:
        """End the app and forget it."""
        app = self.azure.store.get(call.id)
        if app is None:
            return Answer(204)
        _require_idle(app)
        app.properties["provisioningState"] = "Deleting"

        async def work() -> None:
            await self.azure.remove(call.id)

        return call.long_running(work, status=202)

    async def start_app(self, call: Call) -> Answer:
        """Start the replicas of all active revisions."""
        app = call.resource()
        _require_idle(app)

        async def work() -> None:
            if app.properties["runningStatus"] == STOPPED:
                for revision in self._fleet.active(app):
                    self._fleet.begin(app, revision)
            app.properties["runningStatus"] = "Running"

        return self._working(call, app, work)

    async def stop_app(self, call: Call) -> Answer:
        """End all replicas and keep the app."""
        app = call.resource()
        _require_idle(app)

        async def work() -> None:
            for revision in self._fleet.active(app):
                await self._fleet.end(revision)
            app.properties["runningStatus"] = STOPPED

        return self._working(call, app, work)

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
        _require_idle(app)
        if not revision.properties["active"]:
            revision.properties["active"] = True
            if app.properties["runningStatus"] != STOPPED:
                self._fleet.begin(app, revision)
            self._publish(app)
        return Answer(200, "Activate succeeded")

    async def deactivate(self, call: Call) -> Answer:
        """End the replicas of a revision, whatever traffic it has: Azure does not ask either."""
        app, revision = self._revision(call)
        _require_idle(app)
        revision.properties["active"] = False
        await self._fleet.end(revision)
        self._publish(app)
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

    async def _accept(
        self, call: Call, existing: Resource | None, document: dict[str, Any], *, status: int
    ) -> Answer:
        """Check the whole app as it would be, and do what has changed."""
        environment = self._environment(call, existing, document)
        properties = document["properties"]
        kind = profile_type(environment, properties.get("workloadProfileName"))
        app_rules.check(call.values["name"], document, kind)
        app_access.check_identities(call, document)
        app_access.check_registries(document)
        name = self._new_revision(call.values["name"], existing, document)
        known = [each.name for each in self._fleet.revisions(existing)] if existing else []
        configuration = properties["configuration"]
        new = [name] if name else []
        app_rules.check_traffic(configuration.get("ingress"), [*known, *new])
        self._check_used_secrets(existing, configuration)
        if name:
            images = app_access.Images(self.azure, self._fleet.world.engine, document)
            await images.check(properties["template"]["containers"][0])
        app = self._store(call, existing, document, environment)
        revision = self._fleet.add(app, name, properties["template"]) if name else None
        self._publish(app)
        answer = self._working(call, app, self._settling(app, revision), status=status)
        if status == 201:
            answer.body = self._fleet.shown_app(app)
        return answer

    def _environment(
        self, call: Call, existing: Resource | None, document: dict[str, Any]
    ) -> Resource:
        properties = document["properties"]
        identifier = properties.get("environmentId") or ""
        call.require_linked(app_access.JOIN, identifier or call.id)
        environment = self.azure.store.get(identifier) if identifier else None
        if environment is None:
            raise app_rules.refuse(
                "ManagedEnvironmentNotFound", f"The environment '{identifier}' was not found."
            )
        if existing and ids.key(existing.properties["environmentId"]) != ids.key(identifier):
            raise app_rules.refuse(
                "ContainerAppEnvironmentImmutable", "The environment of an app cannot be changed."
            )
        region = document["location"].replace(" ", "").lower()
        if display_name(region) != environment.body["location"]:
            raise app_rules.refuse(
                "ContainerAppLocationMismatch",
                f"The location '{region}' is not that of the environment, "
                f"'{environment.body['location']}'.",
            )
        if environment.properties["provisioningState"] != "Succeeded":
            raise ArmError(
                409,
                "ManagedEnvironmentNotReady",
                f"The environment '{environment.name}' is not provisioned yet.",
            )
        return environment

    def _new_revision(
        self, app_name: str, existing: Resource | None, document: dict[str, Any]
    ) -> str:
        """The name of the revision that a document starts; "" when it starts none."""
        template = document["properties"]["template"]
        if existing:
            old = existing.hidden[SENT]["properties"]["template"]
            if app_document.same_template(old, template):
                return ""
        suffix = template.get("revisionSuffix")
        if not suffix:
            number = len(self._fleet.revisions(existing)) if existing else 0
            suffix = "r" + hashlib.sha256(f"{app_name} {number}".encode()).hexdigest()[:6]
        name = f"{app_name}--{suffix}"
        if existing and name in [each.name for each in self._fleet.revisions(existing)]:
            raise app_rules.refuse(
                "InvalidParameterValueInContainerTemplate",
                "The following field(s) are either invalid or missing. Field "
                f"'template.revisionsuffix' is invalid with details: 'Invalid value: \"{suffix}\": "
                f"revision with suffix {suffix} already exists.';.",
            )
        return name

    def _check_used_secrets(self, existing: Resource | None, configuration: dict[str, Any]) -> None:
        """A secret that an active revision names must stay (Azure docs: managing secrets)."""
        known = {each["name"] for each in configuration.get("secrets") or []}
        for revision in self._fleet.active(existing) if existing else []:
            for _, reference in app_rules.references(revision.properties["template"]):
                if reference not in known:
                    raise app_rules.refuse(
                        "ContainerAppSecretInUse",
                        f"The secret '{reference}' is used by the active revision "
                        f"'{revision.name}' and cannot be removed.",
                    )

    def _store(
        self,
        call: Call,
        existing: Resource | None,
        document: dict[str, Any],
        environment: Resource,
    ) -> Resource:
        properties, old = document["properties"], existing.properties if existing else {}
        domain = environment.properties["defaultDomain"]
        region = document["location"].replace(" ", "").lower()
        stream = call.id.replace("/providers/Microsoft.App", "")
        shown = {
            "provisioningState": "InProgress",
            "runningStatus": old.get("runningStatus", "Running"),
            "managedEnvironmentId": environment.id,
            "environmentId": environment.id,
            "workloadProfileName": properties.get("workloadProfileName") or "Consumption",
            "latestRevisionName": old.get("latestRevisionName"),
            "latestReadyRevisionName": old.get("latestReadyRevisionName"),
            "configuration": app_document.shown_configuration(
                properties["configuration"], f"{call.values['name']}.{domain}"
            ),
            "template": app_document.shown_template(properties["template"]),
            "eventStreamEndpoint": f"https://{region}.azurecontainerapps.dev{stream}/eventstream",
        }
        body = {
            "location": display_name(region),
            "tags": document.get("tags") or {},
            "identity": app_document.shown_identity(document, self.azure),
            "properties": shown,
        }
        if existing is None:
            return self.azure.store.put(call.id, body, {SENT: document})
        # The resource itself stays: the front of the app looks at it at every request.
        existing.body.clear()
        existing.body.update(body)
        existing.hidden[SENT] = document
        return existing

    def _settling(self, app: Resource, revision: Resource | None) -> Work:
        async def work() -> None:
            if revision is None:
                return
            if fault := self.azure.faults.take("app.operation", app.id):
                message = fault.message or f"Failed to provision revision '{revision.name}'."
                revision.properties["provisioningState"] = "Failed"
                revision.properties["provisioningError"] = message
                raise ArmError(400, fault.code or "ContainerAppOperationError", message)
            if app.properties["runningStatus"] != STOPPED:
                await self._fleet.begin(app, revision).settled()
            revision.properties["provisioningState"] = "Provisioned"
            await self._retire_others(app, revision)

        return work

    async def _retire_others(self, app: Resource, newest: Resource) -> None:
        """In single mode the newest replaces the others; too many inactive ones are forgotten."""
        configuration = app.properties["configuration"]
        if configuration["activeRevisionsMode"] == "Single":
            for each in self._fleet.active(app):
                if each.name != newest.name:
                    each.properties["active"] = False
                    await self._fleet.end(each)
        inactive = [each for each in self._fleet.revisions(app) if not each.properties["active"]]
        for each in inactive[: max(0, len(inactive) - configuration["maxInactiveRevisions"])]:
            self.azure.store.delete(each.id)

    def _working(self, call: Call, app: Resource, work: Work, *, status: int = 202) -> Answer:
        """A long-running operation on an app; no other may begin meanwhile."""
        app.properties["provisioningState"] = "InProgress"

        async def guarded() -> None:
            try:
                await work()
            except ArmError:
                app.properties["provisioningState"] = "Failed"
                raise
            app.properties["provisioningState"] = "Succeeded"
            self._publish(app)

        region = app.body["location"].replace(" ", "").lower()
        body: dict[str, Any] | None = {} if status == 201 else None
        return call.long_running(guarded, status=status, body=body, location=region)

    def _publish(self, app: Resource) -> None:
        environment = self.azure.store.require(app.properties["environmentId"])
        self._fleet.publish(app, environment.properties["defaultDomain"])

    def _revision(self, call: Call) -> tuple[Resource, Resource]:
        app_id, name = _app_id(call.id), call.values["name"]
        app = self.azure.store.require(app_id)
        revision = self.azure.store.get(f"{app_id}/revisions/{name}")
        if revision is None:
            raise ArmError(
                404, "RevisionNotFound", f"Revision '{name}' of app '{app.name}' was not found."
            )
        return app, revision

    async def _end(self, app: Resource) -> None:
        await self._fleet.end_app(app)

    async def _set_pace(self, values: dict[str, Any]) -> Any:
        return self._fleet.world.pace.change(values)


def _require_idle(app: Resource | None) -> None:
    if app and app.properties.get("provisioningState") in BUSY:
        raise ArmError(
            409,
            "ContainerAppOperationInProgress",
            f"Cannot modify a container app '{app.name}' because there is an active provisioning "
            "operation in progress.",
            headers={"Retry-After": "1"},
        )


def _document(body: dict[str, Any]) -> dict[str, Any]:
    """A body without what Azure ignores in it, under today's names."""
    made = {key: value for key, value in copy.deepcopy(body).items() if key not in READ_ONLY}
    properties = made.setdefault("properties", {})
    if old := properties.pop("managedEnvironmentId", None):
        properties.setdefault("environmentId", old)
    properties.setdefault("configuration", {})
    return made


def _app_id(identifier: str) -> str:
    return identifier.partition("/revisions")[0]
