"""Count what a default project consists of, print it, and keep docs/size.md true: `make size`."""

from __future__ import annotations

import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from scripts.rendering import render

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "size.md"
HEAD = "| part | files | lines of Python |\n|---|--:|--:|\n"


class Size(NamedTuple):
    """Files, and lines of Python in them."""

    files: int = 0
    lines: int = 0


def measure(project: Path) -> dict[str, Size]:
    """The size of each part of a project, of those files that git has."""
    command = ["git", "-C", str(project), "ls-files", "-z"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    sizes: defaultdict[str, Size] = defaultdict(Size)
    for name in listed.rstrip("\0").split("\0"):
        python = name.endswith(".py")
        lines = len((project / name).read_bytes().splitlines()) if python else 0
        for part in parts(name):
            sizes[part] = Size(sizes[part].files + 1, sizes[part].lines + lines)
    return dict(sizes)


def parts(name: str) -> list[str]:
    """The parts that a file counts for."""
    first, *others = name.split("/")
    if first == "engine":
        return ["engine/", f"engine/{others[0]}/" if len(others) > 1 else "engine/ itself"]
    return ["outside engine/", "tests/" if first == "tests" else "outside engine/ without tests/"]


def table(sizes: dict[str, Size]) -> str:
    """The sizes in Markdown: first what is the owner's."""
    names = sorted(sizes, key=lambda name: (name.startswith("engine/"), name))
    return HEAD + "".join(
        f"| `{name}` | {sizes[name].files} | {sizes[name].lines:,} |\n" for name in names
    )


def main() -> None:
    """Render, count, print, and write the table into the page."""
    with tempfile.TemporaryDirectory(prefix="size-") as folder:
        counted = table(measure(render(folder)))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page[: page.index(HEAD)] + counted, encoding="utf-8")
    print(counted)


if __name__ == "__main__":
    main()
