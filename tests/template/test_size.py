"""The owner's part of a generated project is small, and docs/size.md has the size of each part."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scripts.size import PAGE, measure, table

from .conftest import Render


@pytest.fixture
def project(render: Render) -> Path:
    """A project with the default answers."""
    return render()


def test_the_owners_part_keeps_its_budgets(project: Path) -> None:
    sizes = measure(project)
    # 45, and the chapter on Kubernetes.
    assert sizes["outside engine/"].files <= 46
    assert sizes["outside engine/ without tests/"].lines <= 600
    assert sizes["tests/"].lines <= 2000


def test_the_page_has_the_sizes_of_today(project: Path) -> None:
    """`make size` writes them anew."""
    assert PAGE.read_text(encoding="utf-8").endswith(table(measure(project)))


@pytest.mark.parametrize(
    ("part", "selected"),
    [
        ("outside engine/", ":!engine"),
        ("tests/", "tests"),
        ("engine/", "engine"),
        ("engine/serving/", "engine/serving"),
    ],
)
def test_the_sizes_are_those_of_git_and_wc(part: str, selected: str, project: Path) -> None:
    def counted(command: str) -> int:
        listed = f"git ls-files -- '{selected}' | {command}"
        done = subprocess.run(listed, shell=True, cwd=project, capture_output=True, check=True)
        return int(done.stdout)

    size = measure(project)[part]
    assert size.files == counted("wc -l")
    assert size.lines == counted(r"grep '\.py$' | xargs cat | wc -l")
