"""Sentences that mean the same wherever they are found, as a table: pattern, cause, fix.

Patterns were taken from answers of Azure Resource Manager, Azure Container Instances and Entra as
published in Azure's troubleshooting pages and in public reports. Named groups of a pattern can be
used in its cause and fix.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from engine.deploy.diagnosis.evidence import Evidence
from engine.deploy.finding import Certainty, Finding

GPU_RETIRED = "gpu-retired"
TIMEOUT = "provisioning-timeout"
SHOWN_CHARACTERS = 400
NOT_NAMED = "(not named)"


@dataclass(frozen=True, slots=True)
class Sentence:
    """One row of the table; see ``Finding`` for the words."""

    code: str
    pattern: re.Pattern[str]
    cause: str
    fix: str
    certainty: Certainty = Certainty.CERTAIN
    symptom: bool = False
    explains: frozenset[str] = frozenset()

    def match(self, text: str) -> Finding | None:
        """The diagnosis, if the text says it."""
        found = self.pattern.search(text)
        if found is None:
            return None
        words = {name: value or NOT_NAMED for name, value in found.groupdict().items()}
        return Finding(
            self.code,
            self.cause.format(**words),
            self.fix.format(**words),
            self.certainty,
            (text[:SHOWN_CHARACTERS],),
            self.symptom,
            self.explains,
        )


def in_texts(table: Iterable[Sentence], evidence: Evidence) -> list[Finding]:
    """Every row that some text matches; each code once, the first text wins."""
    found: dict[str, Finding] = {}
    for row in table:
        for text in evidence.texts:
            if row.code not in found and (diagnosis := row.match(text)):
                found[row.code] = diagnosis
    return list(found.values())


def pattern(text: str) -> re.Pattern[str]:
    """A pattern that takes any case; texts come without line breaks."""
    return re.compile(text, re.IGNORECASE)
