"""Microsoft.Insights: Application Insights components, and diagnostic settings."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from ..arm.azure import Azure, Provider
from ..arm.call import Answer, Call, demand, lister, remove, show
from ..arm.errors import ArmError
from ..arm.routes import ResourceType, Route

VERSIONS = frozenset({"2020-02-02"})
SETTINGS = "Microsoft.Insights/diagnosticSettings"
SETTINGS_VERSIONS = frozenset({"2021-05-01-preview"})


class Insights(Provider):
    """Components; what is sent to their connection string goes nowhere."""

    namespace = "Microsoft.Insights"

    def __init__(self, azure: Azure) -> None:
        super().__init__(azure)
        self.components = ResourceType(self.namespace, "components", VERSIONS)

    def types(self) -> Iterable[ResourceType]:
        """Components."""
        return (self.components,)

    def routes(self) -> Iterable[Route]:
        """The usual calls."""
        components = self.components
        yield components.put(self.put)
        yield components.get(show)
        yield components.delete(remove)
        yield components.list(lister(components.name))
        yield components.list_all(lister(components.name))
        one = f"{{scope*}}/providers/{SETTINGS}/{{name}}"
        for method, template, handle, verb in (
            ("PUT", one, self.put_settings, "write"),
            ("GET", one, show, "read"),
            ("DELETE", one, remove, "delete"),
            ("GET", f"{{scope*}}/providers/{SETTINGS}", lister(SETTINGS), "read"),
        ):
            action = f"{SETTINGS}/{verb}"
            versions = SETTINGS_VERSIONS
            yield Route(method, template, handle, action, SETTINGS, versions, scope="{scope*}")

    async def put(self, call: Call) -> Answer:
        """A component belongs to a workspace: those without were retired in 2024."""
        workspace = demand(call.body, "properties.WorkspaceResourceId")
        if self.azure.store.get(workspace) is None:
            raise ArmError(400, "InvalidWorkspace", f"The workspace '{workspace}' does not exist.")
        location, kind = demand(call.body, "location"), demand(call.body, "kind")
        existing = self.azure.store.get(call.id)
        key = existing.properties["InstrumentationKey"] if existing else str(uuid.uuid4())
        properties = {
            "Application_Type": demand(call.body, "properties.Application_Type"),
            "WorkspaceResourceId": workspace,
            "IngestionMode": "LogAnalytics",
            "InstrumentationKey": key,
            "AppId": existing.properties["AppId"] if existing else str(uuid.uuid4()),
            "ConnectionString": f"InstrumentationKey={key};IngestionEndpoint="
            f"https://{location}-0.in.applicationinsights.azure.com/",
            "provisioningState": "Succeeded",
        }
        body = {
            "location": location,
            "kind": kind,
            "tags": call.body.get("tags") or {},
            "properties": properties,
        }
        return Answer(200, self.azure.store.put(call.id, body).shown())

    async def put_settings(self, call: Call) -> Answer:
        """Where a resource sends its logs: both the resource and the workspace must exist."""
        self.azure.store.require(call.scope)
        workspace = demand(call.body, "properties.workspaceId")
        if self.azure.store.get(workspace) is None:
            raise ArmError(404, "ResourceNotFound", f"The workspace '{workspace}' was not found.")
        call.require_linked("Microsoft.OperationalInsights/workspaces/sharedKeys/action", workspace)
        made = self.azure.store.put(call.id, {"properties": call.body["properties"]})
        return Answer(200, made.shown())
