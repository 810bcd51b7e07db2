"""The last words of a service that ended: what of its log says why."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

ERROR = "error: "
GAVE_UP = "not ready: "
"""So begins the log's line on why no model is served; see engine/serving/inference/host.py."""
_BAD_LEVELS = frozenset({"error", "critical"})
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception|Interrupt): ")
SHOWN = 3
SHOWN_CHARACTERS = 300


def complaints(logs: Sequence[str]) -> tuple[str, ...]:
    """Lines with which the service itself says what is wrong, the last three at most.

    It writes ``error: ...`` before it gives up, and JSON lines while it runs; Python ends a
    traceback with the exception.
    """
    found: list[str] = []
    for line in logs:
        text = _complaint(line.strip())
        if text and text not in found:
            found.append(text[:SHOWN_CHARACTERS])
    return tuple(found[-SHOWN:])


def last_line(logs: Sequence[str]) -> str | None:
    """The last line that is not empty."""
    lines = [line.strip() for line in logs if line.strip()]
    return lines[-1][:SHOWN_CHARACTERS] if lines else None


def _complaint(line: str) -> str | None:
    if line.startswith(ERROR):
        return line.removeprefix(ERROR)
    if _EXCEPTION.match(line):
        return line
    if line.startswith("{"):
        try:
            event = json.loads(line)
        except ValueError:
            return None
        if isinstance(event, dict) and str(event.get("level")).lower() in _BAD_LEVELS:
            return str(event.get("message") or "")
    return None
