"""The same bytes in every checkout, whatever git is told about line endings."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.template.conftest import REPOSITORY, Render, files_in, git

pytestmark = pytest.mark.slow

ME = ("-c", "user.name=x", "-c", "user.email=x@example.invalid")


def clone(origin: Path, folder: Path, autocrlf: str = "true") -> Path:
    """Return a clone made under a setting of core.autocrlf; "true" is Git for Windows' default."""
    setting = f"core.autocrlf={autocrlf}"
    git(folder.parent, "clone", "--quiet", "-c", setting, str(origin), str(folder))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file, git's own left out."""
    return {name: (folder / name).read_bytes() for name in files_in(folder)}


@pytest.mark.parametrize("model_format", ["onnx", "joblib"])
def test_a_clone_has_the_bytes_that_were_committed(
    render: Render, tmp_path: Path, model_format: str
) -> None:
    project = render(model_format=model_format)
    assert content(clone(project, tmp_path / "clone")) == content(project)


def test_packaged_code_keeps_the_line_endings_it_has_a_checksum_of(
    render_into: Render, tmp_path: Path
) -> None:
    """Saved by an editor under Windows, committed there, built under Linux."""
    project = render_into(tmp_path / "rendered")
    git(project, "config", "core.autocrlf", "true")
    (project / "models" / "iris" / "model_code.py").write_bytes(
        b"def preprocess(x):\r\n    ...\r\n"
    )
    (project / "notes.md").write_bytes(b"one\r\ntwo\r\n")
    git(project, "add", "--all")
    git(project, *ME, "commit", "--quiet", "--message", "x")
    there = content(clone(project, tmp_path / "clone", "false"))
    assert there["models/iris/model_code.py"] == b"def preprocess(x):\r\n    ...\r\n"
    assert there["notes.md"] == b"one\ntwo\n"


def test_a_clone_of_the_template_has_the_bytes_that_were_committed(
    template: Path, tmp_path: Path
) -> None:
    """What is rendered from it has the checksums of engine/ and models/, too."""
    origin = tmp_path / "origin"
    shutil.copytree(template, origin)
    shutil.copy(REPOSITORY / ".gitattributes", origin)
    git(tmp_path, "init", "--quiet", str(origin))
    git(origin, "add", "--all")
    git(origin, *ME, "commit", "--quiet", "--message", "x")
    assert content(clone(origin, tmp_path / "clone")) == content(origin)
