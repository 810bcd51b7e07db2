"""The generated project is already as its own formatter and linter want it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Render, git

pytestmark = pytest.mark.slow

VARIANTS = [
    {"model_format": "onnx"},
    {"model_format": "joblib"},
    {"runs_on": "containerapps-t4", "python_version": "3.11"},
    {"project_name": 'It\'s "long" \\ ' + "x" * 66, "description": "line\n" * 100},
]
every_variant = pytest.mark.parametrize("answers", VARIANTS, ids=lambda a: "-".join(a)[:40])


def ruff(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ruff with the project's own settings, leaving no cache behind."""
    command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", "."]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


@every_variant
def test_the_formatter_would_change_nothing(answers: dict[str, str], render: Render) -> None:
    done = ruff(render(**answers), "format", "--diff")
    assert done.returncode == 0, done.stdout


@every_variant
def test_the_linter_finds_nothing(answers: dict[str, str], render: Render) -> None:
    done = ruff(render(**answers), "check")
    assert done.returncode == 0, done.stdout


@every_variant
def test_formatting_and_fixing_leaves_git_status_empty(
    answers: dict[str, str], render_into: Render, tmp_path: Path
) -> None:
    project = render_into(tmp_path, **answers)
    ruff(project, "check", "--fix")
    ruff(project, "format")
    assert git(project, "status", "--porcelain") == ""


def test_the_owners_rules_extend_the_engines_and_do_not_touch_it(
    render_into: Render, tmp_path: Path
) -> None:
    project = render_into(tmp_path)
    for folder in ("engine", "training"):
        (project / folder / "extra.py").write_text('"""Extra."""\n\nimport os\n', encoding="utf-8")
    extended = '[tool.ruff]\nextend = "engine/ruff.toml"\n'
    settings = project / "pyproject.toml"
    text = settings.read_text(encoding="utf-8")
    assert extended in text
    settings.write_text(text.replace(extended, f'{extended}lint.extend-ignore = ["F401"]\n'))
    found = ruff(project, "check", "--output-format", "concise").stdout
    assert [line.split(":")[0] for line in found.splitlines() if "F401" in line] == [
        "engine/extra.py"
    ]
