"""Logs: one JSON object for each event, or readable lines on a terminal."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from app.settings import Settings


class JsonFormatter(logging.Formatter):
    """One line of JSON; a traceback becomes one field of it."""

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        event = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False)


def configure(settings: Settings) -> None:
    """Send all logs to stderr, in the format and from the level that the settings say."""
    handler = logging.StreamHandler(sys.stderr)
    as_text = settings.log_format == "text" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    if as_text:
        handler.setFormatter(logging.Formatter("%(levelname)-8s %(message)s"))
    else:
        handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)
