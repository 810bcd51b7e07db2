"""Pushing an image: one per commit, never of files that no commit has, named by its digest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from engine.deploy import image
from engine.deploy.az_error import AzError, Problem
from engine.deploy.push import Wish, hand_over, published, push, push_edge
from engine.deploy.say import Say
from engine.errors import EngineError
from engine.serving.release import Release

from .bootstrap_world import inputs

PROJECT = inputs().project
SERVER = "irisservice.azurecr.io"
REVISION = "a" * 40
DIGEST = f"sha256:{'b' * 64}"
OTHER = f"sha256:{'c' * 64}"
REFERENCE = f"{SERVER}/iris-service@{DIGEST}"
MODEL = f"sha256:{'d' * 64}"

DOCKER = f"""#!{sys.executable}
import json, os, pathlib, sys
folder = pathlib.Path(os.environ["PRETENDED_DOCKER"])
with (folder / "log").open("a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
if sys.argv[1:3] == ["image", "inspect"]:
    print((folder / "inspect.json").read_text())
if sys.argv[1] == "push":
    print("docker's own progress")
    pathlib.Path(folder / "pushed").touch()
    sys.exit(int(os.environ.get("PUSH_EXIT", "0")))
"""


def test_a_gpu_image_needs_the_locks_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A project that was generated for the CPU has none; docker is not called."""
    monkeypatch.setattr(image, "ROOT", tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("docker was called"))
    assert image.main(["build", "--accelerator", "gpu", "--tag", "service:gpu"]) == 1
    assert capsys.readouterr().err == (
        "image: requirements/serve-gpu.txt is missing: write "
        "`-r ../engine/requirements/serve-gpu.in` into requirements/serve-gpu.in, run `make lock` "
        "and commit both\n"
    )


class Registry:
    """Stands in for `az`, as far as the registry is concerned."""

    dry_run = False

    def __init__(self, folder: Path, *, there: str | None = None) -> None:
        self._folder = folder
        self._there = there
        self.after = DIGEST
        self.texts: list[tuple[str, ...]] = []

    def find(self, *arguments: str) -> Any:
        assert arguments[:2] == ("acr", "show")
        return {"loginServer": SERVER}

    def json(self, *arguments: str) -> Any:
        assert arguments[:3] == ("acr", "repository", "show")
        digest = self.after if (self._folder / "pushed").exists() else self._there
        if digest is None:
            raise AzError(Problem("Exit1", None, 'repository "x" is not found.'), "az …")
        return {"digest": digest}

    def text(self, *arguments: str) -> str:
        self.texts.append(arguments)
        return "Login Succeeded"


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a pretended docker writes down what it was told."""
    program = tmp_path / "docker"
    program.write_text(DOCKER, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("DOCKER", str(program))
    monkeypatch.setenv("PRETENDED_DOCKER", str(tmp_path))
    (tmp_path / "log").touch()
    describe(tmp_path)
    release(monkeypatch)
    return tmp_path


def describe(folder: Path, **changes: Any) -> None:
    """What `docker image inspect` shows."""
    labels = {
        "org.opencontainers.image.revision": REVISION,
        "org.openinference.model.digest": MODEL,
        **changes.pop("Labels", {}),
    }
    shown = {
        "Id": "sha256:id",
        "Os": "linux",
        "Architecture": "amd64",
        "Config": {"Labels": labels},
        "RepoDigests": [f"elsewhere/iris-service@{OTHER}", REFERENCE],
        **changes,
    }
    (folder / "inspect.json").write_text(json.dumps([shown]), encoding="utf-8")


def release(monkeypatch: pytest.MonkeyPatch, revision: str = REVISION) -> None:
    """The release that this checkout is taken for."""
    made = Release("iris-service", "Iris", "…", "1.0.0", revision, MODEL)
    monkeypatch.setattr(image, "current_release", lambda: made)


def said(docker: Path) -> list[str]:
    return (docker / "log").read_text(encoding="utf-8").splitlines()


def pushed(registry: Any, **wish: Any) -> Any:
    return push(registry, Say(), PROJECT, Wish(**wish))


def test_builds_for_azures_machines_logs_in_and_pushes(docker: Path) -> None:
    registry = Registry(docker)
    result = pushed(registry)
    assert result.reference == REFERENCE
    build, sent, _inspected = said(docker)
    assert build.startswith(f"build --tag {SERVER}/iris-service:{REVISION} --platform linux/amd64")
    assert sent == f"push {SERVER}/iris-service:{REVISION}"
    assert registry.texts == [("acr", "login", "--name", "irisservice")]


def test_a_commit_that_is_in_the_registry_is_not_built_again(docker: Path) -> None:
    assert pushed(Registry(docker, there=DIGEST)).reference == REFERENCE
    assert said(docker) == []


def test_only_the_digest_goes_to_stdout(docker: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pushed(Registry(docker))
    output = capfd.readouterr()
    assert output.out == ""
    assert "docker's own progress" in output.err


@pytest.mark.parametrize(
    ("revision", "words"), [(f"{REVISION}-dirty", "allow-dirty"), ("unknown", "git init")]
)
def test_what_is_no_commit_is_refused(
    docker: Path, monkeypatch: pytest.MonkeyPatch, revision: str, words: str
) -> None:
    release(monkeypatch, revision)
    with pytest.raises(EngineError, match=words):
        pushed(Registry(docker))
    assert said(docker) == []


def test_a_trial_may_be_pushed_again_and_again(
    docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(monkeypatch, f"{REVISION}-dirty")
    assert pushed(Registry(docker, there=OTHER), allow_dirty=True).digest == DIGEST
    assert f"{REVISION}-dirty" in said(docker)[0]


def test_an_image_that_was_built_is_pushed_as_it_is(docker: Path) -> None:
    registry = Registry(docker, there=OTHER)
    result = pushed(registry, built="service:candidate", expected_id="sha256:id")
    assert result.reference == REFERENCE
    assert said(docker) == [
        "image inspect service:candidate",
        f"tag service:candidate {SERVER}/iris-service:{REVISION}",
        f"push {SERVER}/iris-service:{REVISION}",
        f"image inspect {SERVER}/iris-service:{REVISION}",
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Id": "sha256:another"}, "sha256:another, and sha256:id was expected"),
        ({"Labels": {"org.opencontainers.image.revision": "e" * 40}}, "image.revision=eeee"),
        ({"Labels": {"org.openinference.model.digest": OTHER}}, "model.digest=sha256:cccc"),
        ({"Architecture": "arm64"}, "linux/arm64, and Azure runs linux/amd64"),
    ],
)
def test_another_image_than_that_of_the_commit_is_refused(
    docker: Path, changes: dict[str, Any], words: str
) -> None:
    describe(docker, **changes)
    with pytest.raises(EngineError, match=words):
        pushed(Registry(docker), built="service:candidate", expected_id="sha256:id")
    assert not any(line.startswith("push") for line in said(docker))


def test_a_failing_hook_of_the_owner_comes_before_the_login(
    docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = docker / "deploy" / "hooks" / "before-push"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    hook.chmod(0o755)
    monkeypatch.setattr(image, "ROOT", docker)
    registry = Registry(docker)
    with pytest.raises(EngineError, match="before-push ended with exit code 3"):
        pushed(registry, built="iris-service:built")
    assert registry.texts == []
    assert not any(line.startswith("push") for line in said(docker))


def test_a_push_that_fails_is_said(docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSH_EXIT", "1")
    with pytest.raises(EngineError, match="docker push failed"):
        pushed(Registry(docker))


def test_two_who_push_the_same_commit_do_not_go_unnoticed(docker: Path) -> None:
    registry = Registry(docker)
    registry.after = OTHER
    with pytest.raises(EngineError, match="somebody else pushed"):
        pushed(registry)


def test_a_dry_run_shows_the_commands(docker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry = Registry(docker)
    registry.dry_run = True
    assert pushed(registry) is None
    assert said(docker) == []
    assert registry.texts == []
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["build", "acr", "push"]


def test_a_registry_that_cannot_be_asked_is_no_empty_one(docker: Path) -> None:
    class Closed(Registry):
        def json(self, *arguments: str) -> Any:
            raise AzError(Problem("Forbidden", 403, "denied"), "az …")

    with pytest.raises(AzError):
        published(Closed(docker), PROJECT, REVISION)  # type: ignore[arg-type]


def test_later_steps_of_the_workflow_are_told(
    docker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    hand_over(pushed(Registry(docker)))
    assert (tmp_path / "output").read_text(encoding="utf-8").splitlines() == [
        f"image={REFERENCE}",
        "registry=irisservice",
        f"repository={SERVER}/iris-service",
        f"digest={DIGEST}",
    ]


# What ends HTTPS


EDGE = f"{SERVER}/iris-service-edge"


def edge_pushed(registry: Any, **wish: Any) -> Any:
    return push_edge(registry, Say(), PROJECT, Wish(**wish))


def test_what_ends_https_is_built_of_its_own_folder_and_pushed_under_its_commit(
    docker: Path,
) -> None:
    describe(docker, RepoDigests=[f"{EDGE}@{DIGEST}"])
    assert edge_pushed(Registry(docker)).reference == f"{EDGE}@{DIGEST}"
    build, _looked, sent, _inspected = said(docker)
    assert build.startswith(f"build --tag {EDGE}:{REVISION} --platform linux/amd64")
    assert build.endswith(" engine/edge")
    assert sent == f"push {EDGE}:{REVISION}"


def test_what_ends_https_is_not_built_again_for_the_same_commit(docker: Path) -> None:
    assert edge_pushed(Registry(docker, there=OTHER)).reference == f"{EDGE}@{OTHER}"
    assert said(docker) == []


def test_what_was_built_and_scanned_is_pushed_and_that_of_another_commit_refused(
    docker: Path,
) -> None:
    describe(docker, RepoDigests=[f"{EDGE}@{DIGEST}"])
    edge_pushed(Registry(docker), built_edge="sha256:scanned")
    assert not any(line.startswith("build") for line in said(docker))
    assert f"tag sha256:scanned {EDGE}:{REVISION}" in said(docker)
    describe(docker, Labels={"org.opencontainers.image.revision": "f" * 40})
    with pytest.raises(EngineError, match="this checkout"):
        edge_pushed(Registry(docker), built_edge="sha256:scanned")


def test_only_an_environment_with_https_needs_the_image(tmp_path: Path) -> None:
    folder = tmp_path / "deploy" / "environments"
    folder.mkdir(parents=True)
    file = folder / "staging.yaml"
    file.write_text("target: aci\n# https: {email: a@b.example}\n", encoding="utf-8")
    assert not image.wants_edge(tmp_path)
    file.write_text("target: aci\nhttps: {email: a@b.example}\n", encoding="utf-8")
    assert image.wants_edge(tmp_path)
