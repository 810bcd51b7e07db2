"""Where logs go, in which format and from which level."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, Final, TextIO

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from engine.serving.fault import WITHHELD
from engine.serving.logs.formats import JsonFormatter, TextFormatter, wants_colour
from engine.serving.logs.writer import Writer
from engine.serving.settings import Settings

log = logging.getLogger(__name__)

# Of the code that a service runs; code that is made up at run time could have any number.
MOST_PLACES: Final = 1000


def configure(settings: Settings) -> None:
    """Send all logs to stderr, in the format and from the level that the settings say.

    Python's warnings are among them, instead of text beside the log.
    """
    writer = Writer(sys.stderr.fileno())
    as_text = settings.log_format == "text" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    writer.setFormatter(TextFormatter(wants_colour(os.environ)) if as_text else JsonFormatter())
    logging.basicConfig(handlers=[writer], level=settings.log_level.upper(), force=True)
    if settings.log_level != "debug":
        # What uvicorn tells of its start and stop is told here in the service's own terms.
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
    _log_warnings(with_messages=settings.log_level == "debug")


def _log_warnings(*, with_messages: bool) -> None:
    """Log the first warning of each place in the code.

    Libraries warn with every call, from the threads that compute: written to stderr that would stop
    the computing once nobody reads it.
    """
    seen: set[tuple[type[Warning], str, int]] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        del file, line
        place = (category, filename, lineno)
        if place in seen or len(seen) >= MOST_PLACES:
            return
        seen.add(place)
        text = str(message) if with_messages else WITHHELD
        where = f"{filename}:{lineno}"
        log.warning("%s: %s", category.__name__, text, extra={"fields": {"where": where}})

    warnings.showwarning = show


def count_dropped(count: Callable[[int], None]) -> None:
    """Tell this function of each line that could not be written."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, Writer):
            handler.on_dropped = count


def finish() -> None:
    """Write what waits to be written; called before the process ends."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def changed(settings: BaseSettings) -> dict[str, Any]:
    """Settings that differ from their defaults; of a secret only that it is set."""
    return {
        name: "(hidden)" if not field.repr or isinstance(value, SecretStr) else value
        for name, field in type(settings).model_fields.items()
        if (value := getattr(settings, name)) != field.default
    }
