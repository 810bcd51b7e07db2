"""The state of the cloud, and what a resource provider is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from ..faults import Faults
from ..hosts import Hosts
from ..requestlog import RequestLog
from ..settings import REGIONS, Settings
from ..tls import Authority
from . import ids
from .access import Access, Principals
from .operations import Operations
from .routes import OnDelete, ResourceType, Route
from .store import Store
from .tokens import Tokens

ControlHandler = Callable[[dict[str, Any]], Awaitable[Any]]


class Azure:
    """Everything that the providers share.

    Attributes:
        settings: tenant, subscription, folder of the run.
        store: the resources.
        principals: who can log in.
        access: who may do what.
        operations: long-running work.
        faults: planned failures; providers ask `faults.take(point, subject)`.
        habits: how answers are spelled, see `azure_double.habits`.
        hosts: host names of container groups and apps.
        log: the request log.
        tokens: makes and checks access tokens.
        tls: the certificate authority that clients of the double trust.
        providers: all resource providers, once they are made.
        elsewhere: records of DNS that no zone here has: names, types, values.
    """

    def __init__(self, settings: Settings, tls: Authority) -> None:
        self.settings = settings
        self.tls = tls
        self.store = Store()
        self.principals = Principals()
        self.access = Access(self.store)
        self.operations = Operations()
        self.faults = Faults()
        self.habits: list[str] = []
        self.hosts = Hosts()
        self.log = RequestLog()
        self.tokens = Tokens(self.principals, settings.tenant)
        self.providers: list[Provider] = []
        self.elsewhere: dict[str, dict[str, list[str]]] = {}
        self._on_delete: dict[str, OnDelete] = {}

    def watch_deletion(self, types: Iterable[ResourceType]) -> None:
        """Remember what must happen before resources of these types go."""
        for each in types:
            if each.on_delete:
                self._on_delete[each.name.lower()] = each.on_delete

    async def remove(self, identifier: str) -> None:
        """Delete a resource and all below it, the last made first, each with its `on_delete`."""
        for resource in reversed(self.store.below(identifier)):
            if hook := self._on_delete.get(resource.type.lower()):
                await hook(resource)
            self.store.delete(resource.id)

    def operation_path(self, namespace: str, operation: str, location: str = "") -> str:
        """Where an operation is polled."""
        region = location or REGIONS[0]
        return (
            f"{self.settings.subscription_id}/providers/{namespace}"
            f"/locations/{region}/operationStatuses/{operation}"
        )

    def canonical_group(self, identifier: str) -> str:
        """The identifier with the resource group's name spelled as when the group was made."""
        name = ids.group(identifier)
        if not name:
            return identifier
        start = f"{self.settings.subscription_id}/resourceGroups/"
        found = self.store.get(start + name)
        return start + found.name + identifier[len(start) + len(name) :] if found else identifier


class Provider:
    """A resource provider; subclass it, and add the class to `providers.ALL`.

    Attributes:
        namespace: for example ``Microsoft.ContainerInstance``.
        registration_free: usable without ``az provider register``.
    """

    namespace = ""
    registration_free = False

    def __init__(self, azure: Azure) -> None:
        self.azure = azure

    def types(self) -> Iterable[ResourceType]:
        """The resource types, also those that only other namespaces' routes make."""
        return ()

    def routes(self) -> Iterable[Route]:
        """The calls that it answers; anything else is answered 501."""
        return ()

    def control(self) -> Mapping[str, ControlHandler]:
        """Questions that only tests ask, by name: ``client.ask("name", {...})``."""
        return {}

    async def start(self) -> None:
        """Called once, in the running loop, before the first request; default resources go in
        here, and again after `reset`.
        """

    async def reset(self) -> None:
        """Put away what runs outside the store (containers); the store is cleared afterwards."""

    async def stop(self) -> None:
        """Called once at the end of the run, instead of `reset`."""
        await self.reset()
