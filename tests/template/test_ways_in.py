"""AGENTS.md and the devcontainer of a generated project are true: layout, commands, version."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import Render, questions

# The properties that we use, of the reference at containers.dev/implementors/json_reference.
PROPERTIES: dict[str, type] = {
    "name": str,
    "image": str,
    "mounts": list,
    "forwardPorts": list,
    "portsAttributes": dict,
    "postCreateCommand": str,
    "postAttachCommand": str,
}
# Of no interest to somebody who changes the service.
UNNAMED = {"AGENTS.md", ".devcontainer", ".dockerignore", ".editorconfig", ".git"}
UNNAMED |= {".gitattributes", ".gitignore", ".python-version"}


def targets(project: Path) -> set[str]:
    """What make itself can build in the project."""
    printed = subprocess.run(
        ["make", "--print-data-base", "--question", "--no-builtin-rules", "help"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return set(re.findall(r"^([a-z][a-z-]*):", printed, re.MULTILINE))


def agents(project: Path) -> str:
    return (project / "AGENTS.md").read_text(encoding="utf-8")


def quoted(project: Path) -> set[str]:
    """What AGENTS.md has in backticks."""
    return set(re.findall(r"`([^`]+)`", agents(project)))


def test_every_command_for_agents_is_a_target_of_make(render: Render) -> None:
    project = render()
    named = {text.split()[1] for text in quoted(project) if text.startswith("make ")}
    assert named >= {"serve", "test", "lint"}
    assert named <= targets(project)


def test_every_path_for_agents_exists(render: Render) -> None:
    project = render()
    paths = {text for text in quoted(project) if not text.startswith("make ")}
    assert {"engine/", "models/", "deploy/project.yaml"} <= paths
    assert [path for path in paths if not list(project.glob(path.rstrip("/")))] == []


def test_agents_learn_of_everything_at_the_top(render: Render) -> None:
    project = render()
    named = {text.split("/")[0] for text in quoted(project)}
    assert {path.name for path in project.iterdir()} - UNNAMED - named == set()


def test_the_page_for_agents_is_short(render: Render) -> None:
    assert len(agents(render()).splitlines()) <= 60


@pytest.mark.sampled
@pytest.mark.parametrize("version", questions()["python_version"])
def test_the_devcontainer_has_the_python_of_the_answer(version: str, render: Render) -> None:
    assert devcontainer(render(python_version=version))["image"] == f"python:{version}"


def test_the_devcontainer_runs_targets_of_make(render: Render) -> None:
    project = render()
    content = devcontainer(project)
    commands = [value for key, value in content.items() if key.endswith("Command")]
    assert commands == ["make test", "make serve"]
    assert {command.split()[1] for command in commands} <= targets(project)
    # The port on which `make serve` listens.
    assert content["forwardPorts"] == [8000]


def test_the_devcontainer_has_known_properties_of_the_right_type(render: Render) -> None:
    content = devcontainer(render(project_name='Say "iris" \\ now'))
    assert content["name"] == 'Say "iris" \\ now'
    assert {key: type(value) for key, value in content.items()} == PROPERTIES


def devcontainer(project: Path) -> dict[str, Any]:
    text = (project / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content
