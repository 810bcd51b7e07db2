"""A container group that runs: its containers, its state, its address."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from ..arm import ids
from ..arm.errors import ArmError
from ..forward import forward
from ..hosts import Unreachable
from ..wire import Request, Response
from .aci_container import Container, Surroundings
from .aci_plan import plans
from .aci_sandbox import Sandbox

PROVISIONING_MINUTES = "00:30:00"


class Group:
    """The running side of one container group; the store has the other.

    Attributes:
        busy: what is being done with it ("" when nothing): another change is refused meanwhile.
        stopped: stopped by a person.
    """

    def __init__(self, identifier: str, document: dict[str, Any], around: Surroundings) -> None:
        self.id = identifier
        self.busy = ""
        self.stopped = False
        self._around = around
        self._document = document
        self._ended = asyncio.Event()
        planned = plans(identifier, document)
        volumes = document["properties"].get("volumes") or []
        self.sandbox = Sandbox(
            around.engine,
            tuple(sorted({port for plan in planned for port in plan.spec.ports})),
            planned[0].spec.labels if planned else {},
            {each["name"]: each for each in volumes},
            around.share,
            several=len(planned) > 1,
        )
        self.containers = [Container(plan, around, self.sandbox) for plan in planned]

    def begin(self) -> None:
        """Start all containers.

        Raises:
            ArmError: the group has been ended meanwhile.
        """
        if self._ended.is_set():
            raise _preempted()
        for container in self.containers:
            container.begin()

    async def end(self) -> None:
        """End all containers; who waits for `provisioned` is told."""
        self._ended.set()
        await asyncio.gather(*(container.end() for container in self.containers))
        await self.sandbox.end()

    async def provisioned(self) -> None:
        """Wait until every container runs or has done its work.

        Raises:
            ArmError: they did not within the time that Azure allows; its message is what the
                events say, and Azure's own sentence. The containers go on trying.
        """
        waits = [each.settled.wait() for each in self.containers]
        ended = asyncio.create_task(self._ended.wait())
        settled = asyncio.create_task(_all(waits))
        limit = self._around.pace.provisioning
        await asyncio.wait({settled, ended}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        done = settled.done()
        settled.cancel()
        ended.cancel()
        if self._ended.is_set():
            raise _preempted()
        if not done:
            raise ArmError(409, "Failed", self._why_not())

    @property
    def state(self) -> str:
        """Pending, Running, Stopped, Succeeded or Failed (Azure docs: container states)."""
        if self.stopped:
            return "Stopped"
        states = [container.state for container in self.containers]
        if all(state.name == "Terminated" for state in states) and not self._restarting:
            return "Succeeded" if all(state.exit_code == 0 for state in states) else "Failed"
        if all(container.settled.is_set() for container in self.containers):
            return "Running"
        return "Pending"

    @property
    def _restarting(self) -> bool:
        return any(each.plan.restart_policy == "Always" for each in self.containers)

    def show_in(self, properties: dict[str, Any]) -> None:
        """Put the instance views into a group's properties."""
        properties["instanceView"] = {
            "events": self.sandbox.events.shown(),
            "state": self.state,
        }
        for shown, container in zip(properties["containers"], self.containers, strict=True):
            shown["properties"]["instanceView"] = container.shown()

    def container(self, name: str) -> Container:
        """The container of that name.

        Raises:
            ArmError: 404, there is none.
        """
        for each in self.containers:
            if each.plan.name == name:
                return each
        raise ArmError(
            404,
            "ContainerNotFound",
            f"The container '{name}' in container group '{ids.name(self.id)}' was not found.",
        )

    async def answer(self, request: Request) -> Response:
        """Pass a request from outside on, if the group takes any now."""
        name = ids.name(self.id)
        if fault := self._around.faults.take("aci.unreachable", self.id):
            raise Unreachable(fault.message or f"container group {name} does not answer")
        address = self._document["properties"].get("ipAddress") or {"ports": []}
        if request.port not in {port["port"] for port in address["ports"]}:
            raise Unreachable(f"container group {name} has no public port {request.port}")
        for container in self.containers:
            where = container.addresses.get(request.port)
            if where and container.ready:
                return await forward(request, *where)
        raise Unreachable(f"container group {name} is not ready: {self._condition()}")

    async def tunnel(self, port: int) -> tuple[str, int] | None:
        """Where bytes to a public port go: for TLS, which the group ends itself; None: nowhere."""
        address = self._document["properties"].get("ipAddress") or {"ports": []}
        if port not in {each["port"] for each in address["ports"]}:
            return None
        for container in self.containers:
            where = container.addresses.get(port)
            if where and container.ready:
                return where
        return None

    def _condition(self) -> str:
        return ", ".join(f"{each.plan.name} is {each.state.name}" for each in self.containers)

    def _why_not(self) -> str:
        told = self.sandbox.events.warnings()
        told += [line for each in self.containers for line in each.events.warnings()]
        end = (
            "Subscription deployment didn't reach a successful provisioning state after "
            f"'{PROVISIONING_MINUTES}'."
        )
        return ";".join([*told, end])


def _preempted() -> ArmError:
    return ArmError(409, "OperationPreempted", "The operation was ended by a later one.")


async def _all(waits: Sequence[Coroutine[Any, Any, bool]]) -> bool:
    return all(await asyncio.gather(*waits))
