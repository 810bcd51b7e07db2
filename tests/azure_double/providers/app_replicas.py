"""A revision that runs: its replicas on Docker, from zero to the least that it wants.

Not modelled: more replicas under load, and startup probes, which are checked and not run.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from ..engine import ContainerSpec, Engine
from ..faults import Faults
from ..forward import forward
from ..hosts import Unreachable
from ..wire import Request, Response, text_response
from .aci_container import Container, Plan, Surroundings
from .aci_events import Events, now
from .aci_pace import Pace
from .aci_sandbox import Sandbox

LABEL = "azure-double.revision"
COOLDOWN_SECONDS = 300
"""Without a request for so long, the last replica of a revision that may scale to zero ends."""
ACTIVATION_SECONDS = 60.0
CRASHES = 3
MOST_REPLICAS = 3
"""No revision gets more here, whatever it asks for: the machine is small."""


@dataclass(frozen=True)
class World:
    """What all revisions need around them."""

    engine: Engine
    faults: Faults
    pace: Pace


@dataclass
class Replica:
    """One running copy."""

    name: str
    created: str
    container: Container


@dataclass
class RunningRevision:
    """The running side of one revision; the store has the other.

    Attributes:
        id: of the revision's resource; faults are asked for with it.
        name: ``<app>--<suffix>``.
        template: as Azure keeps it.
        port: where its container listens; 0 without an ingress.
        environment: variables of its container, the values of secrets in place.
        pull: fetches its image.
        volumes: what it mounts, as a container group says it, by name.
        share: gives Docker's volume of one of them; None: it cannot be mounted.
    """

    id: str
    name: str
    template: dict[str, Any]
    port: int
    environment: dict[str, str]
    pull: Callable[[str], Awaitable[None]]
    world: World
    volumes: dict[str, dict[str, Any]] = field(default_factory=dict)
    share: Callable[[dict[str, Any]], Awaitable[str | None]] | None = None
    replicas: list[Replica] = field(default_factory=list)
    restarts: int = 0
    mounting: Events = field(default_factory=Events)
    _last_request: float = field(default_factory=time.monotonic)
    _in_flight: int = 0
    _made: int = 0
    _keeper: asyncio.Task[None] | None = None
    _waking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def begin(self) -> None:
        """Start replicas: the least that it wants, and one in any case to see that it works."""
        self._last_request = time.monotonic()
        self._grow(min(max(1, self._least), MOST_REPLICAS))
        if self._least == 0 and self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())

    async def end(self) -> None:
        """End all replicas, and the watch over them."""
        if self._keeper:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        await self._shrink()

    async def settled(self) -> None:
        """Wait until its first replica runs, or for as long as Azure waits."""
        if not self.replicas:
            return
        waits = [asyncio.create_task(each.container.settled.wait()) for each in self.replicas]
        await asyncio.wait(waits, timeout=self.world.pace.provisioning)
        for each in waits:
            each.cancel()

    async def answer(self, request: Request) -> Response:
        """Pass a request on to a ready replica; wake one up where all are asleep."""
        self._last_request = time.monotonic()
        self._in_flight += 1
        try:
            if fault := self.world.faults.take("app.unreachable", self.id):
                raise Unreachable(fault.message or f"revision {self.name} does not answer")
            if not self.replicas:
                await self._wake()
            ready = [each for each in self.replicas if each.container.ready]
            if not ready:
                return text_response(503, "no healthy upstream")
            # Each in its turn: what answered last goes to the end.
            self.replicas.remove(ready[0])
            self.replicas.append(ready[0])
            host, port = ready[0].container.addresses[self.port]
            return await forward(request, host, port)
        finally:
            self._in_flight -= 1
            self._last_request = time.monotonic()

    @property
    def asleep(self) -> bool:
        """Scaled to zero."""
        return not self.replicas and self._keeper is not None

    @property
    def state(self) -> str:
        """``runningState``."""
        if self.asleep:
            return "ScaledToZero"
        containers = [each.container for each in self.replicas]
        if containers and all(each.ready for each in containers):
            most = (self.template.get("scale") or {}).get("maxReplicas", 10)
            return "RunningAtMaxScale" if len(containers) >= most else "Running"
        if any(each.restarts >= CRASHES for each in containers):
            return "Failed"
        return "Processing" if containers else "Stopped"

    @property
    def healthy(self) -> str:
        """``healthState``."""
        if not self.replicas:
            return "None"
        ready = all(each.container.ready for each in self.replicas)
        return "Healthy" if ready else "Unhealthy"

    @property
    def _least(self) -> int:
        return int((self.template.get("scale") or {}).get("minReplicas") or 0)

    def _grow(self, count: int) -> None:
        while len(self.replicas) < count:
            self._made += 1
            digest = hashlib.sha256(f"{self.id} {self._made}".encode()).hexdigest()
            name = f"{self.name}-{digest[:10]}-{digest[10:15]}"
            plan = self._plan(name)
            sandbox = Sandbox(
                self.world.engine,
                *(plan.spec.ports, plan.spec.labels, self.volumes, self.share),
                several=False,
                events=self.mounting,
            )
            container = Container(plan, self._surroundings(), sandbox)
            self.replicas.append(Replica(name, now(), container))
            container.begin()

    async def _shrink(self) -> None:
        ended, self.replicas = self.replicas, []
        await asyncio.gather(*(each.container.end() for each in ended))

    async def _wake(self) -> None:
        """Start a replica for a request and wait until it is ready."""
        async with self._waking:
            if self._keeper is None:
                raise Unreachable(f"revision {self.name} is not active")
            self._grow(1)
            give_up = time.monotonic() + ACTIVATION_SECONDS
            while self.replicas and not self.replicas[0].container.ready:
                if time.monotonic() > give_up:
                    return
                await asyncio.sleep(self.world.pace.poll)

    async def _keep(self) -> None:
        """Let it sleep after a while without requests."""
        while True:
            await asyncio.sleep(self.world.pace.poll)
            cooldown = self.world.pace.probe(COOLDOWN_SECONDS)
            idle = time.monotonic() - self._last_request
            if self.replicas and not self._in_flight and idle > cooldown:
                await self._shrink()

    def _plan(self, replica: str) -> Plan:
        container = self.template["containers"][0]
        probes = {probe["type"]: probe for probe in container.get("probes") or []}
        resources = container["resources"]
        spec = ContainerSpec(
            image=container["image"],
            command=tuple(container.get("command") or ()) + tuple(container.get("args") or ()),
            environment=self.environment,
            cpu=float(resources["cpu"]),
            memory=float(resources["memory"].removesuffix("Gi")),
            ports=(self.port,) if self.port else (),
            labels={LABEL: replica},
        )
        return Plan(
            group=self.id,
            name=container["name"],
            spec=spec,
            restart_policy="Always",
            liveness=probes.get("Liveness"),
            readiness=probes.get("Readiness"),
            mounts={
                each["volumeName"]: (each["mountPath"], False)
                for each in container.get("volumeMounts") or []
            },
        )

    def _surroundings(self) -> Surroundings:
        return Surroundings(self.world.engine, self.world.faults, self.world.pace, self.pull)
