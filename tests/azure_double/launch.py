"""Puts the double together, runs it, and takes it down."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import uuid
from pathlib import Path

from .arm.app import ArmApp
from .arm.azure import Azure
from .control import Control
from .entra import Entra
from .github.api import GitHub
from .github.oidc import Issuer
from .graph import Graph
from .listen import Server, serve
from .providers import classes
from .proxy import Proxy
from .settings import GITHUB_HOST, GRAPH_HOST, LOGIN_HOST, MANAGEMENT_HOST, OIDC_HOST, Settings
from .tls import Authority

READY = "ready.json"
STOP_SECONDS = 20


class Double:
    """One running double."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(folder, uuid.uuid4().hex[:12])
        self.azure = Azure(self.settings, Authority(folder))
        self._github_token = f"ghp_{secrets.token_hex(18)}"
        self._servers: list[Server] = []

    async def start(self) -> None:
        """Listen, and write the ready file with all that a client needs to know."""
        azure = self.azure
        azure.providers.extend(each(azure) for each in classes())
        for provider in azure.providers:
            azure.watch_deletion(provider.types())
        issuer = Issuer()
        github = GitHub(azure, self._github_token)
        azure.hosts.add(MANAGEMENT_HOST, ArmApp(azure, azure.providers))
        azure.hosts.add(LOGIN_HOST, Entra(azure, issuer))
        azure.hosts.add(GRAPH_HOST, Graph(azure))
        azure.hosts.add(GITHUB_HOST, github)
        azure.hosts.add(OIDC_HOST, issuer)
        control = Control(azure, github, issuer)
        await control.begin()
        proxy = Proxy(azure)
        await proxy.server.start()
        self._servers = [proxy.server, await serve(control)]
        self._write_ready()

    async def stop(self) -> None:
        """End everything, also what providers run."""
        for server in self._servers:
            await server.close()
        await self.azure.operations.clear()
        for provider in reversed(self.azure.providers):
            await provider.stop()

    def _write_ready(self) -> None:
        proxy, control = self._servers
        facts = {
            "proxy": f"http://127.0.0.1:{proxy.port}",
            "control": f"http://127.0.0.1:{control.port}",
            "bundle": str(self.azure.tls.bundle),
            "tenant": self.settings.tenant,
            "subscription": self.settings.subscription,
            "run_id": self.settings.run_id,
            "github_token": self._github_token,
        }
        file = self.settings.folder / READY
        part = file.with_suffix(".part")
        part.write_text(json.dumps(facts), encoding="utf-8")
        part.rename(file)


async def run(folder: Path) -> None:
    """Run until standard input ends, which it does also when the parent is killed."""
    double = Double(folder)
    try:
        await double.start()
        await _end_of_input()
    finally:
        async with asyncio.timeout(STOP_SECONDS):
            await double.stop()


async def _end_of_input() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await loop.connect_read_pipe(lambda: protocol, os.fdopen(sys.stdin.fileno(), "rb"))
    await reader.read()
