"""docs/azure-setup.md of a generated repository: its commands are typed, its tables are checked."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure_double.client import AzureDouble
from tests.readme.blocks import Reader, read_blocks
from tests.service.conftest import docker_engine
from tests.service.containers import docker, docker_client, remove_image

from .bootstrap_world import REMOTE, REPOSITORY_NAME, SLUG, copied

__all__ = ["docker_engine"]
pytestmark = pytest.mark.slow

GUIDE = Path("docs") / "azure-setup.md"
STAMPS = (".serve", ".deploy")
CODE = re.compile(r"`(az [^`]+)`")


@pytest.fixture
def checkout(rendered_service: Path, deploy_python: Path, tmp_path: Path) -> Iterator[Path]:
    """A repository on a machine where `make .venv/.deploy` has been run; its image is removed.

    It has a commit of its own: a test beside this one may have rendered the same commit in the same
    second, and its image must stay.
    """
    service = copied(rendered_service, tmp_path)
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(
        ["git", *who, "commit", "--quiet", "--amend", "--message", "the guide's"],
        cwd=service,
        check=True,
    )
    subprocess.run(["git", "remote", "add", "origin", REMOTE], cwd=service, check=True)
    programs = service / ".venv" / "bin"
    programs.mkdir(parents=True)
    launcher = programs / "python"
    launcher.write_text(f'#!/bin/sh\nexec "{deploy_python}" "$@"\n', encoding="utf-8")
    launcher.chmod(0o755)
    for stamp in STAMPS:
        (programs.parent / stamp).touch()
    yield service
    revision = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=service, capture_output=True, text=True, check=True
    ).stdout.strip()
    for image in docker("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines():
        if image.endswith(f":{revision}"):
            remove_image(image)


def test_the_guide_leads_from_nothing_to_a_service_and_back(
    double: AzureDouble, docker_engine: None, checkout: Path
) -> None:
    double.github_repository(REPOSITORY_NAME, "immutable")
    environment = {**double.env(double.owner), "DOCKER": docker_client()}
    # The service's port is part of its address here, so it stays what it is.
    reader = Reader(checkout, 8000, environment, {})
    printed = [(block, reader.type(block)) for block in read_blocks(checkout / GUIDE)]

    def after(words: str) -> str:
        """What the block with these words printed."""
        [found] = [text for block, text in printed if words in block.text and not block.left_out]
        return found

    assert f"az group create --name {SLUG}-shared" in after("bootstrap --dry-run")
    assert "about $5 a month" in after("-m engine.deploy bootstrap\n")
    assert f"{SLUG}-production" in after("az group list")
    assert re.search(
        rf"^repo:octo-org@\d+/{SLUG}@\d+:environment:staging$",
        after("federated-credential list"),
        re.M,
    )
    given = after("az role assignment list")
    assert "Managed Identity Operator" in given
    assert "Contributor Role" in given
    assert '"predictions":[2]' in after("/predict").replace(" ", "")
    assert "AZURE_PRUNE_CLIENT_ID" in after("gh api 'repos/")
    assert '"state": "Running"' in after("instanceView.restartCount")
    assert f"group delete --name {SLUG}-shared" in after("down --all --dry-run")
    assert not any(SLUG in each for each in double.resources())


def test_a_block_is_left_out_only_for_a_reason(checkout: Path) -> None:
    """Most of the first day is typed; the chapters after it have tests of their own."""
    guide = checkout / GUIDE
    first_day = guide.read_text(encoding="utf-8").partition("## Several copies")[0]
    numbered = [block for block in read_blocks(guide) if block.text in first_day]
    assert len([block for block in numbered if block.left_out]) < len(numbered) / 2
    for block in [block for block in read_blocks(guide) if block.left_out]:
        assert re.match(
            r"installs|opens|makes|asks|the (key|name|answer)|there is no", block.left_out
        )


def test_what_the_guide_says_is_absent_is_absent_and_the_rest_is_there(
    running_double: AzureDouble, checkout: Path
) -> None:
    text = (checkout / GUIDE).read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- test: absent -->\n")
    table, _, after = rest.partition("\n\n")
    rows = [line.split(" | ") for line in table.splitlines()[2:]]
    assert len(rows) > 4
    absent = [CODE.findall(row[0])[0] for row in rows]
    instead = [found for row in rows for found in CODE.findall(row[1])]
    named = [found for found in CODE.findall(before + after) if "…" not in found]
    az = AzHelp(running_double.env())
    assert [command for command in absent if az.knows(command)] == []
    missing = [command for command in {*instead, *named} if not az.knows(command)]
    assert missing == []


def test_the_commands_of_the_chapter_on_kubernetes_are_there(
    running_double: AzureDouble, checkout: Path
) -> None:
    chapter = checkout / "docs" / "kubernetes.md"
    typed = [
        line
        for block in read_blocks(chapter)
        for line in re.sub(r'"\$\((.*?)\)"', "VALUE", block.text.replace("\\\n", "")).splitlines()
        if line.startswith("az ")
    ]
    named = [" ".join(each.split()) for each in CODE.findall(chapter.read_text(encoding="utf-8"))]
    assert len(typed) > 3
    assert len(named) > 3
    az = AzHelp(running_double.env())
    assert [command for command in {*typed, *named} if not az.knows(command)] == []


class AzHelp:
    """Asks the real `az` what it knows; extensions do not count."""

    def __init__(self, env: dict[str, str]) -> None:
        self._env = env

    def knows(self, command: str) -> bool:
        """Whether there is such a command, with all its options."""
        words = shlex.split(command)[1:]
        first = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
        done = subprocess.run(
            ["az", *words[:first], "--help"],
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
        )
        options = [word for word in words[first:] if word.startswith("--")]
        return done.returncode == 0 and all(
            re.search(rf"(^|\s){option}\b(?!-)", done.stdout) for option in options
        )
