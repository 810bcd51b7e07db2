"""The container groups that run: begun, ended, reachable, busy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from ..arm import ids
from ..arm.azure import Azure
from ..arm.errors import ArmError
from ..arm.store import Resource
from ..dockerrun import DockerRun
from . import aci_access, aci_document, networks
from .aci_container import Surroundings
from .aci_group import Group
from .aci_pace import Pace
from .storage import may_mount

SENT = "sent"
"""Where a group's document, with its secrets, lies in its hidden values."""
Work = Callable[[], Awaitable[None]]


class Fleet:
    """The running side of the store's container groups.

    Attributes:
        docker: where they run.
        pace: how fast time goes for them.
    """

    def __init__(self, azure: Azure) -> None:
        self._azure = azure
        self._groups: dict[str, Group] = {}
        self._beside: set[asyncio.Task[None]] = set()
        self.docker = DockerRun(azure.settings.run_id)
        self.pace = Pace()

    def group(self, resource: Resource) -> Group | None:
        """What runs for a group; None before it ever ran."""
        return self._groups.get(ids.key(resource.id))

    def state(self, resource: Resource) -> str:
        """The group's state as in its instance view."""
        group = self.group(resource)
        return group.state if group else ""

    def shown(self, resource: Resource) -> dict[str, Any]:
        """What a GET answers: the resource with its instance view."""
        shown = resource.shown()
        if group := self.group(resource):
            group.show_in(shown["properties"])
        return shown

    def require_idle(self, resource: Resource) -> None:
        """Refuse a change of a group while another one goes on.

        Raises:
            ArmError: 409 ContainerGroupTransitioning.
        """
        group = self.group(resource)
        injected = self._azure.faults.take("aci.transitioning", resource.id)
        if injected or (group and group.busy):
            raise ArmError(
                409,
                "ContainerGroupTransitioning",
                f"The container group '{resource.name}' is still transitioning, please retry "
                "later.",
            )

    def starting(self, resource: Resource, replaced: Resource | None = None) -> Work:
        """The work of ending what ran for a group and running what its document says now."""
        old = self.group(resource)
        group = Group(resource.id, resource.hidden[SENT], self._surroundings(resource))
        group.busy = "starting"
        self._groups[ids.key(resource.id)] = group
        resource.properties["provisioningState"] = "Pending"
        self._withdraw(replaced or resource)

        async def work() -> None:
            if old:
                await old.end()
            resource.properties["provisioningState"] = "Creating"
            try:
                aci_document.check_gpu(resource)
                group.begin()
                self._publish(resource, group)
                await group.provisioned()
            except ArmError:
                resource.properties["provisioningState"] = "Failed"
                raise
            else:
                resource.properties["provisioningState"] = "Succeeded"
            finally:
                group.busy = ""

        return work

    def stopping(self, group: Group) -> Work:
        """The work of ending a group's containers and keeping the group."""
        group.busy = "stopping"

        async def work() -> None:
            await group.end()
            group.stopped, group.busy = True, ""

        return work

    async def end(self, resource: Resource) -> None:
        """End a group for good."""
        self._withdraw(resource)
        if group := self._groups.pop(ids.key(resource.id), None):
            await group.end()

    def beside(self, work: Work) -> None:
        """Do work whose end nobody waits for; the group shows how it went."""

        async def quietly() -> None:
            with contextlib.suppress(ArmError):
                await work()

        task = asyncio.create_task(quietly())
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def clear(self) -> None:
        """End what goes on beside; the groups are ended one by one."""
        tasks = list(self._beside)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _surroundings(self, resource: Resource) -> Surroundings:
        pull = aci_access.puller(self._azure, self.docker.engine, resource.hidden[SENT])
        around = Surroundings(self.docker.engine, self._azure.faults, self.pace, pull, self._share)
        subnet = networks.subnet_of(self._azure, resource.hidden[SENT])
        if subnet is None:
            return around
        prefix = subnet.properties["addressPrefix"]

        async def place() -> tuple[str, str]:
            bridge = await self.docker.network(ids.key(subnet.id), prefix)
            return bridge, str(resource.hidden[networks.PRIVATE_IP])

        return replace(around, place=place)

    async def _share(self, volume: dict[str, Any]) -> str | None:
        if not may_mount(self._azure, volume):
            return None
        return await self.docker.share(volume["storageAccountName"].lower(), volume["shareName"])

    def _publish(self, resource: Resource, group: Group) -> None:
        for host in _hosts(resource):
            self._azure.hosts.add(host, group.answer, group.tunnel)

    def _withdraw(self, resource: Resource) -> None:
        for host in _hosts(resource):
            self._azure.hosts.remove(host)


def _hosts(resource: Resource) -> list[str]:
    address = resource.properties.get("ipAddress") or {}
    if address.get("type") == "Private":
        return []  # nobody outside of its subnet reaches it
    return [address[key] for key in ("fqdn", "ip") if address.get(key)]
