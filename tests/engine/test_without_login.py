"""Commands of the deploy where Azure or GitHub cannot be asked: no program, or nobody logged in."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from engine.deploy.__main__ import COMMANDS, main

from tests.engine.fake_az import FakeAz, fails
from tests.engine.project import ROOT

NOT_LOGGED_IN = "ERROR: Please run 'az login' to setup account."
TYPED = {
    "bootstrap": [],
    "verify": ["staging"],
    "prune": [],
    "push": ["--allow-dirty"],
    "move": ["staging", "--to", "containerapps"],
    "status": [],
    "monitoring": [],
    "up": ["staging", "--allow-dirty"],
}


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with git and bash alone, on a machine where nobody has logged in to anything."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("git", "bash"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(programs))
    for name in ("AZ", "GH", "GH_TOKEN", "GITHUB_TOKEN", "AZURE_SUBSCRIPTION_ID"):
        monkeypatch.delenv(name, raising=False)
    return programs


@pytest.fixture
def logged_out(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeAz:
    """The same with an `az` that nobody has logged in to."""
    folder = tmp_path / "az"
    folder.mkdir()
    fake = FakeAz(folder)
    fake.prepare([fails(NOT_LOGGED_IN)])
    monkeypatch.setenv("AZ", fake.program)
    return fake


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def check_plan(text: str) -> None:
    head, _, document = text.partition("document:\n")
    assert head.startswith("not asked:   Azure (")
    assert "\ncosts:       about $" in head
    assert len([line for line in head.splitlines() if "not asked:" in line]) == 1
    group = json.loads(document)
    assert group["name"] == "iris-service-staging"
    container = group["properties"]["containers"][0]["properties"]
    assert container["image"].startswith("<registry>/iris-service@sha256:")
    assert "<workspace>" in document


def check_dry_run(text: str, bash: Path) -> None:
    """Every step with its commands, which a shell can read and in which nothing is a guess."""
    subprocess.run([bash, "-n"], input=text, text=True, check=True)
    assert len([line for line in text.splitlines() if "not asked: Azure" in line]) == 1
    assert "az group create --name iris-service-production --location westeurope" in text
    assert "'value=<subscription>'" in text
    assert "/subscriptions/<subscription>/resourceGroups/iris-service-staging'" in text
    assert "nothing was changed" in text


def test_a_plan_is_shown_without_az(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_plan(printed(capsys, "plan", "staging"))


def test_a_plan_is_shown_without_a_login(
    logged_out: FakeAz, capsys: pytest.CaptureFixture[str]
) -> None:
    check_plan(printed(capsys, "plan", "staging"))
    assert [each["arguments"][:2] for each in logged_out.calls()] == [["account", "show"]]


def test_a_dry_run_is_shown_without_az_and_gh(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, "bootstrap", "--dry-run")
    check_dry_run(text, bare / "bash")
    assert "not asked: GitHub" in text
    assert "--subject '<subject>:environment:staging'" in text
    without = printed(capsys, "bootstrap", "--dry-run", "--without-github")
    assert "gh api" not in without


def test_a_dry_run_is_shown_without_a_login(
    logged_out: FakeAz, bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_dry_run(printed(capsys, "bootstrap", "--dry-run"), bare / "bash")
    assert [each["arguments"][:2] for each in logged_out.calls()] == [["account", "show"]]


def test_a_login_that_has_ended_is_no_login(
    logged_out: FakeAz, bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`az account show` reads a file; that the token has ended shows at the first question."""
    account = {"id": "1-2-3", "name": "mine", "tenantId": "4-5-6", "state": "Enabled"}
    ended = fails("ERROR: AADSTS700082: The refresh token has expired due to inactivity.")
    version = {"stdout": json.dumps({"azure-cli": "2.80.0"})}
    logged_out.prepare([{"stdout": json.dumps(account)}, version, ended])
    text = printed(capsys, "bootstrap", "--dry-run")
    assert "not asked: Azure (" in text
    assert "/subscriptions/1-2-3/resourceGroups/iris-service-staging" in text
    assert len(logged_out.calls()) == 3


# A plan goes on without one, and `baseline` asks nobody where load/slo.yaml has no `quality:`.
@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"plan", "baseline"}))
def test_a_command_without_a_login_asks_once_and_says_how_to_log_in(
    command: str, logged_out: FakeAz, capsys: pytest.CaptureFixture[str]
) -> None:
    # To verify, it is no proof of a fault.
    code = 4 if command == "verify" else 1
    assert main([command, *TYPED.get(command, ["staging"])]) == code
    assert "run `az login`" in capsys.readouterr().err
    # Not `az version`, which answers without a login.
    (asked,) = (each["arguments"][:2] for each in logged_out.calls())
    assert asked in (["account", "show"], ["acr", "show"])


@pytest.mark.parametrize(
    ("arguments", "example"),
    [
        (["plan"], "`make plan ENV=staging`"),
        (["up", "--allow-dirty"], "`make up ENV=staging`"),
        (["logs"], "`.venv/bin/python -m engine.deploy logs staging`"),
    ],
)
def test_a_missing_environment_is_answered_with_the_command_to_type(
    arguments: Sequence[str], example: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"error: {arguments[0]} needs an environment: {example}"
        " (deploy/environments/ has: staging, production)\n"
    )


@pytest.mark.slow
def planned(project: Path) -> subprocess.CompletedProcess[str]:
    """A plan in a process of its own, which has succeeded."""
    done = subprocess.run(
        [sys.executable, "-m", "engine.deploy", "plan", "staging"],
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def test_a_plan_says_what_several_copies_are_and_cost(bare: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    staging = project / "deploy" / "environments" / "staging.yaml"
    text = staging.read_text()
    assert "copies: 1" in text
    staging.write_text(text.replace("copies: 1", "copies: 2"))
    shown = planned(project)
    name = "iris-service-staging"
    assert f"fleet {name} (2 group(s) behind {name}.trafficmanager.net)" in shown.stdout
    assert "costs:       about $0.094 an hour for 2 group(s), $70 a month" in shown.stdout
    assert "4 of the region's cores" in shown.stderr
    check_plan(shown.stdout)
    with staging.open("a") as file:
        file.write("https: {email: ops@example.org}\n")
    shown = planned(project)
    assert "of which HTTPS is $7.21" in shown.stdout
    assert '"name": "edge"' in shown.stdout
    assert '"storageAccountKey": "***"' in shown.stdout
    assert "readable over http" not in shown.stderr


def test_a_secret_without_a_value_is_no_obstacle_for_a_plan(bare: Path, tmp_path: Path) -> None:
    """The document does not show it; `up` needs it."""
    project = tmp_path / "project"
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    staging = project / "deploy" / "environments" / "staging.yaml"
    staging.write_text(staging.read_text().replace("secrets: []", "secrets: [API_KEYS]"))
    done = planned(project)
    assert "warning: the secret API_KEYS has no value, which `up` needs; set the" in done.stderr
    check_plan(done.stdout)
