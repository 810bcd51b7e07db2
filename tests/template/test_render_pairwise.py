"""Every pair of choices renders: exactly the expected files, complete and readable."""

from __future__ import annotations

import fnmatch
import functools
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from allpairspy import AllPairs

from .conftest import REPOSITORY, TEMPLATE_FOLDER, Render, files_in, questions
from .expected_tree import expected_files

CHOICES: dict[str, list[str]] = {n: v for n, v in questions().items() if isinstance(v, list)}
COPIED: list[str] = json.loads((REPOSITORY / "cookiecutter.json").read_text(encoding="utf-8"))[
    "_copy_without_render"
]

BINARY = {".joblib", ".npz", ".onnx"}


def is_allowed(values: list[str]) -> bool:
    """Tell whether the values, given so far in the order of CHOICES, may be combined."""
    answers = dict(zip(CHOICES, values, strict=False))
    return answers.get("model_format") != "joblib" or answers["runs_on"] == "aci-cpu"


PAIRS = [
    dict(zip(CHOICES, values, strict=True))
    for values in AllPairs(list(CHOICES.values()), filter_func=is_allowed)
]
# FAST=1 renders one pair of each format.
FAST = [next(each for each in PAIRS if each["model_format"] == name) for name in ("onnx", "joblib")]
every_pair = pytest.mark.parametrize(
    "answers",
    [pytest.param(each, marks=[] if each in FAST else pytest.mark.slow) for each in PAIRS],
    ids=["-".join(each.values()) for each in PAIRS],
)


def is_copied(path: str) -> bool:
    """Tell whether cookiecutter copies the file as it is."""
    return any(fnmatch.fnmatch(path, pattern) for pattern in COPIED)


def text_of(path: Path) -> str | None:
    """Return the text of a file, or None where it is binary."""
    return None if path.suffix in BINARY else path.read_text(encoding="utf-8")


def template_paths() -> list[str]:
    """Return the paths of all files in the template folder."""
    folder = REPOSITORY / TEMPLATE_FOLDER
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths)


def test_the_pairs_cover_every_choice() -> None:
    for name, values in CHOICES.items():
        assert {answers[name] for answers in PAIRS} == set(values)


@every_pair
def test_exactly_the_expected_files_are_written(answers: dict[str, str], render: Render) -> None:
    project = render(**answers)
    assert files_in(project) == expected_files(answers["model_format"], answers["runs_on"])


@every_pair
def test_no_folder_is_empty(answers: dict[str, str], render: Render) -> None:
    project = render(**answers)
    folders = [p for p in project.rglob("*") if p.is_dir() and ".git" not in p.parts]
    assert [str(p) for p in folders if not any(p.iterdir())] == []


@every_pair
def test_no_template_expression_is_left(answers: dict[str, str], render: Render) -> None:
    project = render(**answers)
    # GitHub's own ${{ }} is legitimate, so is what alerts say ({{ $value }}), and so are doubled
    # braces in files that are only copied.
    left = re.compile(r"(?<!\$)\{\{(?! (?:(?:if )?\$|else|end))|\{%|\{#")
    for path in files_in(project):
        text = text_of(project / path) or ""
        assert not re.search(r"cookiecutter\.(?!json\b)", text), path
        assert is_copied(path) or not left.search(text), path


READERS: dict[str, Callable[[str], object]] = {
    ".json": json.loads,
    ".py": lambda text: compile(text, "file", "exec", dont_inherit=True),
    ".toml": tomllib.loads,
    ".yaml": lambda text: list(yaml.safe_load_all(text)),
    ".yml": lambda text: list(yaml.safe_load_all(text)),
}


@functools.cache
def read_as(suffix: str, text: str) -> None:
    """Read the text of a file; most files are the same in every project, and are read once."""
    READERS[suffix](text)


@every_pair
def test_every_file_can_be_read_by_its_own_parser(answers: dict[str, str], render: Render) -> None:
    project = render(**answers)
    for path in files_in(project):
        if Path(path).suffix in READERS:
            read_as(Path(path).suffix, (project / path).read_text(encoding="utf-8"))


@every_pair
def test_text_files_end_in_one_newline(answers: dict[str, str], render: Render) -> None:
    project = render(**answers)
    for path in files_in(project):
        text = text_of(project / path)
        assert not text or (text.endswith("\n") and not text.endswith("\n\n")), path


@every_pair
def test_the_answers_reach_the_files_that_depend_on_them(
    answers: dict[str, str], render: Render
) -> None:
    project = render(**answers)
    deployment = yaml.safe_load((project / "deploy/project.yaml").read_text(encoding="utf-8"))
    target, accelerator, gpu = {
        "aci-cpu": ("aci", "cpu", "none"),
        "containerapps-t4": ("containerapps", "gpu", "t4"),
        "containerapps-a100": ("containerapps", "gpu", "a100"),
        "aci-gpu": ("aci", "gpu", "v100"),
    }[answers["runs_on"]]
    assert deployment["accelerator"] == accelerator
    for stage in ("staging", "production"):
        file = project / f"deploy/environments/{stage}.yaml"
        environment = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert (environment["target"], environment["gpu"]) == (target, gpu)
    assert (project / ".python-version").read_text("utf-8") == f"{answers['python_version']}\n"


@pytest.mark.parametrize("model_format", CHOICES["model_format"])
def test_the_model_is_copied_byte_by_byte(model_format: str, render: Render) -> None:
    project = render(model_format=model_format)
    condition = f"{{% if cookiecutter.model_format == '{model_format}' %}}"
    source = REPOSITORY / TEMPLATE_FOLDER / "models/iris"
    model = source / f"{condition}model.{model_format}{{% endif %}}"
    written = project / "models/iris"
    assert (written / f"model.{model_format}").read_bytes() == model.read_bytes()
    assert (written / "golden.npz").read_bytes() == (source / "golden.npz").read_bytes()


def test_every_template_path_can_be_checked_out_on_windows() -> None:
    refused = re.compile(r'[<>:"|?*\\\x00-\x1f]|[ .](/|$)')
    assert [path for path in template_paths() if refused.search(path)] == []


def test_files_with_a_conditional_name_are_rendered_not_copied() -> None:
    # Copied, it would go to an empty name where the condition is false, and cookiecutter fails.
    assert [path for path in template_paths() if "{%" in path and is_copied(path)] == []


def test_code_and_workflows_are_copied_not_rendered() -> None:
    # Their braces are Python's and GitHub's; what varies stands in pyproject.toml and project.yaml.
    code = [
        path
        for path in template_paths()
        if path.endswith(".py") or path.startswith(".github/workflows/")
    ]
    assert code
    assert [path for path in code if not is_copied(path)] == []
