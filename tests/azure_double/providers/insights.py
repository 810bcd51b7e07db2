"""Microsoft.Insights: components, what watches resources, their metrics, diagnostic settings."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from ..arm.azure import Azure, ControlHandler, Provider
from ..arm.call import Answer, Call, demand, lister, remove, show
from ..arm.errors import ArmError
from ..arm.routes import ResourceType, Route
from .monitor_metrics import VERSIONS as METRIC_VERSIONS
from .monitor_metrics import Metrics
from .monitor_resources import Watching

VERSIONS = frozenset({"2020-02-02"})
METRICS = "Microsoft.Insights/metrics"
SETTINGS = "Microsoft.Insights/diagnosticSettings"
SETTINGS_VERSIONS = frozenset({"2021-05-01-preview"})


class Insights(Provider):
    """Components; what is sent to their connection string goes nowhere."""

    namespace = "Microsoft.Insights"

    def __init__(self, azure: Azure) -> None:
        super().__init__(azure)
        self.components = ResourceType(self.namespace, "components", VERSIONS)
        self.watching = Watching(azure)
        self.metrics = Metrics(azure)

    def types(self) -> Iterable[ResourceType]:
        """Components, and what watches resources."""
        return (self.components, *self.watching.types())

    def control(self) -> Mapping[str, ControlHandler]:
        """``insights.metrics``: what metrics say, by their names."""
        return {"insights.metrics": self._set_metrics}

    async def reset(self) -> None:
        """No metric says anything any more."""
        self.metrics.values.clear()

    def routes(self) -> Iterable[Route]:
        """The usual calls."""
        components = self.components
        yield components.put(self.put)
        yield components.get(show)
        yield components.delete(remove)
        yield components.list(lister(components.name))
        yield components.list_all(lister(components.name))
        yield from self.watching.routes()
        action = f"{METRICS}/read"
        template = f"{{scope*}}/providers/{METRICS}"
        yield Route(
            *("GET", template, self.metrics.show, action, METRICS, METRIC_VERSIONS),
            scope="{scope*}",
        )
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

    async def _set_metrics(self, values: dict[str, Any]) -> Any:
        self.metrics.values = {name.lower(): float(value) for name, value in values.items()}

    async def put_settings(self, call: Call) -> Answer:
        """Where a resource sends its logs: both the resource and the workspace must exist."""
        self.azure.store.require(call.scope)
        workspace = demand(call.body, "properties.workspaceId")
        if self.azure.store.get(workspace) is None:
            raise ArmError(404, "ResourceNotFound", f"The workspace '{workspace}' was not found.")
        call.require_linked("Microsoft.OperationalInsights/workspaces/sharedKeys/action", workspace)
        made = self.azure.store.put(call.id, {"properties": call.body["properties"]})
        return Answer(200, made.shown())
