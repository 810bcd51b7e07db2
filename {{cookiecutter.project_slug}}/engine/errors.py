"""What a command of the engine fails with: the cause, and what the person who ran it can do."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PLACEHOLDER = re.compile(r"(`(?:\.venv/bin/python -m engine.deploy )?[a-z]+) ENV\b")


class EngineError(Exception):
    """A command cannot do what was asked. ``cause`` says what is so, ``fix`` what to do.

    ``exit_code`` is that of the command line.
    """

    exit_code = 1

    def __init__(self, cause: str, fix: str) -> None:
        super().__init__(f"{cause}\nfix: {fix}")
        self.cause = cause
        self.fix = fix


class NoAccess(EngineError):
    """Azure or GitHub cannot be asked: its program is missing, or nobody is logged in."""


def for_stage(text: str, stage: str | None) -> str:
    """The text with the environment's name in the commands that it names for ENV."""
    return _PLACEHOLDER.sub(rf"\1 {stage}", text) if stage else text


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of the configuration: where it is, its value, the rule it breaks."""

    file: str
    field: str
    value: object
    rule: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}: {self.field} is {self.value!r}: {self.rule}; {self.fix}"


class ConfigError(EngineError):
    """The configuration breaks rules; all its faults are listed."""

    exit_code = 2

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        lines = "\n".join(f"  {fault}" for fault in faults)
        super().__init__(f"the configuration has {len(faults)} fault(s):\n{lines}", "see each line")
        self.faults = faults
