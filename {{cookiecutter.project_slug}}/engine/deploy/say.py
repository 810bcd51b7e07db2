"""What a command tells the person who runs it: progress on stderr, a summary for GitHub.

Results go to stdout, printed by the command itself. Secret values are replaced by ``***`` in
whatever passes through here, wherever it came from.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

HIDDEN = "***"


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace secret values in a text, the longest first, so that no tail of one is left."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


class Say:
    """One command's voice. Lines start with the minutes and seconds since it began."""

    def __init__(self, *, verbose: bool = False, summary: Path | None = None) -> None:
        self.verbose = verbose
        self._summary = summary
        self._began = time.monotonic()
        self._secrets: list[str] = []

    def hide(self, secrets: Iterable[str]) -> None:
        """Never show these values from now on."""
        self._secrets += [secret for secret in secrets if secret]

    def redact(self, text: str) -> str:
        """The text without the values that ``hide`` was told."""
        return redact(text, self._secrets)

    def step(self, text: str) -> None:
        """Something begins, or is done."""
        seconds = int(time.monotonic() - self._began)
        self._line(f"{seconds // 60:2d}:{seconds % 60:02d}  {text}")

    def detail(self, text: str) -> None:
        """A line that belongs to the step above."""
        for line in text.splitlines() or [""]:
            self._line(f"       {line}")

    def warning(self, text: str) -> None:
        """Something that the person should know; GitHub shows it on the run's page."""
        mark = "::warning::" if os.environ.get("GITHUB_ACTIONS") == "true" else "warning: "
        self._line(mark + " ".join(text.split()))

    def command(self, command: Sequence[str]) -> None:
        """A command line that is about to run; shown when verbose."""
        if self.verbose:
            self._line(f"+ {shlex.join(command)}")

    def planned(self, command: Sequence[str], *, stdin: bool) -> None:
        """A command line that a dry run leaves out: a result, so it goes to stdout."""
        suffix = "  # with a document on standard input" if stdin else ""
        print(self.redact(shlex.join(command)) + suffix, flush=True)

    def summary(self, markdown: str) -> None:
        """Append to the summary of the run on GitHub; without one, nothing happens."""
        if self._summary is None:
            return
        with self._summary.open("a", encoding="utf-8") as file:
            file.write(self.redact(markdown).rstrip() + "\n\n")

    def _line(self, text: str) -> None:
        print(self.redact(text), file=sys.stderr, flush=True)


def default_say(*, verbose: bool = False) -> Say:
    """The voice of the command line: the summary's file is the one that GitHub names."""
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    return Say(verbose=verbose, summary=Path(summary) if summary else None)
