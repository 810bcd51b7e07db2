"""The life of one container of a group: pull, run, probe, end, start again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..engine import ContainerSpec, ContainerState, Engine, EngineError
from ..faults import Fault, Faults
from ..registry.pulls import PullRefused
from . import aci_probes
from .aci_events import Events, State, from_docker, now, running, terminated, waiting
from .aci_pace import Pace
from .aci_sandbox import Sandbox

KILLED, OUT_OF_MEMORY = 137, "OOMKilled"
CANNOT_RUN, CANNOT_RUN_CODE = "ContainerCannotRun", 128
STOPPED_GRACEFULLY, STOPPED_BY_FORCE = 7147, 7148
"""Exit codes of a stop that the platform asked for (Azure docs: troubleshooting)."""
RUNNING_LOG_BYTES = 4 * 1024**2
ENDED_LOG_BYTES = 16 * 1024


@dataclass(frozen=True)
class Surroundings:
    """What a container needs around it.

    Attributes:
        engine: runs it.
        faults: planned failures, asked for with the group's id.
        pace: how fast time goes.
        pull: fetches its image, or raises `PullRefused`.
        share: gives Docker's volume of an ``azureFile``; None: it cannot be mounted.
        place: gives Docker's network and the address in it, of a group in a subnet.
    """

    engine: Engine
    faults: Faults
    pace: Pace
    pull: Callable[[str], Awaitable[None]]
    share: Callable[[dict[str, Any]], Awaitable[str | None]] | None = None
    place: Callable[[], Awaitable[tuple[str, str]]] | None = None


@dataclass(frozen=True)
class Plan:
    """One container of a document. ``environment`` has the secret values in it; ``mounts`` are
    names of volumes, with a path and whether it may only be read.
    """

    group: str
    name: str
    spec: ContainerSpec
    restart_policy: str
    liveness: Mapping[str, Any] | None
    readiness: Mapping[str, Any] | None
    mounts: Mapping[str, tuple[str, bool]] = field(default_factory=dict)


@dataclass
class Container:
    """A container of a group and what Azure shows of it.

    Attributes:
        settled: set once it has run for long enough, or has done its work.
        ready: whether traffic may go to it.
        state, previous: as in the instance view.
        restarts: how often it was started again.
        docker: its id at the engine; "" while there is none.
        addresses: where its ports are reached from here.
    """

    plan: Plan
    around: Surroundings
    sandbox: Sandbox | None = None
    events: Events = field(default_factory=Events)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    ready: bool = False
    state: State = field(default_factory=lambda: waiting(""))
    previous: State | None = None
    restarts: int = 0
    docker: str = ""
    addresses: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    _task: asyncio.Task[None] | None = None
    _log: str = ""

    def begin(self) -> None:
        """Let it live, beside everything else."""
        self._task = asyncio.create_task(self._live())

    async def end(self) -> None:
        """End it as the platform does on stop, restart, update and delete."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.ready = False
        if not self.docker:
            return
        self.events.add("Killing", f"Killing container with id {self.docker}")
        was_running = self.state.name == "Running"
        await self.around.engine.stop(self.docker, self.around.pace.stop_grace)
        seen = await self.around.engine.state(self.docker)
        await self._put_away()
        if was_running:
            forced = seen.exit_code == KILLED
            code = STOPPED_BY_FORCE if forced else STOPPED_GRACEFULLY
            started, finished = from_docker(seen.started), from_docker(seen.finished)
            self.previous = self.state
            self.state = terminated(code, started=started, finished=finished)

    async def log(self, tail: int | None) -> str:
        """What the container that runs, or that ran last, has written."""
        if not self.docker:
            lines = self._log.splitlines(keepends=True)
            return "".join(lines if tail is None else lines[len(lines) - tail :])
        text = await self.around.engine.logs(self.docker, tail)
        return text[-RUNNING_LOG_BYTES:]

    def shown(self) -> dict[str, Any]:
        """Its ``instanceView``."""
        view: dict[str, Any] = {
            "restartCount": self.restarts,
            "currentState": self.state.shown(),
            "events": self.events.shown(),
        }
        if self.previous:
            view["previousState"] = self.previous.shown()
        return view

    async def _live(self) -> None:
        pace = self.around.pace
        pause = pace.backoff
        while True:
            await self._pull()
            binds = await self._mount()
            began = time.monotonic()
            self.state = await self._run(binds)
            if not self._starts_again():
                self.settled.set()
                return
            if time.monotonic() - began > 2 * pace.backoff_limit:
                pause = pace.backoff
            self.previous, self.state = (
                self.state,
                waiting("CrashLoopBackOff: Back-off restarting failed"),
            )
            self.events.add("BackOff", "Back-off restarting failed container", warning=True)
            await asyncio.sleep(pause)
            pause = min(pause * 2, pace.backoff_limit)
            self.restarts += 1

    def _starts_again(self) -> bool:
        policy = self.plan.restart_policy
        return policy == "Always" or (policy == "OnFailure" and self.state.exit_code != 0)

    async def _pull(self) -> None:
        """Pull until it works: the platform does not give up either."""
        image = self.plan.spec.image
        while True:
            self.events.add("Pulling", f'pulling image "{image}"')
            try:
                if fault := self._fault("aci.pull"):
                    raise PullRefused(fault.message or "manifest unknown")
                await self.around.pull(image)
            except PullRefused as problem:
                self.events.add(
                    "Failed", f'Failed to pull image "{image}": {problem}', warning=True
                )
                self.state = waiting(f'ImagePullBackOff: Back-off pulling image "{image}"')
                await asyncio.sleep(self.around.pace.pull_retry)
            else:
                self.events.add("Pulled", f'Successfully pulled image "{image}"')
                return

    async def _mount(self) -> tuple[str, ...]:
        """Mount until it works; the container waits, and only the group's events say why."""
        if self.sandbox is None:
            return ()
        while (binds := await self.sandbox.binds(self.plan.mounts)) is None:
            self.state = waiting("")
            await asyncio.sleep(self.around.pace.pull_retry)
        return binds

    async def _run(self, binds: tuple[str, ...]) -> State:
        """Run once, until it ends by itself or by its liveness probe."""
        if fault := self._fault("aci.slow-start"):
            await asyncio.sleep(float(fault.detail.get("seconds", 5)))
        try:
            await self._start(binds)
        except EngineError as problem:
            self.events.add("Failed", f"Error: failed to start container: {problem}", warning=True)
            await self._put_away()
            moment = now()
            return terminated(CANNOT_RUN_CODE, started=moment, finished=moment, detail=CANNOT_RUN)
        doom = self._fault("aci.oom") or self._fault("aci.crash")
        watchers = [asyncio.create_task(each) for each in self._watchers(doom)]
        try:
            seen = await self._until_ended()
        finally:
            self.ready = False
            for watcher in watchers:
                watcher.cancel()
            if watchers:  # not `gather`: a fault after the cancellation must reach the log
                await asyncio.wait(watchers)
        await self._put_away()
        return _ended(seen, doom)

    async def _start(self, binds: tuple[str, ...]) -> None:
        engine, spec = self.around.engine, self.plan.spec
        network = await self.sandbox.join(spec.image) if self.sandbox else ""
        bridge, ip = await self.around.place() if self.around.place else ("", "")
        placed = replace(spec, network=network, bridge=bridge, ip=ip, binds=binds)
        making = asyncio.ensure_future(engine.create(placed))
        try:
            self.docker = await asyncio.shield(making)
        except asyncio.CancelledError:
            self.docker = await making  # so that `end` finds it
            raise
        await engine.start(self.docker)
        seen = await engine.state(self.docker)
        shared = self.sandbox.addresses if self.sandbox and network else seen.addresses
        if bridge:
            shared = {port: (seen.ip, port) for port in spec.ports}
        self.addresses = {port: shared[port] for port in spec.ports if port in shared}
        self.state = running(from_docker(seen.started))
        self.events.add("Started", "Started container")
        self.ready = self.plan.readiness is None

    async def _until_ended(self) -> ContainerState:
        engine, loop = self.around.engine, asyncio.get_running_loop()
        settling = loop.call_later(self.around.pace.settle, self.settled.set)
        try:
            while (seen := await engine.state(self.docker)).running:
                await engine.ended(self.docker)
            return seen
        finally:
            settling.cancel()

    def _watchers(self, doom: Fault | None) -> list[Any]:
        target = aci_probes.Target(self.around.engine, self.docker, self.addresses)
        work: list[Any] = []
        for kind, probe, verdict in (
            ("liveness", self.plan.liveness, self._lives),
            ("readiness", self.plan.readiness, self._is_ready),
        ):
            if probe:
                spoilt = self._spoilt(kind)
                work.append(
                    aci_probes.watch(dict(probe), target, self.around.pace, spoilt, verdict)
                )
        if doom:
            work.append(self._strike(doom))
        return work

    def _spoilt(self, kind: str) -> Callable[[], str]:
        def reason() -> str:
            fault = self._fault(f"aci.{kind}")
            return (fault.message or "HTTP probe failed with statuscode: 500") if fault else ""

        return reason

    async def _lives(self, passed: bool, reason: str) -> None:
        if not passed:
            self.events.add("Unhealthy", f"Liveness probe failed: {reason}", warning=True)
            self.events.add("Killing", f"Killing container with id {self.docker}")
            await self.around.engine.stop(self.docker, self.around.pace.stop_grace)

    async def _is_ready(self, passed: bool, reason: str) -> None:
        self.ready = passed
        if not passed:
            self.events.add("Unhealthy", f"Readiness probe failed: {reason}", warning=True)

    async def _strike(self, doom: Fault) -> None:
        await asyncio.sleep(float(doom.detail.get("after", 0)))
        await self.around.engine.stop(self.docker, 0)

    async def _put_away(self) -> None:
        if self.docker:
            gone, self.docker, self.addresses = self.docker, "", {}
            self._log = (await self.around.engine.logs(gone))[-ENDED_LOG_BYTES:]
            await self.around.engine.remove(gone)

    def _fault(self, point: str) -> Fault | None:
        return self.around.faults.take(point, self.plan.group)


def _ended(seen: ContainerState, doom: Fault | None) -> State:
    """The state that a container is in after its end, an injected one included."""
    code, out_of_memory = seen.exit_code, seen.out_of_memory
    if doom:
        out_of_memory = doom.point == "aci.oom"
        code = KILLED if out_of_memory else int(doom.detail.get("exit_code", 1))
    return terminated(
        code,
        started=from_docker(seen.started),
        finished=from_docker(seen.finished),
        detail=OUT_OF_MEMORY if out_of_memory else "",
    )
