"""Wait until a service says that it is ready, and tell what it says until then."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from engine.client.failures import NotReady, Unreachable
from engine.client.refusals import json_of, what_it_said
from engine.client.service import Service

READY = "/readyz"
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0
PROGRESS_SECONDS = 5.0

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one look showed. ``failure`` is what to raise if nothing better comes."""

    text: str
    failure: Unreachable | NotReady


def wait_until_ready(service: Service, seconds: float, progress: Progress) -> float:
    """Wait; ``progress`` is called when something changes, and every five seconds.

    Returns:
        The seconds until the service was ready.

    Raises:
        Unreachable: nothing answered in time.
        NotReady: it answered and was not ready in time, or says that it never will be.
    """
    begun = told = time.monotonic()
    pause, last = FIRST_PAUSE_SECONDS, ""
    while True:
        seen = _look(service)
        now = time.monotonic()
        if seen is None:
            return now - begun
        if seen.failure.final or now - begun >= seconds:
            raise seen.failure
        if seen.text != last or now - told >= PROGRESS_SECONDS:
            progress(f"not ready after {now - begun:.0f} s: {seen.text}")
            told, last = now, seen.text
        time.sleep(min(pause, max(0.0, begun + seconds - now)))
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)


def require_ready(service: Service) -> None:
    """Look once.

    Raises:
        Unreachable, NotReady: it is not ready now.
    """
    if seen := _look(service):
        raise seen.failure


def _look(service: Service) -> _Seen | None:
    """None when it is ready."""
    try:
        response = service.get(READY)
    except Unreachable as error:
        return _Seen(error.cause, error)
    report = json_of(response)
    if response.status_code == 200 and report.get("ready") is True:
        return None
    state, reason = report.get("state"), report.get("reason")
    if not isinstance(state, str):
        text = f"HTTP {response.status_code}: {what_it_said(response)}"
        cause = f"GET {service.url}{READY} is not answered by this service: {text}"
        fix = "check the address, wait, and run `.venv/bin/python -m engine.deploy doctor ENV`"
        return _Seen(text, Unreachable(cause, fix))
    text = f"{state}: {reason}"
    cause = f"{service.url} is not ready: {text}"
    return _Seen(text, NotReady(cause, _fix(state, str(reason)), state, str(reason)))


def _fix(state: str, reason: str) -> str:
    if state == "failed" and "golden check" in reason:
        return "the model answers differently than in training; `make check` shows it here"
    if state == "failed":
        return "correct what the reason says and deploy again; `make check` looks at the models"
    if state == "draining":
        return "it was asked to stop; find out why: `.venv/bin/python -m engine.deploy doctor ENV`"
    return (
        "read its log (`.venv/bin/python -m engine.deploy logs ENV`); a large model needs a longer "
        "ready_seconds"
    )
