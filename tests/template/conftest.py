"""Rendering for the tests of the template: once per set of answers, away from the user's files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.main import cookiecutter

REPOSITORY = Path(__file__).resolve().parents[2]
TEMPLATE_FOLDER = "{{cookiecutter.project_slug}}"
# What tools leave behind when somebody works inside the template folder; a clone has none of it.
LEFTOVERS = shutil.ignore_patterns(
    "__pycache__", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache"
)

Render = Callable[..., Path]


def questions() -> dict[str, Any]:
    """Return the public questions of cookiecutter.json with their default or their choices."""
    context = json.loads((REPOSITORY / "cookiecutter.json").read_text(encoding="utf-8"))
    return {name: value for name, value in context.items() if not name.startswith("_")}


def files_in(project: Path) -> list[str]:
    """Return the paths of all files of a project, its git repository left out, sorted."""
    paths = (path.relative_to(project) for path in project.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if path.parts[0] != ".git")


def git(folder: Path, *arguments: str) -> str:
    """Return what git prints in the folder; a failure of git fails the test."""
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(autouse=True)
def _nobody_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings of the person who runs the tests: those of git and of cookiecutter."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "COOKIECUTTER_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def whole_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the template as a fresh clone would hold it."""
    copy = tmp_path_factory.mktemp("template") / "aci-ml-template"
    copy.mkdir()
    shutil.copy(REPOSITORY / "cookiecutter.json", copy)
    for folder in ("hooks", TEMPLATE_FOLDER):
        shutil.copytree(REPOSITORY / folder, copy / folder, ignore=LEFTOVERS)
    return copy


@pytest.fixture(scope="session")
def template(whole_template: Path) -> Path:
    """Return the template that is rendered."""
    return whole_template


@pytest.fixture(scope="session")
def light_template(whole_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy without the packages of engine/, for tests of what answers decide elsewhere.

    No file of engine/ depends on an answer, and copying and committing them takes most of the time.
    """
    copy = tmp_path_factory.mktemp("light") / whole_template.name
    shutil.copytree(whole_template, copy)
    for path in (copy / TEMPLATE_FOLDER / "engine").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    return copy


@pytest.fixture(scope="session")
def settings_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cookiecutter configuration that keeps its records in a temporary folder."""
    folder = tmp_path_factory.mktemp("cookiecutter")
    path = folder / "config.yaml"
    path.write_text(
        json.dumps({"replay_dir": f"{folder}/replay", "cookiecutters_dir": f"{folder}/templates"}),
        encoding="utf-8",
    )
    return path


@pytest.fixture
def render_into(template: Path, settings_file: Path) -> Render:
    """Return a function that renders into a given folder and returns the project's folder."""

    def render_into(output: Path, *, again: bool = False, **answers: str) -> Path:
        project = cookiecutter(
            str(template),
            no_input=True,
            extra_context=answers,
            output_dir=str(output),
            config_file=str(settings_file),
            overwrite_if_exists=again,
        )
        return Path(project)

    return render_into


RENDERED: dict[tuple[Path, tuple[tuple[str, str], ...]], Path] = {}


@pytest.fixture
def render(template: Path, render_into: Render, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Return a function that renders each set of answers once; nobody may change the result."""

    def render(**answers: str) -> Path:
        key = (template, tuple(sorted(answers.items())))
        if key not in RENDERED:
            RENDERED[key] = render_into(tmp_path_factory.mktemp("rendered"), **answers)
        return RENDERED[key]

    return render


@pytest.fixture
def type_answers(template: Path, settings_file: Path, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that types one line per question into the real command line.

    An empty line takes the default. The function returns the finished process; what was
    generated lies in `tmp_path / "typed"`.
    """

    def type_answers(*lines: str, options: tuple[str, ...] = ()) -> Any:
        output = tmp_path / "typed"
        output.mkdir()
        command = [sys.executable, "-m", "cookiecutter", str(template), "-o", str(output)]
        lines += ("",) * (len(questions()) - len(lines))
        return subprocess.run(
            [*command, "--config-file", str(settings_file), *options],
            input="".join(f"{line}\n" for line in lines),
            capture_output=True,
            encoding="utf-8",
            check=False,
            env={**os.environ, "PYTHONUTF8": "1"},
        )

    return type_answers
