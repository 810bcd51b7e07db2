"""What a bootstrap will not do, said so that a person knows what to do; and Container Apps."""

from __future__ import annotations

from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

from tests.azure_double.client import AzureDouble
from tests.conftest import REPOSITORY

from .bootstrap_world import REPOSITORY_NAME, SLUG, Bootstrap, changes, copied
from .commands import Azure, run

pytestmark = pytest.mark.slow


@pytest.fixture
def bootstrap(
    double: AzureDouble, rendered_service: Path, deploy_python: Path, tmp_path: Path
) -> Bootstrap:
    """A repository that nothing was set up for yet."""
    double.register()
    double.github_repository(REPOSITORY_NAME, "immutable")
    return Bootstrap(double, copied(rendered_service, tmp_path), deploy_python)


def test_a_name_that_somebody_else_has(bootstrap: Bootstrap) -> None:
    bootstrap.double.inject(point="acr.name-taken", where="irisservice")
    ran = bootstrap("--dry-run")
    assert ran.code == 1
    assert "irisservice cannot be used" in ran.err
    assert "deploy/project.yaml" in ran.err
    assert changes(bootstrap.double) == []


def test_nobody_is_logged_in(bootstrap: Bootstrap) -> None:
    ran = bootstrap(env=bootstrap.env(None))
    assert ran.code == 1
    assert "az login" in ran.err


def test_nobody_is_logged_in_to_github(bootstrap: Bootstrap) -> None:
    env = bootstrap.env(bootstrap.double.owner)
    del env["GH_TOKEN"]
    ran = bootstrap(env=env)
    assert ran.code == 1
    assert "gh auth login" in ran.err
    assert changes(bootstrap.double) == []


def test_a_repository_that_is_not_there(bootstrap: Bootstrap) -> None:
    bootstrap.double.reset()
    ran = bootstrap()
    assert ran.code == 1
    assert f"gh repo create {REPOSITORY_NAME}" in ran.err


def test_another_subscription_than_before(bootstrap: Bootstrap) -> None:
    env = bootstrap.env(bootstrap.double.owner)
    other = "99999999-0000-4000-8000-000000000009"
    fields = ("-f", "name=AZURE_SUBSCRIPTION_ID", "-f", f"value={other}")
    run(env, "gh", "api", f"repos/{REPOSITORY_NAME}/actions/variables", *fields)
    before = changes(bootstrap.double)
    ran = bootstrap()
    assert ran.code == 1
    assert f"az account set --subscription {other}" in ran.err
    assert changes(bootstrap.double) == before


def test_a_login_that_may_not_give_roles(bootstrap: Bootstrap) -> None:
    scope = bootstrap.double.subscription_id
    person = bootstrap.double.principal("contributor", ("Contributor", scope))
    ran = bootstrap("--without-github", env=bootstrap.env(person))
    assert ran.code == 1
    assert "may not give roles. Send this to an administrator (Owner, or" in ran.out
    assert "az role assignment create" in ran.out
    assert "Then run the same command again: it goes on from here." in ran.out


@pytest.mark.parametrize("subjects", ["classic", "unsaid"])
def test_older_repositories_have_the_classic_subject(bootstrap: Bootstrap, subjects: str) -> None:
    bootstrap.double.github_repository(REPOSITORY_NAME, subjects)
    ran = bootstrap("--dry-run", "--reviewer", "octo-org")
    assert ran.code == 0, ran.err
    assert f"--subject repo:{REPOSITORY_NAME}:environment:production " in ran.out


def test_what_a_dry_run_prints_sets_up_container_apps(
    double: AzureDouble, deploy_python: Path, tmp_path: Path
) -> None:
    double.register()
    double.github_repository(REPOSITORY_NAME, "immutable")
    answers = {"runs_on": "containerapps-t4"}
    project = cookiecutter(
        str(REPOSITORY), no_input=True, output_dir=str(tmp_path), extra_context=answers
    )
    bootstrap = Bootstrap(double, Path(project), deploy_python)
    dry = bootstrap("--dry-run")
    assert dry.code == 0, dry.err
    bootstrap.script(dry.out)
    before = changes(double)
    ran = bootstrap()
    assert ran.code == 0, ran.err
    assert changes(double) == before
    az = Azure(double, bootstrap.env(double.owner))
    shown = az(
        *("containerapp", "env", "show", "--name", f"{SLUG}-staging-apps"),
        *("--resource-group", f"{SLUG}-staging"),
    )
    profiles = {each["workloadProfileType"] for each in shown["properties"]["workloadProfiles"]}
    assert profiles == {"Consumption", "Consumption-GPU-NC8as-T4"}
    logs = shown["properties"]["appLogsConfiguration"]["logAnalyticsConfiguration"]
    workspace = az(
        *("monitor", "log-analytics", "workspace", "show", "--workspace-name", f"{SLUG}-logs"),
        *("--resource-group", f"{SLUG}-shared"),
    )
    assert logs["customerId"] == workspace["customerId"]
