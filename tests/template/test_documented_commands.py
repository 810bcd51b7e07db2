"""Commands in documents work as they are typed, from the root of a checkout."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Rendered

BARE = re.compile(r"(?<!\.venv/bin/)python -m \S+")


@pytest.mark.parametrize("of", ["template", "service"])
def test_no_command_needs_packages_that_its_python_lacks(of: str, rendered: Rendered) -> None:
    root = REPOSITORY if of == "template" else rendered("onnx")
    documents = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    assert len(documents) > 3
    bare = {_name(each, root): BARE.findall(each.read_text("utf-8")) for each in documents}
    assert {name: found for name, found in bare.items() if found} == {}


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
