"""The state of the process: starting, ready, failed, lost or draining, and why.

Live means that the process answers, and that a new one would be no better off; ready means that it
is warm and answers correctly. That holds for all worker processes together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum


class State(StrEnum):
    """The state of the process."""

    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    LOST = "lost"
    DRAINING = "draining"


# A worker process that has not shown for so long that its event loop runs gets no connections, and
# the service is not ready; for so long, and it is not live either.
SILENT_SECONDS = 5.0
DEAD_SECONDS = 30.0


def overall(states: Sequence[State]) -> State:
    """The state of a service whose workers are in these states: the worst one counts."""
    for state in (State.DRAINING, State.LOST, State.FAILED, State.STARTING):
        if state in states:
            return state
    return State.READY


class Lifecycle:
    """The one place that knows whether requests are welcome.

    Args:
        publish: called with the state after each change.
        states: of all worker processes, this one included; a probe that reaches one asks for all.
            One that has been silent for so many seconds counts as lost.
    """

    def __init__(
        self,
        publish: Callable[[State], None] = lambda state: None,
        states: Callable[[float], Sequence[State]] = lambda silent: (),
    ) -> None:
        self.state = State.STARTING
        self.reason = "models are being loaded and checked"
        self._publish = publish
        self._states = states
        self._for_good = False

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

    def lose(self, reason: str, *, for_good: bool = True) -> None:
        """The process does not compute any more: so it is not live either, and the platform
        restarts it.

        Args:
            for_good: only a new process can compute again.
        """
        self._for_good = self._for_good or for_good
        if self.state is not State.DRAINING:
            self._change(State.LOST, reason)

    def recover(self) -> None:
        """What was lost, but not for good, computes again."""
        if self.state is State.LOST and not self._for_good:
            self._change(State.READY, "")

    def drain(self) -> None:
        """A stop was asked for: finish what was accepted."""
        self._change(State.DRAINING, "the process was asked to stop")

    def report(self) -> dict[str, object]:
        """The body of a readiness probe."""
        others = overall(self._states(SILENT_SECONDS))
        if self.ready and others is not State.READY:
            reason = "another worker process is not ready"
            return {"ready": False, "state": others.value, "reason": reason}
        if self.ready:
            return {"ready": True, "state": self.state.value}
        return {"ready": False, "state": self.state.value, "reason": self.reason}

    def liveness(self) -> dict[str, object]:
        """The body of a liveness probe."""
        if self.state is State.LOST:
            return {"live": False, "reason": self.reason}
        if State.LOST in self._states(DEAD_SECONDS):
            return {"live": False, "reason": "another worker process does not compute any more"}
        return {"live": True}

    def _change(self, state: State, reason: str) -> None:
        self.state, self.reason = state, reason
        self._publish(state)
