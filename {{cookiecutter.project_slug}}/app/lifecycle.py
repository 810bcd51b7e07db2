"""The state of the process: starting, ready, failed, lost or draining, and why.

Live means that the process answers, and that a new one would be no better off; ready means that it
is warm and answers correctly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum


class State(StrEnum):
    """Where the process stands."""

    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    LOST = "lost"
    DRAINING = "draining"


class Lifecycle:
    """The one place that knows whether requests are welcome.

    Args:
        publish: is told the state after each change.
        states: of all worker processes, this one included; a probe that reaches one asks for all.
    """

    def __init__(
        self,
        publish: Callable[[State], None] = lambda state: None,
        states: Callable[[], Sequence[State]] = lambda: (),
    ) -> None:
        self.state = State.STARTING
        self.reason = "models are being loaded and checked"
        self._publish = publish
        self._states = states

    @property
    def ready(self) -> bool:
        """True when every model is loaded, warm and verified, and no stop was asked for."""
        return self.state is State.READY

    def set_ready(self) -> None:
        """All checks passed. A process that is draining stays so."""
        if self.state is State.STARTING:
            self._change(State.READY, "")

    def fail(self, reason: str) -> None:
        """A check failed; the process stays live, so that the reason can be read over HTTP."""
        if self.state is not State.DRAINING:
            self._change(State.FAILED, reason)

    def lose(self, reason: str) -> None:
        """The device does not compute any more, and only a new process can use it again: so this
        one is not live either, and the platform restarts it.
        """
        if self.state is not State.DRAINING:
            self._change(State.LOST, reason)

    def drain(self) -> None:
        """A stop was asked for: finish what was accepted."""
        self._change(State.DRAINING, "the process was asked to stop")

    def report(self) -> dict[str, object]:
        """The body of a readiness probe."""
        if self.ready and any(state is not State.READY for state in self._states()):
            reason = "another worker process is not ready"
            return {"ready": False, "state": State.STARTING.value, "reason": reason}
        if self.ready:
            return {"ready": True, "state": self.state.value}
        return {"ready": False, "state": self.state.value, "reason": self.reason}

    def liveness(self) -> dict[str, object]:
        """The body of a liveness probe."""
        if self.state is State.LOST:
            return {"live": False, "reason": self.reason}
        if State.LOST in self._states():
            return {"live": False, "reason": "another worker process has lost its device"}
        return {"live": True}

    def _change(self, state: State, reason: str) -> None:
        self.state, self.reason = state, reason
        self._publish(state)
