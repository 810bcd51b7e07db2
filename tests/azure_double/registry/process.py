"""A docker-registry process: the images of one registry, behind ACR's own front."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
from pathlib import Path

from .storage import IMAGES, Storage

PROGRAMS = ("docker-registry", "registry")
"""Debian's name of the program, and that of the project itself."""
START_SECONDS = 10.0
STOP_SECONDS = 5.0


class RegistryMissing(Exception):
    """There is no docker-registry program, or it does not start."""


class Process:
    """One process with its own folder, listening on 127.0.0.1 without any access control.

    Attributes:
        port: where it listens.
        storage: its files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child: asyncio.subprocess.Process | None = None
        self.port = 0
        self.storage = Storage(folder / IMAGES)

    async def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            RegistryMissing: see there.
        """
        program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
        if program is None:
            raise RegistryMissing("install docker-registry: the Azure double puts images into it")
        self._folder.mkdir(parents=True, exist_ok=True)
        self.port = _free_port()
        configuration = self._folder / "registry.json"
        configuration.write_text(json.dumps(self._configuration()))
        log = (self._folder / "registry.log").open("wb")
        self._child = await asyncio.create_subprocess_exec(
            *_dies_with_us(),
            program,
            "serve",
            str(configuration),
            stdout=log,
            stderr=log,
            env=_environment(),
        )
        log.close()
        await self._answers()

    async def stop(self) -> None:
        """End it, by force after a while; its files stay."""
        if self._child is None or self._child.returncode is not None:
            return
        self._child.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._child.wait()
        except TimeoutError:
            self._child.kill()
            await self._child.wait()

    def _configuration(self) -> dict[str, object]:
        return {  # JSON is YAML
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.storage.root)},
                "delete": {"enabled": True},
            },
            "http": {"addr": f"127.0.0.1:{self.port}", "relativeurls": True, "secret": "double"},
        }

    async def _answers(self) -> None:
        for _ in range(int(START_SECONDS / 0.05)):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            await asyncio.sleep(0.05)
        raise RegistryMissing(f"docker-registry did not start; see {self._folder}/registry.log")


def _dies_with_us() -> list[str]:
    """A prefix that ends the registry also when the double is killed; Linux has it."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def _environment() -> dict[str, str]:
    """The registry reads REGISTRY_… variables as configuration: a stranger's have no say here."""
    return {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
