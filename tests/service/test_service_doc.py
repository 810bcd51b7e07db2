"""docs/service.md: its examples, typed into a new project's `service.py`, do what they say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.once import BUILD

from .running import running

pytestmark = pytest.mark.slow

CODE = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
KEY = "a-key-for-the-documentation"
EXAMPLES = 4


@dataclass(frozen=True)
class Project:
    """A project with the examples, and the interpreter of its environment."""

    folder: Path
    python: Path

    def run(self, *arguments: str) -> str:
        """What a module prints; it must succeed."""
        return self._run(str(self.python), "-m", *arguments)

    def make(self, target: str) -> str:
        """What a target of make prints; it must succeed."""
        return self._run("make", "--silent", target)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def project(
    rendered_service: Path, service_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Project:
    folder = tmp_path_factory.mktemp("documented") / "iris-service"
    shutil.copytree(rendered_service, folder)
    add_examples(folder)
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "ruff"):
        (programs / name).write_text(f'#!/bin/sh\nexec "{service_python.with_name(name)}" "$@"\n')
        (programs / name).chmod(0o755)
    for stamp in (".serve", ".dev"):
        (folder / ".venv" / stamp).touch()
    return Project(folder, service_python)


def add_examples(folder: Path) -> None:
    """Type the examples of docs/service.md as it says: imports at the top, the rest at the end."""
    examples = CODE.findall((folder / "docs" / "service.md").read_text(encoding="utf-8"))
    assert len(examples) == EXAMPLES
    lines = "\n\n".join(examples).splitlines()
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    others = "\n".join(line for line in lines if line not in imports)
    path = folder / "service.py"
    head, future, rest = path.read_text(encoding="utf-8").partition("from __future__")
    first, *after = rest.splitlines(keepends=True)
    text = f"{head}{future}{first}" + "".join(f"{line}\n" for line in imports) + "".join(after)
    path.write_text(f"{text}\n\n{others}\n", encoding="utf-8")


@pytest.fixture(scope="module")
def url(project: Project) -> Iterator[str]:
    settings = {"API_KEYS": KEY, "CONTACT": "flora@example.com"}
    with running(project.python, project.folder, **settings) as url:
        yield url


def ask(url: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and JSON of an answer."""
    data = None if body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", "X-API-Key": KEY, **headers}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, sent), timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_rule_refuses_what_is_no_iris(url: str) -> None:
    status, answer = ask(f"{url}/predict", {"data": [[5.9, 3.0, 5.1, 1.8], [10.5, 3.0, 5.1, 1.8]]})
    assert status == 422
    assert answer["error"] == "sepal length is 10.5 cm; send centimetres, at most 10"
    assert ask(f"{url}/predict", {"data": [[10.0, 3.0, 5.1, 1.8]]})[0] == 200


def test_the_output_is_in_the_answer_and_in_the_metadata(url: str) -> None:
    _, answer = ask(f"{url}/predict", {"data": [[5.9, 3.0, 5.1, 1.8]]})
    (probabilities,) = answer["outputs"]["probabilities"]
    (confidence,) = answer["outputs"]["confidence_percent"]
    assert confidence == pytest.approx(100 * max(probabilities), rel=1e-5)
    _, model = ask(f"{url}/v2/models/iris")
    assert model["outputs"][-1] == {
        "name": "confidence_percent", "datatype": "FP32", "shape": [-1],
    }  # fmt: skip


def test_the_route_shows_the_setting_to_those_with_a_key(url: str) -> None:
    assert ask(f"{url}/about") == (200, {"contact": "flora@example.com"})
    assert ask(f"{url}/about", **{"X-API-Key": "some-other-key-0123"})[0] == 401
    assert "/about" in ask(f"{url}/openapi.json")[1]["paths"]


def test_the_setting_is_listed(project: Project) -> None:
    table = project.run("engine.serving.settings")
    assert "| `CONTACT` | `nobody@example.com` | Shown by `GET /about`. |" in table


def test_the_commands_of_the_page_and_the_linters_accept_it(project: Project) -> None:
    """What `make lint` runs, for this file alone."""
    told = project.make("check")
    assert "service.py answers 30 golden requests and refuses 0" in told
    project.make("format")
    project.run("ruff", "check", "service.py", "engine")
    project.run("ruff", "format", "--check", "service.py", "engine")
    types = ("--config-file", "engine/mypy.ini", "--cache-dir", str(BUILD / "mypy-service"))
    project.run("mypy", *types, "service.py")


def test_verification_is_not_misled_by_the_changed_answers(project: Project) -> None:
    with running(project.python, project.folder) as url:
        told = project.run("engine.deploy", "verify", "--any-revision", "--url", url)
    assert "as recorded after the hooks: iris (30 samples)" in told


def test_the_projects_own_tests_hold(project: Project) -> None:
    project.run("pytest", "-q", "-p", "no:cacheprovider")
