"""What the containers of a group share: one network, and the volumes that they mount.

Azure docs: "Container groups in Azure Container Instances": containers of a group reach each other
on localhost; a share is mounted when a container starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..engine import ContainerSpec, Engine
from .aci_events import Events

MOUNT_FAILED = "FailedMountAzureFileVolume"
MOUNT_FAILED_MESSAGE = "Failed to mount Azure File Volume."
"""As a group's instance view shows it (MicrosoftDocs/azure-docs#70920)."""
_PAUSE = ("sleep", "infinity")


@dataclass
class Sandbox:
    """The shared part of one group.

    Attributes:
        engine: runs it.
        ports: all ports of all containers.
        labels: of what is made.
        volumes: the group's volumes by name.
        share: gives Docker's volume of an ``azureFile``; None: it cannot be mounted.
        several: the group has more than one container.
        events: what happened to the group.
        docker: the container that has the network; "" while there is none.
        addresses: where the ports are reached from here, if the network is shared.
        ip: the address of the network among Docker's.
    """

    engine: Engine
    ports: tuple[int, ...]
    labels: Mapping[str, str]
    volumes: Mapping[str, dict[str, Any]]
    share: Callable[[dict[str, Any]], Awaitable[str | None]] | None
    several: bool
    events: Events = field(default_factory=Events)
    docker: str = ""
    addresses: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    ip: str = ""
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def binds(self, mounts: Mapping[str, tuple[str, bool]]) -> tuple[str, ...] | None:
        """Docker's notation for mounts; None: one is refused.

        Args:
            mounts: names of volumes, with a path and whether it may only be read.
        """
        found = []
        for name, (path, read_only) in mounts.items():
            mounted = self.volumes[name]["azureFile"]
            volume = await self.share(mounted) if self.share else None
            if volume is None:
                self.events.add(MOUNT_FAILED, MOUNT_FAILED_MESSAGE, warning=True)
                return None
            mode = ":ro" if read_only or mounted.get("readOnly") else ""
            found.append(f"{volume}:{path}{mode}")
        return tuple(found)

    async def join(self, image: str) -> str:
        """The container whose network another one joins; "" where it has its own.

        Args:
            image: has a ``sleep``; the network is held by a container of it.
        """
        if not self.several:
            return ""
        async with self._lock:
            if not self.docker:
                spec = ContainerSpec(
                    image, _PAUSE, cpu=0.1, memory=0.1, ports=self.ports, labels=self.labels
                )
                made = await self.engine.create(spec)
                await self.engine.start(made)
                seen = await self.engine.state(made)
                self.docker, self.addresses, self.ip = made, seen.addresses, seen.ip
        return self.docker

    async def end(self) -> None:
        """Remove the network; the containers in it are gone."""
        if self.docker:
            gone, self.docker, self.addresses, self.ip = self.docker, "", {}, ""
            await self.engine.remove(gone)
