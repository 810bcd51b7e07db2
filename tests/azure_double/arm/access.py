"""Who may do what: principals, role definitions and role assignments."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import ids
from .errors import ArmError
from .store import Store

ASSIGNMENTS = "Microsoft.Authorization/roleAssignments"
DEFINITIONS = "Microsoft.Authorization/roleDefinitions"
EFFECTIVE = "effective"
"""Key in `Resource.hidden` of an assignment: when it takes effect, on the monotonic clock."""


@dataclass(frozen=True)
class Principal:
    """A service principal, as Entra knows it.

    Attributes:
        name: for messages and the request log.
        client_id: what it logs in with (a GUID).
        object_id: what roles are assigned to (a GUID, ``principalId`` of an identity).
        secret: its password; "" for a managed identity, which has none.
        resource_id: the user-assigned identity behind it; "" for an application.
        reads_directory: may ask Microsoft Graph, as people may and identities may not.
    """

    name: str
    client_id: str
    object_id: str
    secret: str = ""
    resource_id: str = ""
    reads_directory: bool = False


class Principals:
    """All principals of the tenant."""

    def __init__(self) -> None:
        self._by_client: dict[str, Principal] = {}

    def add(self, principal: Principal) -> Principal:
        """Make it known; it can log in from now on."""
        self._by_client[principal.client_id.lower()] = principal
        return principal

    def remove(self, client_id: str) -> None:
        """Forget it."""
        self._by_client.pop(client_id.lower(), None)

    def by_client(self, client_id: str) -> Principal | None:
        """The one with this client (application) id."""
        return self._by_client.get(client_id.lower())

    def by_object(self, object_id: str) -> Principal | None:
        """The one with this object (principal) id."""
        for principal in self:
            if principal.object_id.lower() == object_id.lower():
                return principal
        return None

    def by_resource(self, resource_id: str) -> Principal | None:
        """The principal of a user-assigned identity."""
        for principal in self:
            if principal.resource_id and ids.key(principal.resource_id) == ids.key(resource_id):
                return principal
        return None

    def __iter__(self) -> Iterator[Principal]:
        return iter(list(self._by_client.values()))

    def clear(self) -> None:
        """Forget all."""
        self._by_client.clear()


class Access:
    """Answers by the assignments that are in the store at that moment; nothing is cached."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def allows(self, object_id: str, action: str, scope: str) -> bool:
        """Whether a principal may do an action, for example
        ``Microsoft.ContainerRegistry/registries/pull/read``, on a resource or scope.
        """
        return any(
            _grants(role, action, "actions", "notActions") for role in self._roles(object_id, scope)
        )

    def allows_data(self, object_id: str, data_action: str, scope: str) -> bool:
        """The same for data actions, which are granted separately: Owner has none of them."""
        return any(
            _grants(role, data_action, "dataActions", "notDataActions")
            for role in self._roles(object_id, scope)
        )

    def require(self, principal: Principal, action: str, scope: str) -> None:
        """Refuse what the principal may not do.

        Raises:
            ArmError: 403 AuthorizationFailed, worded as Azure words it.
        """
        if not self.allows(principal.object_id, action, scope):
            raise ArmError(
                403,
                "AuthorizationFailed",
                f"The client '{principal.client_id}' with object id '{principal.object_id}' does "
                f"not have authorization to perform action '{action}' over scope '{scope}' or the "
                "scope is invalid. If access was recently granted, please refresh your "
                "credentials.",
            )

    def require_linked(
        self, principal: Principal, action: str, scope: str, linked_action: str, linked: str
    ) -> None:
        """Refuse a change that uses another resource on which the principal lacks an action,
        for example attaching a user-assigned identity without ``assign/action`` on it.

        Raises:
            ArmError: 403 LinkedAuthorizationFailed.
        """
        if not self.allows(principal.object_id, linked_action, linked):
            raise ArmError(
                403,
                "LinkedAuthorizationFailed",
                f"The client '{principal.client_id}' with object id '{principal.object_id}' has "
                f"permission to perform action '{action}' on scope '{scope}'; however, it does "
                f"not have permission to perform action(s) '{linked_action}' on the linked "
                f"scope(s) '{linked}' (respectively) or the linked scope(s) are invalid.",
            )

    def _roles(self, object_id: str, scope: str) -> Iterator[dict[str, Any]]:
        for assignment in self._store.list(ASSIGNMENTS):
            properties = assignment.properties
            if properties["principalId"].lower() != object_id.lower():
                continue
            if not ids.is_below(scope, properties["scope"]):
                continue
            if time.monotonic() < assignment.hidden.get(EFFECTIVE, 0):
                continue
            role = self._store.get(properties["roleDefinitionId"])
            if role is not None:
                yield role.properties


def _grants(role: dict[str, Any], action: str, given: str, withheld: str) -> bool:
    wanted = action.lower()
    return any(
        _matches(permission.get(given, []), wanted)
        and not _matches(permission.get(withheld, []), wanted)
        for permission in role["permissions"]
    )


def _matches(patterns: list[str], action: str) -> bool:
    return any(fnmatch.fnmatchcase(action, pattern.lower()) for pattern in patterns)
