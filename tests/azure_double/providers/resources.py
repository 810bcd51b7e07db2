"""Microsoft.Resources: subscription, resource groups, registration, tags, lists of resources."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ..arm import ids
from ..arm.access import ASSIGNMENTS
from ..arm.admission import REGISTERED
from ..arm.azure import Provider
from ..arm.call import Answer, Call, demand, show
from ..arm.errors import ArmError, not_modelled
from ..arm.routes import IN_GROUP, IN_SUBSCRIPTION, Route
from ..arm.store import Resource
from ..settings import REGIONS, SUBSCRIPTION_NAME
from . import deployments, registration, tags

SUBSCRIPTIONS = "Microsoft.Resources/subscriptions"
GROUPS = f"{SUBSCRIPTIONS}/resourceGroups"
VERSIONS = frozenset(
    {"2016-02-01", "2021-04-01", "2022-09-01", "2022-12-01", "2024-11-01", "2025-04-01"}
)
GROUP_NAME = re.compile(r"[-\w.()]{0,89}[-\w()]")
_FILTER = re.compile(r"(resourceType|resourceGroup|name) eq '([^']*)'")


class Resources(Provider):
    """What exists before anything else does."""

    namespace = "Microsoft.Resources"
    registration_free = True

    def routes(self) -> Iterable[Route]:
        """Subscription, groups, registration, tags, deployments."""
        yield _route("GET", "/subscriptions", self.list_subscriptions, "")
        yield _route("GET", "/tenants", self.list_tenants, "")
        yield _route("GET", IN_SUBSCRIPTION, self.show_subscription, "")
        yield _route("GET", f"{IN_SUBSCRIPTION}/locations", self.list_locations, "")
        groups = f"{IN_SUBSCRIPTION}/resourceGroups"
        yield _route("GET", groups, self.list_groups, "", scope=IN_SUBSCRIPTION, cut=True)
        yield _route("HEAD", IN_GROUP, self.head_group, f"{GROUPS}/read")
        yield _route("GET", IN_GROUP, show, f"{GROUPS}/read")
        yield _route("PUT", IN_GROUP, self.put_group, f"{GROUPS}/write", makes=True)
        yield _route("PATCH", IN_GROUP, self.patch_group, f"{GROUPS}/write")
        yield _route("DELETE", IN_GROUP, self.delete_group, f"{GROUPS}/delete")
        for place in (IN_GROUP, IN_SUBSCRIPTION):
            template = f"{place}/resources"
            yield _route("GET", template, self.list_resources, "", subject=place, cut=True)
        yield from registration.routes()
        yield from tags.routes()
        yield from deployments.routes()

    async def start(self) -> None:
        """The subscription."""
        body = {
            "subscriptionId": self.azure.settings.subscription,
            "tenantId": self.azure.settings.tenant,
            "displayName": SUBSCRIPTION_NAME,
            "state": "Enabled",
            "subscriptionPolicies": {"spendingLimit": "Off", "quotaId": "PayAsYouGo_2014-09-01"},
        }
        self.azure.store.put(self.azure.settings.subscription_id, body, {REGISTERED: {}})

    def _subscription(self) -> Resource:
        return self.azure.store.require(self.azure.settings.subscription_id)

    async def list_subscriptions(self, call: Call) -> Answer:
        """The subscription, for a caller who has any role in it."""
        sees = self._is_visible(call)
        return Answer(200, {"value": [self._subscription().shown()] if sees else []})

    def _is_visible(self, call: Call) -> bool:
        return any(
            each.properties["principalId"] == call.caller.object_id
            for each in self.azure.store.list(ASSIGNMENTS)
        )

    async def list_tenants(self, call: Call) -> Answer:
        """The one tenant."""
        tenant = self.azure.settings.tenant
        return Answer(200, {"value": [{"id": f"/tenants/{tenant}", "tenantId": tenant}]})

    async def show_subscription(self, call: Call) -> Answer:
        """Visible under the same rule as in the list."""
        if not self._is_visible(call):
            self.azure.access.require(call.caller, f"{SUBSCRIPTIONS}/read", call.id)
        return Answer(200, self._subscription().shown())

    async def list_locations(self, call: Call) -> Answer:
        """The regions that the double knows."""
        start = f"{self.azure.settings.subscription_id}/locations"
        found = [{"id": f"{start}/{each}", "name": each, "displayName": each} for each in REGIONS]
        return Answer(200, {"value": found})

    async def list_groups(self, call: Call) -> Answer:
        """All groups; filters are not modelled."""
        if "$filter" in call.query:
            raise not_modelled(f"resource groups with $filter={call.query['$filter']}")
        found = [each.shown() for each in self.azure.store.list(GROUPS)]
        return Answer(200, {"value": found})

    async def head_group(self, call: Call) -> Answer:
        """204 or 404."""
        return Answer(204 if self.azure.store.get(call.id) else 404)

    async def put_group(self, call: Call) -> Answer:
        """Create, or change the tags; the region of a group is fixed."""
        name = call.values["group"]
        if not GROUP_NAME.fullmatch(name):
            raise ArmError(
                400,
                "InvalidResourceGroup",
                f"The provided resource group name '{name}' has "
                "these invalid characters or is too long: 90 letters, digits, '-', '_', '.', "
                "'(' and ')', not '.' at the end.",
            )
        location = demand(call.body, "location")
        existing = self.azure.store.get(call.id)
        if existing and existing.body["location"] != location:
            raise ArmError(
                409,
                "InvalidResourceGroupLocation",
                f"Invalid resource group location "
                f"'{location}'. The Resource group already exists in location "
                f"'{existing.body['location']}'.",
            )
        body = {"location": location, "properties": {"provisioningState": "Succeeded"}}
        if call.body.get("tags"):
            body["tags"] = call.body["tags"]
        made = self.azure.store.put(call.id, body)
        return Answer(200 if existing else 201, made.shown())

    async def patch_group(self, call: Call) -> Answer:
        """Tags."""
        group = call.resource()
        group.body["tags"] = call.body.get("tags", {})
        return Answer(200, group.shown())

    async def delete_group(self, call: Call) -> Answer:
        """Everything in the group goes, the last made first."""
        group = call.resource()
        group.properties["provisioningState"] = "Deleting"

        async def work() -> None:
            await self.azure.remove(call.id)

        return call.long_running(work)

    async def list_resources(self, call: Call) -> Answer:
        """Top-level resources that the caller may read, by type, group or name. Azure leaves out
        the others and refuses nobody: `az acr login --name` depends on it.
        """
        query = call.query.get("$filter", "")
        parts = [each for each in query.split(" and ") if each]
        matches = [_FILTER.fullmatch(each) for each in parts]
        if not all(matches):
            raise not_modelled(f"resources with $filter={query}")
        wanted = {found[1]: found[2].lower() for found in matches if found}
        found = [each for each in self.azure.store.below(call.id) if _is_listed(each, wanted)]
        return Answer(200, {"value": [_summary(each) for each in found]})


def _route(
    method: str,
    template: str,
    handle: Any,
    action: str,
    *,
    makes: bool = False,
    subject: str = "",
    scope: str = "",
    cut: bool = False,
) -> Route:
    kind = GROUPS if "resourceGroups" in template else SUBSCRIPTIONS
    return Route(method, template, handle, action, kind, VERSIONS, makes, subject, scope, cut)


def _is_listed(resource: Resource, wanted: dict[str, str]) -> bool:
    kind = resource.type.lower()
    # A budget belongs to a group without being in it.
    outside = ("microsoft.resources/", "microsoft.authorization/", "microsoft.consumption/")
    if kind.startswith(outside):
        return False
    if kind.count("/") != 1:
        return False
    actual = {
        "resourceType": kind,
        "resourceGroup": ids.group(resource.id).lower(),
        "name": resource.name.lower(),
    }
    return all(actual[key] == value for key, value in wanted.items())


def _summary(resource: Resource) -> dict[str, Any]:
    shown = resource.shown()
    kept = ("id", "name", "type", "location", "tags", "kind", "sku", "identity")
    return {key: shown[key] for key in kept if key in shown}
