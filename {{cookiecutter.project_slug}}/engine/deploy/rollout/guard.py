"""Ctrl-C and SIGTERM during a rollout: put things back first, and only then end.

The first signal ends the work in an interruptible section, and waits for the end of any other.
The second ends the process at once; the next run finishes what it left.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from engine.deploy.say import Say

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class Stopped(BaseException):
    """A person or a workflow asked for the end; no error, so nothing may take it for one."""


class Guard:
    """Holds the signals of one command. Outside of ``watching`` it leaves them as they are."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._seen: str | None = None
        self._interruptible = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Handle the signals inside; only the main thread can."""
        numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
        before = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Inside, the first signal raises ``Stopped``; so does one that came before."""
        self._interruptible = True
        try:
            if self._seen:
                raise Stopped(self._seen)
            yield
        finally:
            self._interruptible = False

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self._seen:
            self._say.warning(f"{name} again: stopping at once; the next run finishes this rollout")
            os._exit(128 + number)
        self._seen = name
        if self._interruptible:
            # One exception is enough: what handles it must not be interrupted itself.
            self._interruptible = False
            raise Stopped(name)
        self._say.warning(f"{name}: ends as soon as nothing is half done; once more: at once")
