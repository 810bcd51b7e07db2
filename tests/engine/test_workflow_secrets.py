"""The workflows pass every secret of the environment files to the steps that deploy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from engine.upkeep.workflow_secrets import FIX, add, gaps

from tests.engine.project import ROOT


def test_every_secret_reaches_the_deploy() -> None:
    missing = "\n".join(map(str, gaps(ROOT)))
    assert not missing, f"{missing}\n{FIX}"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The workflows and environments of this repository, whatever secrets they have."""
    shutil.copytree(ROOT / ".github" / "workflows", tmp_path / ".github" / "workflows")
    folder = tmp_path / "deploy" / "environments"
    folder.mkdir(parents=True)
    (folder / "staging.yaml").write_text("secrets: [API_KEYS, FIRST_DEMO]\n")
    (folder / "production.yaml").write_text("secrets:\n  - SECOND_DEMO\n")
    return tmp_path


def test_the_gaps_are_found_where_the_secret_is_needed(checkout: Path) -> None:
    found = {(each.workflow.name, each.job, each.secret) for each in gaps(checkout)}
    assert found == {
        ("deploy.yml", "staging", "FIRST_DEMO"),
        ("deploy.yml", "production", "SECOND_DEMO"),
        ("rollback.yml", "rollback", "FIRST_DEMO"),
        ("rollback.yml", "rollback", "SECOND_DEMO"),
    }


def test_a_secret_passed_under_another_name_is_a_gap(checkout: Path) -> None:
    workflow = checkout / ".github" / "workflows" / "deploy.yml"
    text = workflow.read_text(encoding="utf-8")
    workflow.write_text(text.replace("secrets.API_KEYS", "secrets.OTHER"), encoding="utf-8")
    assert "API_KEYS" in {each.secret for each in gaps(checkout)}


def test_an_environment_may_be_named_by_a_word_alone(checkout: Path) -> None:
    workflow = checkout / ".github" / "workflows" / "own.yml"
    workflow.write_text(
        "jobs:\n  own:\n    environment: production\n    steps:\n"
        "      - run: python -m engine.deploy up production --allow-dirty\n"
        "        env:\n          A: b\n"
    )
    found = {each.secret for each in gaps(checkout) if each.workflow == workflow}
    assert found == {"SECOND_DEMO"}


def test_adding_closes_every_gap_and_changes_nothing_else(checkout: Path) -> None:
    workflows = checkout / ".github" / "workflows"
    before = {path: path.read_text(encoding="utf-8") for path in workflows.glob("*.yml")}
    added = add(checkout)
    assert added
    assert gaps(checkout) == []
    assert add(checkout) == []
    for path, text in before.items():
        new = path.read_text(encoding="utf-8").splitlines()
        assert [line for line in new if "_DEMO" not in line] == text.splitlines()
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].keys()
