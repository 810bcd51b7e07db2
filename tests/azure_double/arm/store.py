"""The resources that exist. One store for all types; the rules of a type live in its provider."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from . import ids
from .errors import ArmError


@dataclass
class Resource:
    """One resource.

    Attributes:
        id: the identifier as it was first spelled; `GET` answers with it whatever case was asked.
        body: what a `GET` shows besides id, name and type: location, tags, properties, identity …
        hidden: what Azure keeps and never shows: secret values, the document as it was sent,
            handles of running containers. Only `client.AzureDouble.resource` reads it.
    """

    id: str
    body: dict[str, Any]
    hidden: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The last segment of the identifier."""
        return ids.name(self.id)

    @property
    def type(self) -> str:
        """Namespace and type, for example ``Microsoft.App/containerApps``."""
        return ids.type_of(self.id)

    @property
    def properties(self) -> dict[str, Any]:
        """The body's ``properties``, made when missing; changes to it are kept."""
        made: dict[str, Any] = self.body.setdefault("properties", {})
        return made

    def shown(self) -> dict[str, Any]:
        """A copy of what a `GET` answers."""
        return {"id": self.id, "name": self.name, "type": self.type, **copy.deepcopy(self.body)}


class Store:
    """Resources by identifier. Not locked: everything runs in one event loop."""

    def __init__(self) -> None:
        self._resources: dict[str, Resource] = {}

    def get(self, identifier: str) -> Resource | None:
        """The resource itself, not a copy; None when it does not exist."""
        return self._resources.get(ids.key(identifier))

    def require(self, identifier: str) -> Resource:
        """The resource itself.

        Raises:
            ArmError: 404 ResourceNotFound, or ResourceGroupNotFound for a group.
        """
        found = self.get(identifier)
        if found is None:
            raise _not_found(identifier)
        return found

    def put(
        self, identifier: str, body: dict[str, Any], hidden: dict[str, Any] | None = None
    ) -> Resource:
        """Create or replace the whole resource; a replaced one keeps the spelling of its id."""
        existing = self.get(identifier)
        spelled = existing.id if existing else identifier
        made = Resource(spelled, copy.deepcopy(body), hidden if hidden is not None else {})
        self._resources[ids.key(identifier)] = made
        return made

    def delete(self, identifier: str) -> None:
        """Forget the resource and all that lies below it; no error when there is none.

        Providers call `Azure.remove` instead, which also ends what a resource runs.
        """
        for resource in self.below(identifier):
            del self._resources[ids.key(resource.id)]

    def below(self, scope: str) -> list[Resource]:
        """The resource at this scope and everything in it, in order of creation."""
        return [each for each in self._resources.values() if ids.is_below(each.id, scope)]

    def list(self, type_name: str, scope: str = "/") -> list[Resource]:
        """All resources of one type in a scope (a subscription, a group, a parent)."""
        wanted = type_name.lower()
        return [each for each in self.below(scope) if each.type.lower() == wanted]

    def clear(self) -> None:
        """Forget everything."""
        self._resources.clear()


def _not_found(identifier: str) -> ArmError:
    group = ids.group(identifier)
    type_name = ids.type_of(identifier)
    if type_name == "Microsoft.Resources/subscriptions/resourceGroups":
        return ArmError(
            404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found."
        )
    return ArmError(
        404,
        "ResourceNotFound",
        f"The Resource '{type_name}/{ids.name(identifier)}' under resource group '{group}' was "
        "not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    )
