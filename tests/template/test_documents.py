"""The links of all documents lead somewhere, in the template and in what it generates."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.template.conftest import REPOSITORY, Render

LINK = re.compile(r"(?<!`)\[[^\]\n]*\]\(([^)\s]+)\)")
OUTSIDE = ("https:", "http:", "mailto:")


def broken_links(documents: list[Path]) -> list[str]:
    """Return the relative links that lead to no file, or to no heading in it."""
    assert documents
    found = []
    for document in documents:
        text = document.read_text(encoding="utf-8")
        for link in LINK.findall(text):
            file, _, anchor = unquote(link).partition("#")
            target = document.parent / file if file else document
            if not link.startswith(OUTSIDE) and (
                not target.exists() or (anchor and anchor not in anchors(target))
            ):
                found.append(f"{document.name}: {link}")
    return found


def anchors(document: Path) -> set[str]:
    """Return what GitHub calls the headings of a document; code is no heading."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("runs_on", ["aci-cpu", "containerapps-t4"])
def test_links_of_the_generated_documents(render: Render, runs_on: str) -> None:
    project = render(runs_on=runs_on)
    documents = [project / "README.md", *sorted((project / "docs").glob("*.md"))]
    assert broken_links([*documents, *sorted((project / "engine").rglob("*.md"))]) == []


def test_links_of_the_template() -> None:
    assert broken_links([REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]) == []


def test_the_readme_is_read_in_five_minutes(render: Render) -> None:
    """At 250 words a minute, tables and commands included."""
    assert len((render() / "README.md").read_text(encoding="utf-8").split()) <= 1250
