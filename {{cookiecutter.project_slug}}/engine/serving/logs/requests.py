"""One line for each inference request, as far as the budget goes.

A log that takes a line for every request costs more than the request does at a few thousand a
second, and nobody reads it; metrics count all of them. What matters most at night is what failed or
was slow, so those have a budget of their own that ordinary requests cannot use up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from engine.serving.budget import Budget
from engine.serving.request import Request
from engine.serving.settings import Settings
from engine.serving.telemetry.traceparent import parse

log = logging.getLogger(__name__)

# A little more than the second that a budget is for.
TELL_SECONDS = 1.1
# The client's fault, and still worth a look: a wrong key, or more than the service can take.
NOTABLE = (401, 429)
LONGEST_PATH = 200

Later = Callable[[float, Callable[[], None]], object]


class RequestLines:
    """Writes the lines; see ``engine.serving.telemetry.requests.Lines``.

    Args:
        dropped: called with the number of lines left out.
        answered: how many requests were answered, looked at or not.
        later: calls a function after some seconds.
    """

    def __init__(
        self,
        settings: Settings,
        dropped: Callable[[int], None],
        answered: Callable[[], int],
        later: Later | None = None,
    ) -> None:
        self._ordinary = Budget(settings.log_requests_per_second)
        self._special = Budget(settings.log_requests_per_second)
        self.slow_seconds = settings.log_slow_seconds
        self._told = log.isEnabledFor(logging.INFO)
        # Until the budget of this second is used up everything is looked at.
        self.silent_until = 0.0 if self._told else float("inf")
        self._answered = answered
        # Of those that were answered, how many were looked at or told to be left out.
        self._accounted = 0
        self._on_dropped = dropped
        self._dropped = 0
        self._later = later
        self._will_tell = False

    def tell(self) -> None:
        """Say how many lines were left out since the last time."""
        self._will_tell = False
        answered = self._answered()
        dropped = self._dropped + (answered - self._accounted if self._told else 0)
        self._dropped, self._accounted = 0, answered
        self._on_dropped(dropped)
        log.info("%s request lines left out", dropped, extra={"fields": {"dropped": dropped}})

    def ended(self, request: Request) -> None:
        """Write the line of a request that was answered, or count it."""
        self._accounted += 1
        if is_special(request.status) or request.ended - request.began > self.slow_seconds:
            if self._special.take(request.ended):
                _write(logging.WARNING, request)
                return
        elif not self._told:
            return
        elif self._ordinary.take(request.ended):
            _write(logging.INFO, request)
            return
        else:
            self.silent_until = self._ordinary.ends
        self._dropped += 1
        if not self._will_tell:
            self._will_tell = True
            later = self._later or asyncio.get_running_loop().call_later
            later(TELL_SECONDS, self.tell)


def _write(level: int, request: Request) -> None:
    # As `log.log` does, but without a look for the line of code that calls it, which nobody reads.
    if log.isEnabledFor(level):
        event = logging.LogRecord(log.name, level, "", 0, "request", (), None)
        event.__dict__["fields"] = line_of(request)
        log.handle(event)


def is_special(status: int) -> bool:
    """Whether an answer with this status uses the budget of failed and slow requests."""
    return status >= 500 or status in NOTABLE


def names_of(request: Request) -> dict[str, Any]:
    """What a request is called: by its client or here, and in its trace."""
    names: dict[str, Any] = {"request_id": request.request_id}
    header = request.returned or request.parent
    context = parse(header) if header else None
    if context is not None:
        names |= {"trace_id": context.trace_id, "span_id": context.span_id}
    return names


def line_of(request: Request) -> dict[str, Any]:
    """The fields of a request's line; what is not known is left out. Never a key or a payload."""
    fields = names_of(request) | {
        "route": request.route,
        "method": request.method,
        "path": request.path[:LONGEST_PATH],
        "status": request.status,
    }
    if request.model:
        fields |= {"model": request.model, "model_version": request.version}
    if request.rows:
        fields["rows"] = request.rows
    fields["duration_seconds"] = round(request.ended - request.began, 6)
    fields |= {name: round(seconds, 6) for name, seconds in _phases(request).items()}
    if request.runs:
        fields["batch_rows"] = max(run.rows for run in request.runs)
    if request.error is not None:
        fields["code"] = request.error.code
        if request.error.incident is not None:
            fields["incident"] = request.error.incident
    return fields


def _phases(request: Request) -> dict[str, float]:
    phases: dict[str, float] = {}
    if request.decoded:
        phases["decode_seconds"] = request.decoded - request.began
        if request.taken:
            phases["queue_seconds"] = request.taken - request.decoded
    if request.runs:
        phases["compute_seconds"] = sum(run.ended - run.began for run in request.runs)
    if request.encoding:
        phases["encode_seconds"] = request.ended - request.encoding
    return phases
