"""A generated project takes over what is new in the template, and keeps what its owner changed."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workflows.tools import python_tools

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = "{{cookiecutter.project_slug}}"
OWN_TEST = "def test_mine() -> None:\n    assert True\n"
OWN_SECTION = "\n## Who to call\n\nThe team of the orchids.\n"

pytestmark = pytest.mark.slow


def git(cwd: Path, *arguments: str, stdin: str | None = None) -> str:
    command = ["git", "-c", "user.name=me", "-c", "user.email=me@example.invalid", *arguments]
    done = subprocess.run(
        command, cwd=cwd, input=stdin, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def last_release() -> str:
    """The newest release; before there is one, the version before the last change of the folder."""
    tags = git(REPOSITORY, "tag", "--list", "v*", "--merged", "HEAD", "--sort=-v:refname").split()
    if tags:
        return tags[0]
    changes = git(REPOSITORY, "log", "--first-parent", "--format=%H", "--", FOLDER).split()
    assert len(changes) > 1, "the history is cut off: fetch all of it (fetch-depth: 0)"
    return changes[min(len(changes) - 1, 5)]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the template, with what is not committed yet as its last commit."""
    clone = tmp_path_factory.mktemp("template") / "aci-ml-template"
    git(REPOSITORY, "clone", "--quiet", "--no-local", str(REPOSITORY), str(clone))
    git(
        clone,
        "switch",
        "--quiet",
        "--force-create",
        "now",
        git(REPOSITORY, "rev-parse", "HEAD").strip(),
    )
    difference = git(REPOSITORY, "diff", "--binary", "HEAD")
    if difference:
        git(clone, "apply", "--index", "-", stdin=difference)
    new = git(REPOSITORY, "ls-files", "-z", "--others", "--exclude-standard").split("\0")
    for name in filter(None, new):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, clone / name)
    git(clone, "add", "--all")
    if git(clone, "status", "--porcelain"):
        git(clone, "commit", "--quiet", "--message", "not committed yet")
    return clone


@pytest.fixture(scope="module")
def cruft(rendered_service: Path) -> Path:
    return python_tools(rendered_service) / "cruft"


def run(program: Path, cwd: Path, *arguments: str | Path) -> None:
    # cruft calls git, which has to know who commits.
    who = {"GIT_AUTHOR_NAME": "me", "GIT_AUTHOR_EMAIL": "me@example.invalid"}
    who |= {"GIT_COMMITTER_NAME": "me", "GIT_COMMITTER_EMAIL": "me@example.invalid"}
    done = subprocess.run(
        [program, *arguments],
        cwd=cwd,
        env={**os.environ, **who},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def updated(
    template: Path, cruft: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A project generated from the last release, edited, then brought to this version."""
    folder = tmp_path_factory.mktemp("project")
    run(cruft, folder, "create", template, "--checkout", last_release(), "--no-input")
    project = folder / "iris-service"
    readme = project / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8") + OWN_SECTION, encoding="utf-8")
    (project / "tests" / "test_mine.py").write_text(OWN_TEST)
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "what I changed")
    run(cruft, project, "update", "--checkout", "now", "--skip-apply-ask")
    yield project


def files(project: Path) -> set[str]:
    listed = git(project, "ls-files", "--cached", "--others", "--exclude-standard")
    return {name for name in listed.splitlines() if (project / name).exists()}


def test_nothing_is_left_to_be_merged_by_hand(updated: Path) -> None:
    assert [name for name in files(updated) if name.endswith((".rej", ".orig"))] == []
    assert "<<<<<<<" not in (updated / "README.md").read_text(encoding="utf-8")


def test_what_the_owner_changed_is_kept(updated: Path) -> None:
    assert (updated / "README.md").read_text(encoding="utf-8").endswith(OWN_SECTION)
    assert (updated / "tests" / "test_mine.py").read_text() == OWN_TEST


def test_everything_else_is_as_if_generated_today(updated: Path, rendered_service: Path) -> None:
    own = {"README.md", ".cruft.json", "tests/test_mine.py"}
    assert files(updated) - own == files(rendered_service) - own
    names = sorted(files(rendered_service) - own)
    _, differing, missing = filecmp.cmpfiles(rendered_service, updated, names, shallow=False)
    assert (differing, missing) == ([], [])


def test_the_owners_tests_run_beside_those_of_the_template(
    updated: Path, service_python: Path
) -> None:
    """Its other files are those of a project generated today, whose suite runs elsewhere."""
    done = subprocess.run(
        [service_python, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "tests/test_mine.py",
         "tests/test_models.py"],
        cwd=updated,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert "PASSED tests/test_mine.py::test_mine" in done.stdout
