"""What changed between two sets of locks, as a table for a pull request. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping

PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)

Change = tuple[str, str, str]
"""Package, version before, version after; "" where there is none."""


def pins(lock: str) -> dict[str, str]:
    """The pinned versions of a lock, by package; several for one package are joined."""
    found: dict[str, list[str]] = {}
    for name, version in PIN.findall(lock):
        found.setdefault(name.lower(), []).append(version)
    return {name: " / ".join(sorted(set(versions))) for name, versions in found.items()}


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    """Packages whose version differs between two folders of locks, given as file to text."""
    old = _merged(before)
    new = _merged(after)
    names = sorted(old.keys() | new.keys())
    return [
        (name, old.get(name, ""), new.get(name, ""))
        for name in names
        if old.get(name) != new.get(name)
    ]


def table(changed: list[Change]) -> str:
    """The changes in Markdown."""
    lines = ["| package | before | after |", "|---|---|---|"]
    lines += [f"| {name} | {old or '–'} | {new or '–'} |" for name, old, new in changed]  # noqa: RUF001
    return "\n".join(lines)


def _merged(locks: Mapping[str, str]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for text in locks.values():
        merged |= pins(text)
    return merged
