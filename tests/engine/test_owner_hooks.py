"""Executables in deploy/hooks/: they get facts and no secret, have a time limit, undo nothing."""

from __future__ import annotations

import re
import stat
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from engine.deploy import hooks
from engine.deploy.commands import up
from engine.deploy.commands.context import given_secrets
from engine.deploy.commands.wanted import Wanted
from engine.deploy.finding import Finding
from engine.deploy.rollout.run import roll_out
from engine.deploy.rollout.site import RolloutFailed
from engine.deploy.say import Say
from engine.deploy.targets.base import Release
from engine.errors import EngineError

from tests.engine.arm_memory import (
    BEFORE,
    CRASHES,
    GOOD,
    SECRET,
    Deploys,
    installed,
    is_complete,
    release,
)
from tests.engine.fleet_memory import arm_of
from tests.engine.project import ROOT

RELEASE = Release("iris.azurecr.io/iris@sha256:aa", "f" * 40, "sha256:bb")
PLANTED = "planted-and-never-shown"


def hook(root: Path, name: str, script: str, *, mode: int = 0o755, head: str = "#!/bin/sh") -> Path:
    """Write a hook that writes what it is given beside itself."""
    path = root / "deploy" / "hooks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{head}\nenv > '{root / name}.env'\n{script}\n", encoding="utf-8")
    path.chmod(stat.S_IFREG | mode)
    return path


def given(root: Path, name: str) -> dict[str, str]:
    lines = (root / f"{name}.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)


def is_dead(pid: str) -> bool:
    """Whether a process has ended, collected by its parent or not yet."""
    try:
        return ") Z " in Path("/proc", pid, "stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return True


def run(root: Path, say: Say | None = None) -> None:
    hooks.before(
        hooks.BEFORE_DEPLOY, root, say or Say(), hooks.facts(RELEASE, environment="staging")
    )


def test_the_reference_lists_every_hook() -> None:
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    table = text.partition("## Your own steps around a deploy")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(.+?)` \|", table, re.M) == [
        hooks.BEFORE_PUSH,
        hooks.BEFORE_DEPLOY,
        hooks.AFTER_DEPLOY,
        hooks.AFTER_ROLLBACK,
    ]


def test_without_a_hook_nothing_happens(tmp_path: Path) -> None:
    run(tmp_path)


def test_a_hook_gets_the_facts_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("API_KEYS", "GITHUB_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "HTTPS_PROXY"):
        monkeypatch.setenv(name, PLANTED)
    say = Say()
    say.hide([PLANTED])
    hook(tmp_path, hooks.BEFORE_DEPLOY, f"echo the value of API_KEYS is {PLANTED}")
    run(tmp_path, say)
    seen = given(tmp_path, hooks.BEFORE_DEPLOY)
    assert seen["DEPLOY_ENVIRONMENT"] == "staging"
    assert seen["DEPLOY_IMAGE"] == RELEASE.image
    assert seen["DEPLOY_REVISION"] == RELEASE.revision
    assert seen["DEPLOY_MODEL_DIGEST"] == RELEASE.model_digest
    assert seen["DEPLOY_HOOK"] == hooks.BEFORE_DEPLOY
    assert PLANTED not in str(seen)
    shown = "".join(capfd.readouterr())
    assert "the value of API_KEYS is" in shown
    assert PLANTED not in shown


def test_a_failing_hook_stops_what_comes_next(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hook(tmp_path, hooks.BEFORE_DEPLOY, "echo the gate is closed >&2; exit 7")
    with pytest.raises(EngineError, match="before-deploy ended with exit code 7"):
        run(tmp_path)
    assert "the gate is closed" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "script", ["sleep 60 & echo $! >child; sleep 60", "sleep 60 & echo $! >child"]
)
def test_a_hook_that_hangs_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hooks, "HOOK_SECONDS", 3.0)
    hook(tmp_path, hooks.BEFORE_DEPLOY, script)
    began = time.monotonic()
    with pytest.raises(EngineError, match="was ended after 3 s"):
        run(tmp_path)
    assert time.monotonic() - began < 30
    child = (tmp_path / "child").read_text(encoding="utf-8").strip()
    while not is_dead(child):
        assert time.monotonic() - began < 50
        time.sleep(0.1)


def test_any_text_can_be_a_fact(tmp_path: Path) -> None:
    hook(tmp_path, hooks.AFTER_ROLLBACK, "exit 0")
    cause = "a\0b\nc\ud800 é " + "long " * 100_000
    hooks.after(hooks.AFTER_ROLLBACK, tmp_path, Say(), hooks.facts(RELEASE, cause=cause))
    assert given(tmp_path, hooks.AFTER_ROLLBACK)["DEPLOY_CAUSE"].startswith("a b c é long long")


@pytest.mark.parametrize(
    "how", [{"mode": 0o644}, {"head": "no program"}], ids=["not executable", "no program"]
)
def test_a_hook_that_cannot_be_run_says_how(tmp_path: Path, how: dict[str, Any]) -> None:
    hook(tmp_path, hooks.BEFORE_DEPLOY, "exit 0", **how)
    with pytest.raises(EngineError, match=r"before-deploy cannot be run") as refused:
        run(tmp_path)
    assert "chmod +x deploy/hooks/before-deploy" in refused.value.fix


KINDS = ("aci", "azureml", "containerapps", "fleet")


@pytest.fixture(params=KINDS)
def deploys(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Deploys:
    """An environment of each kind on an Azure in memory, where a release serves."""
    say = Say(summary=tmp_path / "summary")
    found = Deploys(arm_of(request.param), request.param, say)
    installed(monkeypatch, found.arm)
    monkeypatch.setenv("API_KEYS", SECRET)
    # As every command does first.
    given_secrets(found.say, ["API_KEYS"])
    site = found.site()
    roll_out(site, site.target.document(release(BEFORE), {}))
    found.arm.clock.sleep(1000)
    found.arm.log.clear()
    return found


def deploy(root: Path, deploys: Deploys, digit: str, names: object = None) -> None:
    """What `up` does once its release is known."""
    site, target = deploys.site(), cast("Any", deploys.target())
    context = SimpleNamespace(
        own_names=names,
        inside=None,
        root=root,
        say=site.say,
        environment=target._environment,
        target=target,
        journal=site.journal,
    )
    wanted = release(digit)
    document = partial(site.target.document, wanted, {})
    found = SimpleNamespace(context=context, release=wanted, site=lambda: site, document=document)
    up.deploy(cast("Wanted", found), 0.0)


FAILING = {"fails": "exit 1", "hangs": "sleep 60", "shows a secret": f"echo {SECRET}; exit 1"}
ENDS = {"fails": "ended with exit code 1", "hangs": "was ended after 1 s"}


@pytest.mark.slow
@pytest.mark.parametrize("how", FAILING)
def test_a_hook_before_the_deploy_that_does_not_end_well_leaves_everything(
    tmp_path: Path,
    deploys: Deploys,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(hooks, "HOOK_SECONDS", 1.0)
    hook(tmp_path, hooks.BEFORE_DEPLOY, FAILING[how])
    with pytest.raises(EngineError, match=f"before-deploy {ENDS.get(how, ENDS['fails'])}"):
        deploy(tmp_path, deploys, GOOD)
    assert deploys.arm.log == []
    assert is_complete(deploys.arm, BEFORE)
    assert SECRET not in "".join(capfd.readouterr())


@pytest.mark.slow
@pytest.mark.parametrize("how", FAILING)
def test_a_hook_after_the_deploy_that_does_not_end_well_rolls_nothing_back(
    tmp_path: Path,
    deploys: Deploys,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(hooks, "HOOK_SECONDS", 1.0)
    hook(tmp_path, hooks.AFTER_DEPLOY, FAILING[how])
    hook(tmp_path, hooks.AFTER_ROLLBACK, "exit 0")
    deploy(tmp_path, deploys, GOOD)
    assert is_complete(deploys.arm, GOOD)
    shown = given(tmp_path, hooks.AFTER_DEPLOY)
    assert shown["DEPLOY_OUTCOME"] == "updated"
    assert shown["DEPLOY_URL"].startswith("http")
    assert not (tmp_path / "after-rollback.env").exists()
    told = "".join(capfd.readouterr())
    assert f"after-deploy {ENDS.get(how, ENDS['fails'])}; the deploy stays as it is" in told
    page = (tmp_path / "summary").read_text(encoding="utf-8")
    assert "the deploy stays as it is" in page
    assert SECRET not in told + page + str(shown)


def test_a_release_that_is_undone_runs_the_hook_after_a_rollback(
    tmp_path: Path, deploys: Deploys
) -> None:
    hook(tmp_path, hooks.AFTER_DEPLOY, "exit 0")
    hook(tmp_path, hooks.AFTER_ROLLBACK, "exit 1")
    with pytest.raises(RolloutFailed):
        deploy(tmp_path, deploys, CRASHES)
    assert is_complete(deploys.arm, BEFORE)
    shown = given(tmp_path, hooks.AFTER_ROLLBACK)
    assert (shown["DEPLOY_OUTCOME"], shown["DEPLOY_REVISION"]) == ("undone", CRASHES * 40)
    assert "serves again" in shown["DEPLOY_CAUSE"] or "keeps" in shown["DEPLOY_CAUSE"]
    assert not (tmp_path / "after-deploy.env").exists()


class Names:
    """Own names that note where they are led."""

    def __init__(self) -> None:
        self.led: list[str] = []

    def make(self, host: str, patience: float) -> list[Finding]:
        self.led.append(host)
        return [Finding("own-name", "api.example.org is not bound", "run `up` again")]


def test_own_names_lead_again_to_what_was_restored_which_may_have_been_made_anew(
    tmp_path: Path, deploys: Deploys, capfd: pytest.CaptureFixture[str]
) -> None:
    names, live = Names(), cast("Any", deploys.target()).read()
    with pytest.raises(RolloutFailed):
        deploy(tmp_path, deploys, CRASHES, names)
    assert names.led == [urlsplit(live.address).hostname]
    assert "api.example.org is not bound; run `up` again" in "".join(capfd.readouterr())
