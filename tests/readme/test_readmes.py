"""Every shell block of both READMEs is run, in order, where a reader would run it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Rendered
from tests.once import BUILD
from tests.service.containers import docker_client, remove_image
from tests.service.running import free_port

from .blocks import Reader, read_blocks

pytestmark = pytest.mark.slow

TEST_COMMAND = "make test"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of this repository without anything that git ignores, as a clone has it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, check=True,
    ).stdout.decode().split("\0")  # fmt: skip
    target = tmp_path / "aci-ml-template"
    for name in filter(None, listed):
        if (REPOSITORY / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, target / name)
    subprocess.run(["git", "init", "-q"], cwd=target, check=True)
    subprocess.run(["git", "add", "-A"], cwd=target, check=True)
    who = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    subprocess.run(["git", *who, "commit", "-qm", "clone"], cwd=target, check=True)
    return target


def test_the_readme_of_the_template(clone: Path, tmp_path: Path) -> None:
    """But for `make test`, which is what runs this; .ci/run is made of exactly that command."""
    blocks = read_blocks(clone / "README.md")
    texts = [block.text.strip() for block in blocks]
    assert TEST_COMMAND in texts
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    environment = {
        "PATH": f"{venv}/bin:{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "ACI_ML_LAYERS": str(BUILD / "layers"),
    }
    (tmp_path / "home").mkdir()
    replacements = {
        "https://github.com/org/aci-ml-template": str(clone),
        "gh:org/aci-ml-template": f"--no-input {clone}",
    }
    desk = tmp_path / "desk"
    desk.mkdir()
    reader = Reader(desk, free_port(), environment, replacements)
    inside = Reader(desk / "aci-ml-template", free_port(), environment, replacements)
    try:
        for block in blocks:
            if block.text.strip() == TEST_COMMAND:
                continue
            where = inside if block.text.startswith("make ") else reader
            printed = where.type(block)
            if block.text.strip() == "make rehearse":
                *_, (part, parts) = re.findall(r"^(\d+) of (\d+) \[", printed, re.M)
                assert part == parts
    finally:
        reader.stop()
        inside.stop()
    assert (desk / "iris-service" / "engine").is_dir()


def test_the_test_command_of_the_readme_is_what_ci_runs() -> None:
    lines = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == f"exec {TEST_COMMAND}"


@pytest.mark.parametrize(
    "model_format", ["onnx", pytest.param("joblib", marks=pytest.mark.exhaustive)]
)
def test_the_readme_of_the_service(
    rendered: Rendered, docker_engine: None, tmp_path: Path, model_format: str
) -> None:
    service = tmp_path / "iris-service"
    shutil.copytree(rendered(model_format), service)
    tag = f"aci-ml-template-test:readme-{model_format}"
    environment = {"DOCKER": docker_client(), "MYPY_CACHE_DIR": str(BUILD / "mypy-service")}
    reader = Reader(service, free_port(), environment, {}, {"TAG": tag})
    printed = []
    try:
        for block in read_blocks(service / "README.md"):
            # No Python file differs between the formats, says tests/service/test_own_suite.py.
            repeated = model_format != "onnx" and block.text.strip() == "make lint"
            printed.append("" if repeated else reader.type(block))
    finally:
        reader.stop()
        remove_image(tag)
    assert '"predictions":[2]' in printed[1]
    assert '"datatype":"INT64","data":[2]' in printed[2]
