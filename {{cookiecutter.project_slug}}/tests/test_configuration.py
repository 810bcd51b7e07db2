"""The files in deploy/ and load/ are legal, and the workflows pass every secret that they name."""

from __future__ import annotations

import pytest

from engine.deploy.config.read import environment_names, read_environment
from engine.load.slo import read_slo
from engine.upkeep.workflow_secrets import FIX, gaps
from tests.conftest import ROOT


def test_there_is_an_environment() -> None:
    assert environment_names(ROOT), "add a file to deploy/environments/"


@pytest.mark.parametrize("stage", environment_names(ROOT))
def test_an_environment_is_legal_for_its_target(stage: str) -> None:
    project, environment = read_environment(stage, ROOT)
    assert project.name
    assert environment.stage == stage


def test_the_promise_is_legal() -> None:
    assert read_slo(ROOT / "load" / "slo.yaml").p95_ms > 0


def test_the_workflows_pass_every_secret() -> None:
    if found := gaps(ROOT):
        pytest.fail("\n".join([*map(str, found), FIX]), pytrace=False)
