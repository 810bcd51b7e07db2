"""Known vulnerabilities that the owner allows for a time, each with a reason, as Grype reads them.

`python -m engine.upkeep.vulnerabilities` checks deploy/vulnerabilities.yaml and prints Grype's
configuration, which is JSON. Without the file nothing is allowed. Exit code 2: it has faults; an
exception that has run out is one.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from engine.deploy.config.kinds import Section, matching, refuse
from engine.deploy.config.read import read_section
from engine.errors import ConfigError

FILE = "deploy/vulnerabilities.yaml"
LONGEST_DAYS = 366


def today() -> date:
    """The day, in UTC."""
    return datetime.now(UTC).date()


def _as_text(value: object) -> object:
    """YAML makes a date of what looks like one."""
    return value.isoformat() if isinstance(value, date) else value


def _ahead(value: str) -> str:
    try:
        day = date.fromisoformat(value)
    except ValueError:
        example = (today() + timedelta(days=90)).isoformat()
        raise refuse("must be a day, as YYYY-MM-DD", f"write for example {example}") from None
    if day < today():
        raise refuse(
            "must not be over: the exception has run out",
            "take the version that repairs it (make lock UPGRADE=1) and remove the exception, or "
            "look at it again and give it another day",
        )
    if day > today() + timedelta(days=LONGEST_DAYS):
        raise refuse("must be within a year", "look at it again by then")
    return value


class Allowed(Section):
    """One exception."""

    id: Annotated[
        str,
        matching(
            r"(CVE-\d{4}-\d{4,}|GHSA(-[0-9a-z]{4}){3})",
            "must be the identifier that the scan shows",
            "CVE-2026-12345",
        ),
    ]
    reason: Annotated[
        str,
        matching(
            r"(?=.{10,300}$)\S[^\r\n]*",
            "must say why in one line of 10 to 300 characters",
            '"no request reaches the parser that has it"',
        ),
    ]
    until: Annotated[str, BeforeValidator(_as_text), AfterValidator(_ahead)] = Field(
        description="The last day on which it is allowed."
    )


class Vulnerabilities(Section):
    """The whole file."""

    allowed: Annotated[tuple[Allowed, ...], Field(strict=False)] = ()


def read(root: Path) -> tuple[Allowed, ...]:
    """The exceptions that hold today.

    Raises:
        ConfigError: the file has faults; all of them are listed.
    """
    if not (root / FILE).exists():
        return ()
    return read_section(Vulnerabilities, root, FILE).allowed


def grype(allowed: tuple[Allowed, ...]) -> dict[str, Any]:
    """Grype's configuration."""
    return {"ignore": [{"vulnerability": each.id, "reason": each.reason} for each in allowed]}


def main(root: Path) -> int:
    """Print it; the exit code."""
    try:
        print(json.dumps(grype(read(root)), indent=2))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
