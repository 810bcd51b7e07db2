"""Draws both distributions of each column beside each other, as an SVG file.

Matplotlib was weighed: its thirty megabytes would be installed wherever models are packaged, for
bars.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Final

from engine.drift.compare import Compared, Report

WIDTH: Final = 720
MARGIN: Final = 16
ROW: Final = 20
HEAD: Final = 44
NAMES: Final = 200
LONGEST_NAME: Final = 30
STYLE: Final = (
    "text{font:13px system-ui,sans-serif;fill:#18202b}.soft{fill:#566172}.then{fill:#2355c4}"
    ".now{fill:#a8500c}.back{fill:#fff}"
)


def draw(report: Report, path: Path) -> None:
    """Write the picture.

    Raises:
        OSError: it cannot be written.
    """
    parts: list[str] = []
    top = 3 * ROW
    for each in sorted(report.columns, key=lambda each: -each.found.index / each.found.limit):
        parts += _column(each, top)
        top += HEAD + ROW * len(each.column.bins)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img">'
        f"<title>{escape(report.title)}</title><style>{STYLE}</style>"
        f'<rect class="back" width="{WIDTH}" height="{top}"/>'
        f"{_text(MARGIN, ROW, report.title)}"
        f"{_text(NAMES, 2 * ROW, 'training', 'then')}"
        f"{_text((WIDTH + NAMES) // 2, 2 * ROW, 'this file', 'now')}"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head, *parts, "</svg>", ""]), encoding="utf-8")


def _column(each: Compared, top: int) -> Iterator[str]:
    found = each.found
    mark = ", drifted" if found.shifted else ""
    yield _text(MARGIN, top + ROW, _short(each.column.name))
    yield _text(NAMES, top + ROW, f"index {found.index:.3f}, limit {found.limit:.3f}{mark}", "soft")
    half = (WIDTH - NAMES) // 2
    for at, (name, then, now) in enumerate(each.bars()):
        line = top + HEAD + ROW * at
        yield _text(MARGIN, line, _short(name), "soft")
        for kind, start, share in (("then", NAMES, then), ("now", NAMES + half, now)):
            # Room for the figure behind a full bar.
            size = round((half - 3 * MARGIN) * share, 1)
            yield f'<rect class="{kind}" x="{start}" y="{line - 11}" width="{size}" height="12"/>'
            yield _text(start + size + 4, line, f"{share:.0%}", "soft")


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _text(x: float, y: int, text: str, kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{name}>{escape(text)}</text>'
