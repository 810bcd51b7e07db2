"""Looking: what is there now, once Azure has stopped changing it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from engine.deploy.azure_ids import one_of
from engine.deploy.bootstrap.expect import Known, chosen
from engine.deploy.bootstrap.step import Command, Found, Step, value_at
from engine.deploy.say import Say
from engine.errors import EngineError

READY = frozenset({"Succeeded", "Registered"})
ABSENT = frozenset({"NotRegistered", "Unregistered", "Deleted"})
FAILED = frozenset({"Failed", "Canceled", "Cancelled"})
"""What was made did not succeed; making it again may."""
HOPELESS = frozenset({"UpgradeFailed"})
"""It is there, does not get better by itself, and is not for a bootstrap to replace."""
SETTLE_SECONDS = 900.0
PAUSE_SECONDS = 3.0


class Tool(Protocol):
    """What `az` and `gh` look like from here."""

    def find(self, *arguments: str) -> Any:
        """Run a command that changes nothing; None where the thing does not exist."""

    def change(self, *arguments: str, stdin: str | None = None) -> Any:
        """Run a command that changes something."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time in seconds, so that tests need not wait."""

    now: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep


class Looks:
    """Looks at Azure and GitHub; the same question is asked once, until ``forget``."""

    def __init__(self, tools: Mapping[str, Tool], say: Say, clock: Clock) -> None:
        self._tools = tools
        self._say = say
        self._clock = clock
        self._seen: dict[Command, Found] = {}

    def ask(self, command: Command) -> Found:
        """What a command shows that changes nothing and needs no id of another step."""
        if command not in self._seen:
            arguments = [str(each) for each in command.arguments]
            self._seen[command] = self._tools[command.program].find(*arguments)
        return self._seen[command]

    def forget(self) -> None:
        """Something was changed: ask again."""
        self._seen.clear()

    def wait(self) -> None:
        """Give Azure a moment, and ask again."""
        self._clock.pause(PAUSE_SECONDS)
        self.forget()

    def now(self, step: Step, known: Known) -> Found | None:
        """What is there of a step at this moment, whatever state it is in."""
        shown = self.ask(step.look)
        if step.among is None or shown is None:
            return shown
        return chosen(step.among, shown, known)

    def settled(self, step: Step, known: Known, *, made: bool = False) -> Found | None:
        """What is there of a step, waiting while Azure changes it; None: nothing that works.

        A state that is not known here passes, until the time is over.

        Args:
            made: this run has made it, so a failure is the end.

        Raises:
            EngineError: Azure does not come to an end, or came to a bad one.
        """
        give_up = self._clock.now() + SETTLE_SECONDS
        while True:
            found = self.now(step, known)
            state = value_at(found, step.state) if step.state and found is not None else None
            if state is None or one_of(state, READY):
                return found
            if one_of(state, HOPELESS) or (made and one_of(state, FAILED)):
                raise EngineError(
                    f"{step.what} is in state {state}",
                    "Azure's activity log of the resource says why: correct that in the portal, or "
                    "delete it if nothing uses it, and run the same command again",
                )
            if one_of(state, FAILED | ABSENT):
                return None
            if self._clock.now() > give_up:
                raise EngineError(
                    f"{step.what} has been {state} for {SETTLE_SECONDS / 60:.0f} minutes",
                    "look at it in the portal, and run the same command again when it is done",
                )
            self._say.detail(f"{step.what} is {state}")
            self.wait()
