"""How an event becomes a line: JSON for machines, text for people.

An event is a log record; ``extra={"fields": {...}}`` gives it fields of its own.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import orjson

RESET: Final = "\x1b[0m"
DIM: Final = "\x1b[2m"
COLOURS: Final = {
    logging.DEBUG: DIM,
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;31m",
}


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """The event's own fields, and its traceback as ``exception``."""
    fields = dict(getattr(record, "fields", {}))
    if record.exc_info:
        fields["exception"] = logging.Formatter().formatException(record.exc_info)
    return fields


class JsonFormatter(logging.Formatter):
    """One line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        event: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        # Twice, so that it comes first and no field takes its place.
        whole = event | fields_of(record) | event
        try:
            return orjson.dumps(whole, default=str).decode()
        except TypeError:
            # Half of a character, as a file's name can have; or a number beyond 64 bits.
            return json.dumps(whole, default=str)


class TextFormatter(logging.Formatter):
    """A line to read: time, level, message, fields; a traceback below it.

    Args:
        coloured: with the colours of a terminal.
    """

    def __init__(self, coloured: bool) -> None:
        super().__init__()
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        fields = fields_of(record)
        below = fields.pop("exception", None)
        clock = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        level = self._paint(f"{record.levelname:8}", COLOURS.get(record.levelno, ""))
        named = " ".join(f"{name}={_short(value)}" for name, value in fields.items())
        line = f"{self._paint(clock, DIM)} {level} {record.getMessage()}"
        if named:
            line += f"  {self._paint(named, DIM)}"
        return line if below is None else f"{line}\n{below}"

    def _paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{RESET}" if self._coloured and colour else text


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ",".join(f"{name}:{each}" for name, each in value.items())
    # Control characters that a client put into a path do not reach the terminal.
    return str(value) if str(value).isprintable() else repr(value)


def wants_colour(environment: Mapping[str, str]) -> bool:
    """Whether stderr is a terminal whose user has not refused colours; see no-color.org."""
    refused = bool(environment.get("NO_COLOR")) or environment.get("TERM") == "dumb"
    return sys.stderr.isatty() and not refused
