"""One call to Azure Resource Manager, as a provider's handler sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..settings import MANAGEMENT_HOST
from . import ids
from .access import Principal
from .errors import ArmError
from .operations import Work
from .store import Resource

if TYPE_CHECKING:
    from ..requestlog import Entry
    from .azure import Azure


@dataclass
class Answer:
    """Status, JSON body (None: none) and further headers."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Call:
    """An authenticated and authorised call.

    Attributes:
        azure: everything else there is: store, access, faults, hosts …
        caller: who calls.
        values: the values of the route's template, as spelled in the path.
        id: the path in canonical spelling, without a verb: for ``POST …/groups/x/restart`` the
            identifier of the group ``x``; for a list that of the collection.
        scope: where the caller needed the route's action.
        query: names in lower case.
        api_version: as sent.
        body: the parsed JSON body; {} where there was none. The handler's own copy.
        log: the entry of this call in the request log.
        headers: names in lower case.
    """

    azure: Azure
    caller: Principal
    values: Mapping[str, str]
    id: str
    scope: str
    query: Mapping[str, str]
    api_version: str
    body: dict[str, Any]
    log: Entry
    headers: Mapping[str, str] = field(default_factory=dict)

    def resource(self) -> Resource:
        """The resource that the call is about.

        Raises:
            ArmError: 404.
        """
        return self.azure.store.require(self.id)

    def require_linked(self, linked_action: str, linked: str) -> None:
        """Refuse when the caller lacks an action on another resource that the body names.

        Raises:
            ArmError: 403 LinkedAuthorizationFailed.
        """
        self.azure.access.require_linked(
            self.caller, self.log.action, self.id, linked_action, linked
        )

    def long_running(
        self, work: Work, *, status: int = 202, body: Any | None = None, location: str = ""
    ) -> Answer:
        """Start the work and answer at once, with ``Azure-AsyncOperation`` to poll.

        Args:
            work: what goes on; an `ArmError` that it raises becomes the operation's error.
            status: 201 for a resource that was made, 202 for a deletion or an action.
            body: the resource as it is now (``provisioningState: Creating``), or None.
            location: the region in the operation's address; default: the first one.
        """
        operation = self.azure.operations.start(work)
        namespace = (
            ids.type_of(self.id).partition("/")[0]
            if "/providers/" in self.id
            else "Microsoft.Resources"
        )
        path = self.azure.operation_path(namespace, operation.id, location)
        url = f"https://{MANAGEMENT_HOST}{path}?api-version={self.api_version}"
        seconds = str(self.azure.settings.retry_after_seconds)
        headers = {"Azure-AsyncOperation": url, "Retry-After": seconds}
        if status == 202 and body is None:
            headers["Location"] = f"{url}&location=true"
        return Answer(status, body, headers)


async def show(call: Call) -> Answer:
    """The usual ``GET`` of a resource."""
    return Answer(200, call.resource().shown())


def lister(type_name: str, scope: str = "") -> Any:
    """The usual list: ``types.list(lister(types.name))``; works in groups and subscriptions."""

    async def show_list(call: Call) -> Answer:
        found = call.azure.store.list(type_name, scope or call.scope)
        return Answer(200, {"value": [each.shown() for each in found]})

    return show_list


async def remove(call: Call) -> Answer:
    """The usual ``DELETE``: 200 when it was there, 204 when not."""
    if call.azure.store.get(call.id) is None:
        return Answer(204)
    await call.azure.remove(call.id)
    return Answer(200)


def demand(body: Mapping[str, Any], path: str) -> Any:
    """A value deep in a body, for example ``demand(call.body, "properties.subject")``.

    Raises:
        ArmError: 400, it is missing.
    """
    value: Any = body
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
        if value is None:
            raise ArmError(
                400, "InvalidRequestContent", f"The request content lacks the value '{path}'."
            )
    return value
