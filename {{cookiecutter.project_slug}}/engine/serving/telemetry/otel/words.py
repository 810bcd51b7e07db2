"""What the exporting libraries log, kept instead of printed.

They log each attempt that fails, several lines at a time, for as long as a collector is down. The
courier prints one line when it begins, with the reason from here.
"""

from __future__ import annotations

import logging

LIBRARIES = ("opentelemetry", "azure", "urllib3", "requests", "msal")
LONGEST = 300


class LastWords(logging.Handler):
    """Remembers the last warning of the libraries, and keeps it from the log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        self.say(record.getMessage())

    def say(self, words: str) -> None:
        """Remember this."""
        self.last = " ".join(words.split())[:LONGEST]

    def forget(self) -> None:
        """What is said from now on belongs to another attempt."""
        self.last = ""


def listen() -> LastWords:
    """Take over the loggers of the libraries; once for each process."""
    words = LastWords()
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers = [words]
        logger.propagate = False
        logger.setLevel(logging.WARNING)
    return words
