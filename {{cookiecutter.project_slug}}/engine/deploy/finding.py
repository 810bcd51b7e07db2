"""One thing that is wrong, as preflight, doctor and the diagnosis of a failure report it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Certainty(IntEnum):
    """How sure a finding is; the surest sorts first. What is only possible stops no deploy."""

    CERTAIN = 0
    LIKELY = 1
    POSSIBLE = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause in one line, what to do about it, and the lines of evidence that show it.

    ``code`` names it for programs. ``symptom``: it only follows from something else, and is not
    worth a line once that is known. ``explains`` holds the codes of findings that this one makes
    superfluous.
    """

    code: str
    cause: str
    fix: str
    certainty: Certainty = Certainty.CERTAIN
    evidence: tuple[str, ...] = ()
    symptom: bool = False
    explains: frozenset[str] = frozenset()

    @property
    def fatal(self) -> bool:
        """A deploy must not begin with it."""
        return self.certainty < Certainty.POSSIBLE and not self.symptom


def most_telling(found: list[Finding]) -> tuple[Finding, ...]:
    """The surest first, each code once, without what others explain."""
    explained = {code for each in found for code in each.explains}
    ordered = sorted(found, key=lambda each: (each.symptom, each.certainty))
    kept: dict[str, Finding] = {}
    for each in ordered:
        if each.code not in explained and each.code not in kept:
            kept[each.code] = each
    if any(not each.symptom and each.certainty < Certainty.POSSIBLE for each in kept.values()):
        return tuple(each for each in kept.values() if not each.symptom)
    return tuple(kept.values())
