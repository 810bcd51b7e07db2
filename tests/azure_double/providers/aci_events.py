"""Times, states and events of containers, in the shapes of a container group's instance view."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

NANOSECONDS = re.compile(r"\.(\d{3})\d*Z$")


def now() -> str:
    """The time as Azure writes it."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


def from_docker(moment: str) -> str:
    """A time of Docker's, which has nanoseconds, with milliseconds."""
    return NANOSECONDS.sub(r".\1Z", moment)


class Events:
    """What happened to one container; the same event again is counted, not repeated."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []

    def add(self, name: str, message: str, *, warning: bool = False) -> None:
        """Something happened now."""
        for event in self._events:
            if (event["name"], event["message"]) == (name, message):
                event["count"] += 1
                event["lastTimestamp"] = now()
                return
        kind = "Warning" if warning else "Normal"
        moment = now()
        self._events.append(
            {
                "count": 1,
                "firstTimestamp": moment,
                "lastTimestamp": moment,
                "name": name,
                "message": message,
                "type": kind,
            }
        )

    def shown(self) -> list[dict[str, Any]]:
        """All, the oldest first."""
        return [dict(event) for event in self._events]

    def warnings(self) -> list[str]:
        """The sentences of the bad ones."""
        return [event["message"] for event in self._events if event["type"] == "Warning"]


@dataclass(frozen=True, slots=True)
class State:
    """The state of a container: Waiting, Running or Terminated."""

    name: str
    detail: str = ""
    started: str | None = None
    finished: str | None = None
    exit_code: int | None = None

    def shown(self) -> dict[str, Any]:
        """As a ``currentState`` or ``previousState``."""
        shown = {
            "state": self.name,
            "startTime": self.started,
            "exitCode": self.exit_code,
            "finishTime": self.finished,
            "detailStatus": self.detail,
        }
        return {key: value for key, value in shown.items() if value is not None}


def waiting(detail: str) -> State:
    """A container that does not run and shall."""
    return State("Waiting", detail)


def running(started: str) -> State:
    """A container that runs."""
    return State("Running", "", started)


def terminated(exit_code: int, *, started: str, finished: str, detail: str = "") -> State:
    """A container that has ended; the reason is named as Kubernetes names it."""
    reason = detail or ("Completed" if exit_code == 0 else "Error")
    return State("Terminated", reason, started, finished, exit_code)
