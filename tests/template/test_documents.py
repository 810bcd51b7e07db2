"""Documents: commands work as they are typed from the root of a checkout, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Rendered

BARE = re.compile(r"(?<!\.venv/bin/)python -m \S+")
LINK = re.compile(r"\]\(([^)\s]+)\)")
TITLE = re.compile(r"^#+ (.+)$", re.M)


@pytest.fixture(params=["template", "service"])
def documents(request: pytest.FixtureRequest, rendered: Rendered) -> dict[Path, str]:
    """The README and what is in docs/, by path."""
    root = REPOSITORY if request.param == "template" else rendered("onnx")
    paths = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    assert len(paths) > 3
    return {path.resolve(): path.read_text(encoding="utf-8") for path in paths}


def test_no_command_needs_packages_that_its_python_lacks(documents: dict[Path, str]) -> None:
    bare = {path.name: BARE.findall(text) for path, text in documents.items()}
    assert {name: found for name, found in bare.items() if found} == {}


def test_every_link_leads_to_a_file_or_a_section(documents: dict[Path, str]) -> None:
    lost = []
    for path, text in documents.items():
        for link in LINK.findall(text):
            file, _, section = link.partition("#")
            target = path.parent / file if file else path
            known = section in _anchors(documents.get(target.resolve(), ""))
            if "://" not in link and not (target.exists() and (known or not section)):
                lost.append(f"{path.name}: {link}")
    assert lost == []


def _anchors(text: str) -> set[str]:
    """Of the sections, as GitHub makes them."""
    return {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in TITLE.findall(text)
    }
