"""The state of the process: starting, ready, failed or draining, and why.

Live means that the process answers; ready means that it is warm and answers correctly.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class State(StrEnum):
    """Where the process stands."""

    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    DRAINING = "draining"


class Lifecycle:
    """The one place that knows whether requests are welcome.

    Args:
        publish: is told the state after each change.
        others_ready: whether all other worker processes are ready as well; a probe that reaches
            this one asks for all.
    """

    def __init__(
        self,
        publish: Callable[[State], None] = lambda state: None,
        others_ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self.state = State.STARTING
        self.reason = "models are being loaded and checked"
        self._publish = publish
        self._others_ready = others_ready

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

    def drain(self) -> None:
        """A stop was asked for: finish what was accepted."""
        self._change(State.DRAINING, "the process was asked to stop")

    def report(self) -> dict[str, object]:
        """The body of a readiness probe."""
        if self.ready and not self._others_ready():
            reason = "another worker process is not ready"
            return {"ready": False, "state": State.STARTING.value, "reason": reason}
        if self.ready:
            return {"ready": True, "state": self.state.value}
        return {"ready": False, "state": self.state.value, "reason": self.reason}

    def _change(self, state: State, reason: str) -> None:
        self.state, self.reason = state, reason
        self._publish(state)
