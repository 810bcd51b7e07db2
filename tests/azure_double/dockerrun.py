"""What one run of the double has on the Docker engine, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from .engine import Engine

RUN, OWNER, REGISTRY = "azure-double.run", "azure-double.owner", "azure-double.registry"
STARTED = 19
"""Where the time of the start stands in /proc/PID/stat, counted behind the name."""


class DockerRun:
    """The engine for one run.

    Labelled, empty volumes mark the run on the engine. Whoever starts later finds the marks of
    doubles that were killed, and removes what they left: containers and names of images.

    Attributes:
        engine: puts the run's label on all that it makes.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._shares: set[str] = set()
        self._networks: dict[str, str] = {}
        self._making = asyncio.Lock()
        self.engine = Engine({RUN: run_id})

    async def begin(self) -> None:
        """Clean up after the dead, and leave a mark."""
        for mark in await self.engine.markers({RUN: ""}):
            labels = mark["Labels"]
            if _lives(labels.get(OWNER, "")):
                continue
            await self._remove_containers(labels[RUN])
            await self._remove_networks(labels[RUN])
            if labels.get(REGISTRY):
                await self.engine.forget_images(labels[REGISTRY] + "/")
            await self.engine.unmark(mark["Name"])
        await self._mark("run", {})

    async def end(self) -> None:
        """Remove all that carries the run's label, and the mark."""
        await self._remove_containers(self._run_id)
        await self.forget_shares()
        await self.forget_networks()
        await self.engine.unmark(self._name("run"))

    async def share(self, account: str, share: str) -> str:
        """The volume that is a file share; made when it is first mounted."""
        what = f"{account}-{share}"
        if what not in self._shares:
            await self._mark(what, {})
            self._shares.add(what)
        return self._name(what)

    async def forget_shares(self) -> None:
        """Remove the volumes of all shares; no container may have one any more."""
        for what in self._shares:
            await self.engine.unmark(self._name(what))
        self._shares.clear()

    async def network(self, subnet: str, prefix: str) -> str:
        """The network that is a subnet; made when something is in it for the first time."""
        async with self._making:
            if subnet not in self._networks:
                name = self._name(f"net-{len(self._networks)}")
                await self.engine.make_network(name, prefix)
                self._networks[subnet] = name
            return self._networks[subnet]

    async def forget_networks(self) -> None:
        """Remove all networks; nothing may be in one any more."""
        await self._remove_networks(self._run_id)
        self._networks.clear()

    async def remember_registry(self, login_server: str) -> None:
        """Images will be named after this server; their names go when it does."""
        await self._mark(_port(login_server), {REGISTRY: login_server})

    async def forget_registry(self, login_server: str) -> None:
        """Remove the names of images of a server that is no more."""
        await self.engine.forget_images(login_server + "/")
        await self.engine.unmark(self._name(_port(login_server)))

    async def _mark(self, what: str, labels: dict[str, str]) -> None:
        owner = {RUN: self._run_id, OWNER: _process(os.getpid())}
        await self.engine.mark(self._name(what), {**owner, **labels})

    async def _remove_containers(self, run_id: str) -> None:
        for container in await self.engine.containers({RUN: run_id}):
            await self.engine.remove(container["Id"])

    async def _remove_networks(self, run_id: str) -> None:
        for name in await self.engine.networks({RUN: run_id}):
            await self.engine.remove_network(name)

    def _name(self, what: str) -> str:
        return f"azure-double-{self._run_id}-{what}"


def _port(login_server: str) -> str:
    return login_server.rpartition(":")[2]


def _process(number: int) -> str:
    """A process by its namespace, its number, and its start, because numbers are used again."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return f"{_namespace()}:{number}:"
    return f"{_namespace()}:{number}:{fields[STARTED]}"


def _namespace() -> str:
    """Numbers mean nothing to those who share the engine and not the processes."""
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def _lives(owner: str) -> bool:
    """Whether the owner may live; one in another namespace is left alone."""
    namespace, _, rest = owner.partition(":")
    number = rest.partition(":")[0]
    if namespace != _namespace():
        return True
    if not number.isdecimal():
        return False
    with contextlib.suppress(PermissionError):
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            return False
    return _process(int(number)) == owner
