"""The new project is a repository of its own with one commit, or says why it is not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import Render, git


@pytest.fixture(scope="module")
def template(light_template: Path) -> Path:
    """Most of these tests render."""
    return light_template


@pytest.fixture
def own_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give git a name and an address, as on most people's machines."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "ada@example.com")


@pytest.mark.usefixtures("own_identity")
def test_everything_is_in_one_commit_on_main_by_the_person(
    render_into: Render, tmp_path: Path
) -> None:
    project = render_into(tmp_path)
    assert git(project, "branch", "--show-current") == "main\n"
    assert git(project, "log", "--format=%an <%ae>") == "Ada <ada@example.com>\n"
    # --ignored: a shipped file that the project's own .gitignore hides would be lost at the push.
    assert git(project, "status", "--porcelain", "--ignored") == ""


def test_the_next_commands_are_printed(
    render_into: Render, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "it's here"
    folder.mkdir()
    project = render_into(folder)
    said = capfd.readouterr().out
    command = said.split("Next:\n")[1].splitlines()[0]
    shell = subprocess.run(["sh", "-c", f"{command} && pwd"], capture_output=True, text=True)
    assert Path(shell.stdout.strip()) == project
    assert "  make serve\n  make test\n" in said


def test_without_an_identity_the_commit_is_made_and_the_way_to_own_it_is_told(
    render_into: Render,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    settings = tmp_path / "gitconfig"
    settings.write_text("[user]\n\tuseConfigOnly = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    project = render_into(tmp_path)
    assert git(project, "log", "--format=%an") == "aci-ml-template\n"
    assert "git commit --amend --reset-author" in capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("own_identity")
def test_inside_another_work_tree_the_project_is_still_a_repository_of_its_own(
    render_into: Render, tmp_path: Path
) -> None:
    git(tmp_path, "init", "--quiet")
    project = render_into(tmp_path)
    assert git(project, "rev-parse", "--show-toplevel").strip() == str(project)
    assert git(project, "rev-list", "--count", "HEAD") == "1\n"


@pytest.mark.slow
@pytest.mark.usefixtures("own_identity")
def test_a_repository_that_calls_the_template_from_its_own_hook_is_left_alone(
    render_into: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    with monkeypatch.context() as patch:
        patch.setenv("GIT_DIR", str(other / ".git"))
        patch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
        project = render_into(tmp_path)
    assert (project / ".git").is_dir()
    assert not (other / ".git" / "index").exists()


def test_without_git_the_project_is_written_and_the_lack_is_told(
    render_into: Render,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    project = render_into(tmp_path)
    assert (project / "pyproject.toml").is_file()
    assert not (project / ".git").exists()
    assert "git is not installed" in capfd.readouterr().out


@pytest.mark.slow
def test_what_git_refuses_is_told_in_its_own_words_and_the_project_stays(
    render_into: Render,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    settings = tmp_path / "gitconfig"
    settings.write_text("[commit]\n\tgpgSign = true\n[gpg]\n\tprogram = /nonexistent\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    project = render_into(tmp_path)
    said = capfd.readouterr()
    assert (project / "pyproject.toml").is_file()
    assert "commit --quiet" in said.err
    assert "/nonexistent" in said.err
    assert "make test" in said.out


@pytest.mark.slow
@pytest.mark.usefixtures("own_identity")
def test_a_project_that_is_written_again_keeps_its_history(
    render: Render, render_into: Render, tmp_path: Path
) -> None:
    project = tmp_path / "iris-service"
    shutil.copytree(render(), project)
    history = git(project, "log", "--format=%H")
    render_into(tmp_path, again=True, description="Another one.")
    assert git(project, "log", "--format=%H") == history
    assert " M pyproject.toml\n" in git(project, "status", "--porcelain")


@pytest.mark.slow
def test_a_gpu_on_container_instances_is_allowed_with_a_warning(
    render_into: Render, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    render_into(tmp_path, runs_on="aci-gpu")
    warning = capfd.readouterr().err
    assert "2025-07-14" in warning
    assert "containerapps-t4 or containerapps-a100" in warning
