"""Microsoft.ContainerInstance: container groups, which really run on the local Docker engine."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable, Mapping
from typing import Any

from ..arm import ids
from ..arm.azure import Azure, ControlHandler, Provider
from ..arm.call import Answer, Call
from ..arm.errors import ArmError, not_modelled
from ..arm.routes import ResourceType, Route
from ..arm.store import Resource
from . import (
    aci_access,
    aci_document,
    aci_logs,
    aci_names,
    aci_region,
    aci_rules,
    aci_schema,
    networks,
)
from .aci_fleet import SENT, Fleet
from .aci_habits import Habits
from .aci_pace import Pace

NAMESPACE = "Microsoft.ContainerInstance"
VERSIONS = frozenset({"2021-10-01", "2023-05-01", "2024-05-01-preview", "2025-09-01"})


class ContainerInstance(Provider):
    """Container groups."""

    namespace = NAMESPACE

    def __init__(self, azure: Azure) -> None:
        super().__init__(azure)
        self.groups = ResourceType(NAMESPACE, "containerGroups", VERSIONS, on_delete=self._end)
        self.cores = aci_region.DEFAULT_CORES
        self.habits = Habits()
        self._fleet = Fleet(azure)

    def types(self) -> Iterable[ResourceType]:
        """Container groups."""
        return (self.groups,)

    def routes(self) -> Iterable[Route]:
        """What `az container` calls."""
        groups = self.groups
        yield groups.put(self.put)
        yield groups.patch(self.patch)
        yield groups.get(self.show)
        yield groups.delete(self.delete)
        yield groups.list(self.list)
        yield groups.list_all(self.list)
        yield groups.post("start", self.start_group)
        yield groups.post("stop", self.stop_group)
        yield groups.post("restart", self.restart_group)
        yield groups.below("GET", "containers/{container}/logs", self.logs, "containers/logs/read")
        yield groups.in_subscription(
            "GET", "locations/{location}/usages", self.usages, "locations/usages/read"
        )

    def control(self) -> Mapping[str, ControlHandler]:
        """``aci.pace``: set waiting times; ``aci.habits``: what Azure does not document;
        ``aci.cores``: the quota; ``aci.group``: its insides; ``aci.names``: what DNS would say.
        """
        return {
            "aci.pace": self._set_pace,
            "aci.habits": self._set_habits,
            "aci.cores": self._set_cores,
            "aci.group": self._inside,
            "aci.names": self._names,
        }

    async def start(self) -> None:
        """Remove what doubles that were killed have left behind."""
        await self._fleet.docker.begin()

    async def stop(self) -> None:
        """Leave nothing on the Docker engine."""
        await self.reset()
        await self._fleet.docker.end()

    async def reset(self) -> None:
        """End all groups; times and quota are as at the start again."""
        self._fleet.pace.stop_grace = 0
        await self._fleet.clear()
        groups = self.azure.store.list(self.groups.name)
        await asyncio.gather(*(self._end(group) for group in groups))
        await self._fleet.docker.forget_shares()
        await self._fleet.docker.forget_networks()
        self._fleet.pace, self.cores = Pace(), aci_region.DEFAULT_CORES
        self.habits = Habits()

    async def put(self, call: Call) -> Answer:
        """Create a group, or update it: which ends and starts its containers even if the document
        is the same (Azure docs: "Update containers in Azure Container Instances").
        """
        name = call.values["name"]
        existing = self.azure.store.get(call.id)
        call.body = self.habits.undressed(call.body)
        aci_schema.check(call.body)
        aci_access.check_identities(call)
        aci_rules.check(name, call.body)
        aci_logs.check(self.azure, name, call.body["properties"])
        if existing:
            self._fleet.require_idle(existing)
            self.habits.check_update(existing.hidden[SENT])
            state = self._fleet.state(existing)
            aci_document.check_update(name, existing.hidden[SENT], call.body, state)
        aci_region.require_room(call, existing, self.cores)
        private = networks.check_subnet(call)
        host = aci_region.free_host(call)
        aci_access.check_image(self.azure, name, call.body)
        return self._deploy(call, existing, host, private)

    async def patch(self, call: Call) -> Answer:
        """Change the tags: all that Azure lets be changed in part. See `Habits.patch`."""
        resource = call.resource()
        self._fleet.require_idle(resource)
        self.habits.check_patch()
        if set(call.body) - {"tags"}:
            raise not_modelled("a PATCH of anything but the tags of a container group")
        self._changes(resource)
        former = resource.body["tags"] if self.habits.patch == "merged" else {}
        resource.body["tags"] = {**former, **call.body.get("tags", {})}
        resource.hidden[SENT]["tags"] = {**resource.body["tags"]}
        if self.habits.patch == "restarts":
            self._fleet.beside(self._fleet.starting(resource))
        return Answer(200, self.habits.dressed(self._fleet.shown(resource)))

    async def show(self, call: Call) -> Answer:
        """The group with its instance view; see `Habits` for what it may show instead."""
        resource = self.azure.store.get(call.id)
        now = self._fleet.shown(resource) if resource else None
        shown = self.habits.seen(ids.key(call.id), now)
        if shown is None:
            raise ArmError(404, "ResourceNotFound", f"The Resource '{call.id}' was not found.")
        return Answer(200, shown)

    async def list(self, call: Call) -> Answer:
        """The groups without their instance views, as in Azure."""
        found = self.azure.store.list(self.groups.name, call.scope)
        return Answer(200, {"value": [each.shown() for each in found]})

    async def delete(self, call: Call) -> Answer:
        """End the containers and forget the group; the answer is what it was."""
        resource = self.azure.store.get(call.id)
        if resource is None:
            return Answer(204)
        group = self._fleet.group(resource)
        if group and group.busy == "starting" and self.habits.delete_while_creating == "taken":
            group.busy = ""  # a group that does not come up can be deleted
        self._fleet.require_idle(resource)
        if group:
            group.busy = "deleting"
        shown = self._fleet.shown(resource)
        self._changes(resource)
        await self.azure.remove(call.id)
        return Answer(200, shown)

    async def start_group(self, call: Call) -> Answer:
        """Start the containers of a group that was stopped or has ended; its address changes."""
        resource = call.resource()
        self._fleet.require_idle(resource)
        if self._fleet.state(resource) in ("Running", "Pending"):
            return Answer(204)
        run = self._fleet.starting(resource)
        address = resource.properties.get("ipAddress")
        if address and not resource.hidden.get(networks.PRIVATE_IP):
            address["ip"] = aci_names.free_address(self.azure.store.list(self.groups.name))
        return call.long_running(run, status=202, location=resource.body["location"])

    async def restart_group(self, call: Call) -> Answer:
        """End and start the containers. The answer does not wait for it."""
        resource = call.resource()
        self._fleet.require_idle(resource)
        self._fleet.beside(self._fleet.starting(resource))
        return Answer(204)

    async def stop_group(self, call: Call) -> Answer:
        """End the containers and keep the group. The answer does not wait for it."""
        resource = call.resource()
        self._fleet.require_idle(resource)
        if group := self._fleet.group(resource):
            self._fleet.beside(self._fleet.stopping(group))
        return Answer(204)

    async def logs(self, call: Call) -> Answer:
        """What a container has written."""
        resource = self.azure.store.require(call.id.partition("/containers/")[0])
        group = self._fleet.group(resource)
        if group is None:
            raise ArmError(404, "ContainerLogNotAvailable", "The container has no log.")
        tail = call.query.get("tail")
        container = group.container(call.values["container"])
        return Answer(200, {"content": await container.log(int(tail) if tail else None)})

    async def usages(self, call: Call) -> Answer:
        """The quotas of a region and what is used of them."""
        listed = aci_region.usages(self.azure, call.values["location"], self.cores)
        return Answer(200, {"value": listed})

    def _deploy(
        self, call: Call, existing: Resource | None, host: str | None, private: str | None
    ) -> Answer:
        before = self._fleet.shown(existing) if existing else None
        self.habits.changed(ids.key(call.id), before, update=True)
        body = aci_document.shown(call.body, self.azure)
        if address := body["properties"].get("ipAddress"):
            old = (existing.properties.get("ipAddress") or {}).get("ip") if existing else None
            others = self.azure.store.list(self.groups.name)
            address["ip"] = private or old or aci_names.free_address(others)
            if host:
                address["fqdn"] = host
        hidden = {SENT: copy.deepcopy(call.body), networks.PRIVATE_IP: private}
        resource = self.azure.store.put(call.id, body, hidden)
        work = self._fleet.starting(resource, existing)
        return call.long_running(
            work,
            status=200 if existing else 201,
            body=self._fleet.shown(resource),
            location=body["location"],
        )

    async def _end(self, resource: Resource) -> None:
        await self._fleet.end(resource)

    async def _set_pace(self, values: dict[str, Any]) -> Any:
        return self._fleet.pace.change(values)

    async def _set_habits(self, values: dict[str, Any]) -> Any:
        return self.habits.change(values)

    def _changes(self, resource: Resource) -> None:
        self.habits.changed(ids.key(resource.id), self._fleet.shown(resource))

    async def _set_cores(self, values: dict[str, Any]) -> Any:
        self.cores = float(values["limit"])
        return self.cores

    async def _inside(self, values: dict[str, Any]) -> Any:
        """Docker's ids of a group's containers and whether they take traffic."""
        group = self._fleet.group(self.azure.store.require(values["id"]))
        containers = group.containers if group else []
        return [{"name": c.plan.name, "docker": c.docker, "ready": c.ready} for c in containers]

    async def _names(self, _values: dict[str, Any]) -> Any:
        """Addresses among Docker's by host name, of groups with several containers."""
        found = {}
        for resource in self.azure.store.list(self.groups.name):
            group = self._fleet.group(resource)
            host = (resource.properties.get("ipAddress") or {}).get("fqdn")
            if host and group and group.sandbox.ip:
                found[host] = group.sandbox.ip
        return found
