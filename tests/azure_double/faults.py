"""Failures that a test plans beforehand and that happen when their point is reached."""

from __future__ import annotations

import asyncio
import fnmatch
from dataclasses import dataclass, field
from typing import Any

REQUEST = "request"
"""The point that every request to Azure or GitHub passes; its subject is "METHOD /path"."""


@dataclass
class Fault:
    """One planned failure.

    Attributes:
        point: where it strikes. ``request``, or a name that a provider asks for with
            `Faults.take`, for example ``aci.capacity``.
        where: a shell pattern for the subject, compared without regard to case. For ``request``
            the subject is "METHOD /path" without the query: "PUT */containerGroups/*".
        times: how often it strikes; then it is spent.
        skip: how many matching occasions pass first.
        status, code, message: the ARM error to answer with (``request`` only).
        delay_seconds: waits so long first; alone it only slows the request down.
        drop: "before": closes the connection without handling the request; "after": handles it
            and closes the connection without an answer; "": neither.
        hold: the request waits until the test lets it go (``request`` only); see `Held`.
        detail: whatever the provider's point needs, in its own words.
    """

    point: str = REQUEST
    where: str = "*"
    times: int = 1
    skip: int = 0
    status: int = 0
    code: str = ""
    message: str = ""
    delay_seconds: float = 0
    drop: str = ""
    hold: bool = False
    detail: dict[str, Any] = field(default_factory=dict)


class Held:
    """Requests that wait for the test's word, by their number in the request log.

    So a test can look at a change on its way, kill who sent it, and let it arrive afterwards.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Event] = {}

    @property
    def numbers(self) -> list[int]:
        """Which wait now, the first that came first."""
        return list(self._waiting)

    async def wait(self, number: int) -> None:
        """Hold a request; returns when it is let go."""
        event = self._waiting[number] = asyncio.Event()
        await event.wait()

    def release(self, number: int) -> None:
        """Let a request go on.

        Raises:
            KeyError: none of that number waits.
        """
        self._waiting.pop(number).set()

    def clear(self) -> None:
        """Let all go on."""
        for number in self.numbers:
            self.release(number)


class Faults:
    """The plan: faults in the order in which they were injected.

    Attributes:
        held: the requests that a fault holds now.
    """

    def __init__(self) -> None:
        self._planned: list[Fault] = []
        self.held = Held()

    def inject(self, fault: Fault) -> None:
        """Plan a failure."""
        self._planned.append(fault)

    def take(self, point: str, subject: str) -> Fault | None:
        """The failure that strikes here and now, used up by one; None when there is none."""
        for fault in self._planned:
            if fault.point != point or fault.times <= 0:
                continue
            if not fnmatch.fnmatchcase(subject.lower(), fault.where.lower()):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.times -= 1
            return fault
        return None

    def pending(self) -> list[Fault]:
        """What has not struck as often as it was planned; a test may assert that it is empty."""
        return [fault for fault in self._planned if fault.times > 0]

    def forget(self, where: str) -> None:
        """Forget what is planned for this pattern; what is held already stays so."""
        self._planned = [fault for fault in self._planned if fault.where != where]

    def clear(self) -> None:
        """Forget the plan, and let go what it holds."""
        self._planned.clear()
        self.held.clear()
