"""Changes of an app: checked as a whole, then done, one at a time."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

from ..arm import ids
from ..arm.azure import Azure
from ..arm.call import Answer, Call
from ..arm.errors import ArmError
from ..arm.store import Resource
from . import app_access, app_document, app_domains, app_rules
from .app_environments import display_name, profile_type
from .app_fleet import SENT, STOPPED, Fleet

READ_ONLY = ("id", "name", "type", "systemData")
BUSY = ("InProgress", "Deleting")
Work = Callable[[], Awaitable[None]]


class Changes:
    """What a PUT or PATCH does to an app and its revisions."""

    def __init__(self, azure: Azure, fleet: Fleet) -> None:
        self.azure = azure
        self._fleet = fleet

    async def accept(
        self, call: Call, existing: Resource | None, document: dict[str, Any], *, status: int
    ) -> Answer:
        """Check the whole app as it would be, and do what has changed."""
        environment = self._environment(call, existing, document)
        properties = document["properties"]
        kind = profile_type(environment, properties.get("workloadProfileName"))
        app_rules.check(call.values["name"], document, kind)
        app_rules.check_volumes(environment, self.azure, document)
        app_access.check_identities(call, document)
        app_access.check_registries(document)
        name = self._new_revision(call.values["name"], existing, document)
        known = [each.name for each in self._fleet.revisions(existing)] if existing else []
        configuration = properties["configuration"]
        new = [name] if name else []
        app_rules.check_traffic(configuration.get("ingress"), [*known, *new])
        self._check_used_secrets(existing, configuration)
        app_domains.check(self.azure, existing, environment, configuration.get("ingress"))
        if name:
            images = app_access.Images(self.azure, self._fleet.world.engine, document)
            await images.check(properties["template"]["containers"][0])
            require_idle(self.azure.store.get(call.id))  # the look at the image took a while
        app = self._store(call, existing, document, environment)
        revision = self._fleet.add(app, name, properties["template"]) if name else None
        self.publish(app)
        answer = self.working(call, app, self._settling(app, revision), status=status)
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
            "customDomainVerificationId": app_domains.verification_id(self.azure),
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

    def working(self, call: Call, app: Resource, work: Work, *, status: int = 202) -> Answer:
        """A long-running operation on an app; no other may begin meanwhile."""
        app.properties["provisioningState"] = "InProgress"

        async def guarded() -> None:
            try:
                await work()
            except ArmError:
                app.properties["provisioningState"] = "Failed"
                raise
            app.properties["provisioningState"] = "Succeeded"
            self.publish(app)

        region = app.body["location"].replace(" ", "").lower()
        body: dict[str, Any] | None = {} if status == 201 else None
        return call.long_running(guarded, status=status, body=body, location=region)

    def publish(self, app: Resource) -> None:
        """Make the app's addresses what it says now."""
        environment = self.azure.store.require(app.properties["environmentId"])
        self._fleet.publish(app, environment.properties["defaultDomain"])


def require_idle(app: Resource | None) -> None:
    """Refuse a change while another one goes on.

    Raises:
        ArmError: 409 ContainerAppOperationInProgress.
    """
    if app and app.properties.get("provisioningState") in BUSY:
        raise ArmError(
            409,
            "ContainerAppOperationInProgress",
            f"Cannot modify a container app '{app.name}' because there is an active provisioning "
            "operation in progress.",
            headers={"Retry-After": "1"},
        )


def document_of(body: dict[str, Any]) -> dict[str, Any]:
    """A body without what Azure ignores in it, under today's names."""
    made = {key: value for key, value in copy.deepcopy(body).items() if key not in READ_ONLY}
    properties = made.setdefault("properties", {})
    if old := properties.pop("managedEnvironmentId", None):
        properties.setdefault("environmentId", old)
    properties.setdefault("configuration", {})
    return made
