"""The logs of an app as Azure streams them: each line a JSON object with a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from engine.deploy.az import Az, AzError
from engine.deploy.config import names

LINES = "300"
"""The most of the past that Azure gives."""

# What the stream says of itself before the first line of the log.
_OWN_WORDS = re.compile(r"^(Connecting to the container|Successfully Connected to container) ?")


class AppLogs:
    """The logs of the app ``name``; only what runs has one."""

    def __init__(self, az: Az, group: str, name: str) -> None:
        self._az = az
        self._place = ("--name", name, "--resource-group", group)

    def console(self, revision: str, replica: str, *, follow: bool) -> Iterator[str]:
        """What the service in one replica writes, oldest first, as it wrote it."""
        where = ("--revision", revision, "--replica", replica, "--container", names.CONTAINER)
        more = ("--follow", "true") if follow else ()
        command = ("containerapp", "logs", "show", *self._place, *where)
        yield from readable(self._az.lines(*command, "--format", "json", "--tail", LINES, *more))

    def system(self) -> list[str]:
        """What Azure did with the app, a JSON object in each line; empty if it cannot be read."""
        command = ("containerapp", "logs", "show", *self._place, "--type", "system")
        try:
            return list(self._az.lines(*command, "--tail", LINES))
        except AzError:
            return []


def readable(lines: Iterable[str]) -> Iterator[str]:
    """The log without Azure's wrapping, and without what the stream says of itself."""
    for line in lines:
        text = _text(line)
        if not _OWN_WORDS.match(text):
            yield text


def _text(line: str) -> str:
    try:
        shown = json.loads(line)
    except ValueError:
        return line
    text = shown.get("Log") if isinstance(shown, dict) else None
    # "F " and "P " mark full and partial lines in the log files of a node.
    return re.sub(r"^[FP] ", "", str(text)) if text is not None else line
