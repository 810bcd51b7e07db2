"""What the machinery makes of a checkout and of the shell's variables around it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from engine.deploy import __main__ as command_line
from engine.deploy import image, push
from engine.deploy.bootstrap.facts import remote_url
from engine.errors import EngineError
from engine.serving.proxies import keep_local_direct

from tests.engine import server
from tests.engine.project import ROOT

pytestmark = pytest.mark.slow

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
AWKWARD = "a [b] (c), 'd' & $e"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a commit and a remote, without anybody's settings of git."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    who = ["-c", "user.name=x", "-c", "user.email=x@example.invalid"]
    for arguments in (
        ["init", "--quiet"],
        [*who, "commit", "--quiet", "--allow-empty", "--message", "x"],
        ["remote", "add", "origin", "git@github.com:octo-org/iris.git"],
    ):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    return tmp_path


def test_a_folder_of_another_owner_is_refused_in_gits_words(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(image.git_revision(repository)) == 40
    assert remote_url(repository) == "git@github.com:octo-org/iris.git"
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    said = subprocess.run(["git", "status"], cwd=repository, capture_output=True, text=True)
    monkeypatch.setattr(image, "current_release", lambda: image.git_revision(repository))
    for ask in (
        lambda: image.git_revision(repository),
        lambda: remote_url(repository),
        lambda: push.checked_release(push.Wish()),
    ):
        with pytest.raises(EngineError, match="dubious ownership") as refused:
            ask()
        assert refused.value.cause.removeprefix("git: ") in said.stderr
        assert refused.value.fix in said.stderr
    assert refused.value.fix == f"git config --global --add safe.directory {repository}"


def test_without_a_repository_or_a_commit_there_is_no_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert image.git_revision(tmp_path) == "unknown"
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    assert image.git_revision(tmp_path) == "unknown"
    assert remote_url(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert image.git_revision(tmp_path) == "unknown"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("listed", ["", "intranet.example, 10.0.0.1", "*"])
def test_its_own_machine_is_asked_without_a_proxy(
    sample: httpx.Client,
    sample_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listed: str,
    host: str,
) -> None:
    """Nothing listens on port 9, so a request that takes the proxy fails."""
    for name in PROXIES:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", listed)
    monkeypatch.setenv("no_proxy", listed)
    (tmp_path / "models").symlink_to(sample_dir)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.setattr(command_line, "ROOT", tmp_path)
    url = f"http://{host}:{sample.base_url.port}"
    assert command_line.main(["verify", "--url", url, "--any-revision"]) == 0


ASKS = """
import sys, urllib.request, httpx, requests
for ask in (urllib.request.urlopen, httpx.get, requests.get):
    try:
        ask(sys.argv[1])
    except OSError as error:
        print(error)
    except httpx.TransportError as error:
        print(error)
"""


def test_other_addresses_keep_their_proxy(sample: httpx.Client) -> None:
    """The service stands in for a proxy: it answers 404 to a whole address, no name resolves."""
    environment = {**os.environ, **dict.fromkeys(PROXIES, str(sample.base_url))}
    environment |= {"NO_PROXY": "", "no_proxy": ""}
    keep_local_direct(environment)
    done = subprocess.run(
        [sys.executable, "-c", ASKS, "http://service.invalid/"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "resol" not in done.stdout
    assert "not known" not in done.stdout


def test_a_host_that_is_no_address_is_one_sentence(toy_dir: Path) -> None:
    with server.started(toy_dir, HOST="x86_64-conda-linux-gnu") as started:
        _, said = started.process.communicate(timeout=server.START_SECONDS)
    assert started.process.returncode == 1
    assert said.startswith("error: HOST='x86_64-conda-linux-gnu' is not an address of this machine")
    assert said.count("\n") == 1


def test_programs_work_in_a_folder_with_any_name(tmp_path: Path, sample_dir: Path) -> None:
    """What a shell, a glob or a list of paths would take apart."""
    folder = tmp_path / AWKWARD / "iris-service"
    leave = shutil.ignore_patterns(".venv", ".git", "__pycache__")
    shutil.copytree(ROOT, folder, ignore=leave)
    slo = folder / "slo.yaml"
    slo.write_text(
        "{p95_ms: 60000, error_ratio: 0.5, minimum_rps: 0.001, users: 1, ramp_seconds: 0, "
        "warm_up_seconds: 0, run_seconds: 1}"
    )
    environment = {**os.environ, "MODELS_DIR": str(sample_dir), "DOCKER": "/bin/echo"}
    for command in (
        [sys.executable, "-m", "engine.serving.check"],
        [sys.executable, "-m", "engine.load", "--slo", str(slo), "--out", str(folder / "out")],
        [sys.executable, "-m", "engine.deploy.image", "build"],
        [sys.executable, "-m", "ruff", "check", "--no-cache", "."],
    ):
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
