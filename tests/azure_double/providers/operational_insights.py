"""Microsoft.OperationalInsights: Log Analytics workspaces, and the queries saved in them."""

from __future__ import annotations

import base64
import re
import secrets
import uuid
from collections.abc import Iterable
from typing import Any

from ..arm.azure import Azure, Provider
from ..arm.call import Answer, Call, demand, lister, remove, show
from ..arm.errors import ArmError
from ..arm.routes import ResourceType, Route
from ..shape import check
from .monitor_shapes import SAVED_SEARCH

SEARCH_VERSIONS = frozenset({"2020-08-01", "2025-02-01"})
VERSIONS = frozenset(
    {"2020-08-01", "2022-10-01", "2023-09-01", "2025-02-01", "2025-07-01"}
    | {"2021-12-01-preview"}  # what `az containerapp env create` looks for the workspace with
)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]")


class OperationalInsights(Provider):
    """Workspaces and their keys; nothing can be queried."""

    namespace = "Microsoft.OperationalInsights"

    def __init__(self, azure: Azure) -> None:
        super().__init__(azure)
        self.workspaces = ResourceType(self.namespace, "workspaces", VERSIONS)
        self.searches = ResourceType(self.namespace, "workspaces/savedSearches", SEARCH_VERSIONS)

    def types(self) -> Iterable[ResourceType]:
        """Workspaces and the queries in them."""
        return (self.workspaces, self.searches)

    def routes(self) -> Iterable[Route]:
        """The usual calls, and the keys."""
        workspaces = self.workspaces
        yield workspaces.put(self.put)
        yield workspaces.get(show)
        yield workspaces.delete(remove)
        yield workspaces.list(lister(workspaces.name))
        yield workspaces.list_all(lister(workspaces.name))
        yield workspaces.post("sharedKeys", self.show_keys)
        yield workspaces.post("regenerateSharedKey", self.replace_keys)
        searches = self.searches
        yield searches.put(self.put_search)
        yield searches.get(show)
        yield searches.delete(remove)
        yield searches.list(lister(searches.name))

    async def put(self, call: Call) -> Answer:
        """Keeps the customer id and the keys of an existing workspace."""
        if not NAME.fullmatch(call.values["name"]):
            raise ArmError(
                400,
                "InvalidResourceName",
                f"The workspace name '{call.values['name']}' is invalid: 4 to 63 letters, digits "
                "and hyphens.",
            )
        given: dict[str, Any] = call.body.get("properties") or {}
        existing = self.azure.store.get(call.id)
        properties = {
            "sku": given.get("sku") or {"name": "PerGB2018"},
            "retentionInDays": given.get("retentionInDays") or 30,
            "customerId": existing.properties["customerId"] if existing else str(uuid.uuid4()),
            "provisioningState": "Succeeded",
            "publicNetworkAccessForIngestion": "Enabled",
            "publicNetworkAccessForQuery": "Enabled",
        }
        body = {
            "location": demand(call.body, "location"),
            "tags": call.body.get("tags") or {},
            "properties": properties,
        }
        keys = existing.hidden if existing else {"primary": _key(), "secondary": _key()}
        made = self.azure.store.put(call.id, body, keys)
        return Answer(200 if existing else 201, made.shown())

    async def put_search(self, call: Call) -> Answer:
        """An existing one is replaced only by who names its etag, or "*"."""
        check(call.body, SAVED_SEARCH)
        self.azure.store.require(call.id.rpartition("/savedSearches/")[0])
        existing = self.azure.store.get(call.id)
        if existing and call.body.get("etag") not in ("*", existing.body["etag"]):
            raise ArmError(409, "Conflict", "The saved search exists, and the etag does not match.")
        body = {"etag": f'W/"{uuid.uuid4()}"', "properties": call.body["properties"]}
        return Answer(200, self.azure.store.put(call.id, body).shown())

    async def replace_keys(self, call: Call) -> Answer:
        """New keys; the old ones open nothing any more."""
        call.resource().hidden.update(primary=_key(), secondary=_key())
        return await self.show_keys(call)

    async def show_keys(self, call: Call) -> Answer:
        """Both shared keys."""
        keys = call.resource().hidden
        return Answer(
            200, {"primarySharedKey": keys["primary"], "secondarySharedKey": keys["secondary"]}
        )


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(64)).decode()
