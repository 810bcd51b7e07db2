"""The Kusto queries, which are files so that they can be read, and pasted into the portal.

Each file begins with comment lines that say what it shows. `lines.kql` defines what they begin
with: the service's log lines, in whichever table Azure keeps them. Only what is used goes along.
"""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SAVED = FOLDER / "queries"
ALERTS = SAVED / "alerts"
_COMMON = FOLDER / "lines.kql"


def saved() -> tuple[str, ...]:
    """The names of the queries for people, sorted."""
    return tuple(sorted(path.stem for path in SAVED.glob("*.kql")))


def alert(name: str, service: str) -> str:
    """The query of an alert rule, complete, about one service."""
    return _complete(ALERTS / f"{name}.kql", service)


def query(name: str, service: str) -> str:
    """A query for people, complete, about one service."""
    return _complete(SAVED / f"{name}.kql", service)


def title(name: str) -> str:
    """What a query for people shows, in a few words: ``where_time_goes``, "Where time goes"."""
    return name.replace("_", " ").capitalize()


def says(name: str) -> str:
    """The first sentence of a query for people."""
    lines = (SAVED / f"{name}.kql").read_text(encoding="utf-8").splitlines()
    comment = " ".join(line.removeprefix("//").strip() for line in lines if line.startswith("//"))
    return comment.partition(". ")[0].rstrip(".") + "."


def _complete(path: Path, service: str) -> str:
    text = path.read_text(encoding="utf-8")
    # A name has letters, digits and hyphens only: the rules of the configuration see to it.
    return "\n".join([f'let service = "{service}";', *_needed(text), text])


def _needed(text: str) -> list[str]:
    """The definitions of `lines.kql` that a query uses, without comments, in their order."""
    needed: list[str] = []
    text = "\n".join(line for line in text.splitlines() if not line.startswith("//"))
    for name, definition in reversed(_definitions()):
        if re.search(rf"\b{name}\b", "\n".join([text, *needed])):
            needed.insert(0, definition)
    return needed


def _definitions() -> list[tuple[str, str]]:
    lines = _COMMON.read_text(encoding="utf-8").splitlines()
    code = "\n".join(line for line in lines if not line.startswith("//"))
    blocks = re.split(r"^(?=let )", code, flags=re.MULTILINE)
    return [(each.split()[1], each.strip()) for each in blocks if each.strip()]
