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
from engine.serving.settings import Settings
from engine.serving.telemetry.record import Record
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
        dropped: is told how many lines were left out.
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

    def ended(self, record: Record) -> None:
        """Write the line of a request that was answered, or count it."""
        self._accounted += 1
        if is_special(record.status) or record.ended - record.began > self.slow_seconds:
            if self._special.take(record.ended):
                _write(logging.WARNING, record)
                return
        elif not self._told:
            return
        elif self._ordinary.take(record.ended):
            _write(logging.INFO, record)
            return
        else:
            self.silent_until = self._ordinary.ends
        self._dropped += 1
        if not self._will_tell:
            self._will_tell = True
            later = self._later or asyncio.get_running_loop().call_later
            later(TELL_SECONDS, self.tell)


def _write(level: int, record: Record) -> None:
    # As `log.log` does, but without a look for the line of code that calls it, which nobody reads.
    if log.isEnabledFor(level):
        event = logging.LogRecord(log.name, level, "", 0, "request", (), None)
        event.__dict__["fields"] = line_of(record)
        log.handle(event)


def is_special(status: int) -> bool:
    """Whether an answer with this status uses the budget of failed and slow requests."""
    return status >= 500 or status in NOTABLE


def names_of(record: Record) -> dict[str, Any]:
    """What a request is called: by its client or here, and in its trace."""
    names: dict[str, Any] = {"request_id": record.request_id}
    header = record.returned or record.parent
    context = parse(header) if header else None
    if context is not None:
        names |= {"trace_id": context.trace_id, "span_id": context.span_id}
    return names


def line_of(record: Record) -> dict[str, Any]:
    """The fields of a request's line; what is not known is left out. Never a key or a payload."""
    fields = names_of(record) | {
        "route": record.route,
        "method": record.method,
        "path": record.path[:LONGEST_PATH],
        "status": record.status,
    }
    if record.model:
        fields |= {"model": record.model, "model_version": record.version}
    if record.rows:
        fields["rows"] = record.rows
    fields["duration_seconds"] = round(record.ended - record.began, 6)
    fields |= {name: round(seconds, 6) for name, seconds in _phases(record).items()}
    if record.runs:
        fields["batch_rows"] = max(run.rows for run in record.runs)
    if record.error is not None:
        fields["code"] = record.error.code
        if record.error.incident is not None:
            fields["incident"] = record.error.incident
    return fields


def _phases(record: Record) -> dict[str, float]:
    phases: dict[str, float] = {}
    if record.decoded:
        phases["decode_seconds"] = record.decoded - record.began
        if record.taken:
            phases["queue_seconds"] = record.taken - record.decoded
    if record.runs:
        phases["compute_seconds"] = sum(run.ended - run.began for run in record.runs)
    if record.encoding:
        phases["encode_seconds"] = record.ended - record.encoding
    return phases
