"""Promises with what was measured, as printed and as kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Promise:
    """One thing that must hold, and whether it did."""

    text: str
    found: str
    kept: bool


@dataclass(frozen=True)
class Outcome:
    """What one experiment found: a table for people, promises, and figures to keep."""

    name: str
    about: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    promises: Sequence[Promise]
    figures: Mapping[str, Any]

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return all(promise.kept for promise in self.promises)


def at_most(text: str, value: float, limit: float, unit: str = "") -> Promise:
    """A value that must not be larger than its limit."""
    return Promise(f"{text}: at most {limit:g}{unit}", f"{value:.4g}{unit}", value <= limit)


def at_least(text: str, value: float, limit: float, unit: str = "") -> Promise:
    """A value that must not be smaller than its limit."""
    return Promise(f"{text}: at least {limit:g}{unit}", f"{value:.4g}{unit}", value >= limit)


def none_of(text: str, faults: Mapping[str, int]) -> Promise:
    """Faults of which there must be none."""
    found = ", ".join(f"{count} x {fault}" for fault, count in faults.items())
    return Promise(f"no {text}", found or "none", not faults)


def show(outcome: Outcome) -> str:
    """Table, promises and verdict, as Markdown."""
    lines = [f"## {outcome.name}", outcome.about, "", _line(outcome.columns)]
    lines.append(_line(["---"] * len(outcome.columns)))
    lines += [_line(row) for row in outcome.rows]
    lines.append("")
    for promise in outcome.promises:
        mark = "kept  " if promise.kept else "BROKEN"
        lines.append(f"- {mark} {promise.text} (found: {promise.found})")
    lines.append(f"verdict: {outcome.name}: {'KEPT' if outcome.kept else 'BROKEN'}")
    return "\n".join(lines)


def save(outcome: Outcome, folder: Path) -> Path:
    """Keep everything as JSON; the path it was written to."""
    path = folder / f"resilience-{outcome.name}.json"
    content = asdict(outcome) | {"kept": outcome.kept}
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return path


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
