"""`python -m engine.deploy bootstrap`, real `az` and `gh`: killed, taken up, drifted, repaired."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.azure_double.client import AzureDouble
from tests.service.conftest import docker_engine
from tests.service.containers import docker_client, remove_image

from .bootstrap_world import REPOSITORY_NAME, SLUG, Bootstrap, Ran, changes, copied, roles
from .commands import Azure, CommandError, run

__all__ = ["docker_engine"]
pytestmark = pytest.mark.slow

STAGES = ("staging", "production")
KILLS = (
    ("POST", "*/register"),
    ("PUT", f"*/resourcegroups/{SLUG}-staging"),
    ("PUT", "*/registries/irisservice"),
    ("PUT", f"*/userAssignedIdentities/{SLUG}-build"),
    ("PUT", "*/roleDefinitions/*"),
    ("PUT", f"*/resourceGroups/{SLUG}-staging/*/roleAssignments/*"),
    ("PUT", f"*/{SLUG}-deploy-staging/federatedIdentityCredentials/*"),
    ("POST", f"/repos/{REPOSITORY_NAME}/environments/production/deployment-branch-policies"),
)
BILLING_PLAN = (
    "Failed to create the environment protection rule. Please ensure the billing plan supports the "
    "required reviewers protection rule."
)


@dataclass(frozen=True)
class Done:
    """A subscription that was set up in spite of everything."""

    bootstrap: Bootstrap
    az: Azure
    prefix: str
    dry: Ran
    changed_by_dry: list[str]
    refused: Ran
    last: Ran

    def identity(self, name: str) -> dict[str, Any]:
        """A managed identity, by the end of its name."""
        shown: dict[str, Any] = self.az(
            *("identity", "show", "--name", f"{SLUG}-{name}"),
            *("--resource-group", f"{SLUG}-shared"),
        )
        return shown

    @property
    def revision(self) -> str:
        """The commit of the repository."""
        return run(
            dict(os.environ), "git", "-C", str(self.bootstrap.service), "rev-parse", "HEAD"
        ).strip()

    def job(self, identity: str, subject: str) -> dict[str, str]:
        """The environment of a job that is logged in as an identity."""
        job = self.az.as_job(self.identity(identity), f"{self.prefix}:{subject}")
        return {**job.env, "DOCKER": docker_client()}


@pytest.fixture(scope="module")
def done(
    running_double: AzureDouble,
    rendered_service: Path,
    deploy_python: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Done]:
    """A dry run; runs that are killed, refused and delayed; and one that comes to the end."""
    double = running_double
    double.reset()
    made = double.github_repository(REPOSITORY_NAME, "immutable")
    service = copied(rendered_service, tmp_path_factory.mktemp("bootstrap"))
    bootstrap = Bootstrap(double, service, deploy_python)
    dry = bootstrap("--dry-run")
    changed_by_dry = changes(double)
    double.inject(
        where="PUT */roleAssignments/*",
        times=2,
        status=400,
        code="PrincipalNotFound",
        message="Principal p does not exist in the directory d.",
    )
    for method, path in KILLS:
        bootstrap.killed_at(method, path)
    double.inject(where="POST */actions/variables", status=403, message=BILLING_PLAN)
    refused = bootstrap()
    last = bootstrap()
    az = Azure(double, bootstrap.env(double.owner))
    yield Done(bootstrap, az, made["subject_prefix"], dry, changed_by_dry, refused, last)
    double.reset()


def test_a_dry_run_prints_the_commands_and_changes_nothing(done: Done) -> None:
    assert done.dry.code == 0, done.dry.err
    assert done.changed_by_dry == []
    lines = done.dry.out.splitlines()
    assert f"az group create --name {SLUG}-shared --location westeurope" in done.dry.out
    assert sum(line.startswith("az role assignment create ") for line in lines) == 23
    assert sum(line.startswith("gh api --method ") for line in lines) == 15
    [ruleset] = [line for line in lines if line.startswith("echo ")]
    assert ruleset.endswith(f" | gh api --method POST repos/{REPOSITORY_NAME}/rulesets --input -")
    assert lines[-1].endswith("nothing was changed")


def test_it_comes_to_its_end_whatever_happened_before(done: Done) -> None:
    assert done.last.code == 0, done.last.err
    for name in (f"{SLUG}-shared", "irisservice", f"{SLUG}-deploy-production", "about $5 a month"):
        assert name in done.last.out
    assert "a month when it never stops" in done.last.out


def test_what_github_refuses_is_explained(done: Done) -> None:
    assert done.refused.code == 1
    assert "billing plan" in done.refused.err
    assert "--reviewer none" in done.refused.err


def test_another_run_changes_nothing(done: Done) -> None:
    before = changes(done.bootstrap.double)
    again = done.bootstrap()
    assert again.code == 0, again.err
    assert changes(done.bootstrap.double) == before
    assert "done: 0 of" in again.err


def test_the_registry_has_no_admin_user(done: Done) -> None:
    registry = done.az("acr", "show", "--name", "irisservice", "--resource-group", f"{SLUG}-shared")
    assert registry["adminUserEnabled"] is False
    assert registry["sku"]["name"] == "Basic"


@pytest.mark.parametrize("stage", STAGES)
def test_a_deploy_identity_has_these_roles_and_no_others(done: Done, stage: str) -> None:
    principal = done.identity(f"deploy-{stage}")["principalId"]
    given = done.az("role", "assignment", "list", "--all", "--assignee-object-id", principal)
    assert roles(given) == {
        ("Azure Container Instances Contributor Role", f"{SLUG}-{stage}"),
        (f"{SLUG} rollout records", f"{SLUG}-{stage}"),
        ("Managed Identity Operator", f"{SLUG}-runtime"),
        ("Reader", "irisservice"),
        ("AcrPull", "irisservice"),
        ("Reader", f"{SLUG}-insights"),
        (f"{SLUG} container logs", f"{SLUG}-logs"),
    }


@pytest.mark.parametrize(
    ("identity", "subject"),
    [
        ("build", "environment:registry"),
        ("prune", "environment:prune"),
        ("deploy-staging", "environment:staging"),
        ("deploy-production", "environment:production"),
    ],
)
def test_a_job_logs_in_with_its_own_subject_only(done: Done, identity: str, subject: str) -> None:
    shown = done.identity(identity)
    done.az.as_job(shown, f"{done.prefix}:{subject}")
    others = {
        f"{done.prefix}:ref:refs/heads/evil",
        f"{done.prefix}:pull_request",
        f"repo:{REPOSITORY_NAME}:{subject}",
        f"{done.prefix}:ref:refs/heads/main",
        *(f"{done.prefix}:environment:{each}" for each in ("staging", "registry", "prune")),
    }
    for wrong in others - {f"{done.prefix}:{subject}"}:
        with pytest.raises(CommandError, match="AADSTS700213"):
            done.az.as_job(shown, wrong)


def test_staging_may_not_touch_production(done: Done) -> None:
    staging = done.az.as_job(done.identity("deploy-staging"), f"{done.prefix}:environment:staging")
    assert staging("container", "list", "--resource-group", f"{SLUG}-staging") == []
    with pytest.raises(CommandError, match="AuthorizationFailed"):
        staging("container", "list", "--resource-group", f"{SLUG}-production")
    with pytest.raises(CommandError, match="AuthorizationFailed"):
        staging("group", "delete", "--name", f"{SLUG}-staging", "--yes")


def test_each_identity_can_do_its_work_and_no_other(done: Done, docker_engine: None) -> None:
    build = done.job("build", "environment:registry")
    staging = done.job("deploy-staging", "environment:staging")
    prune = done.job("prune", "environment:prune")
    early = done.bootstrap.deploy(prune, "prune")
    assert (early.code, early.out) == (0, ""), early.err
    assert "has no images of iris-service yet" in early.err
    pushed = done.bootstrap.deploy(build, "push")
    assert pushed.code == 0, pushed.err
    image = pushed.out.strip()
    up = ("up", "staging", "--image", image)
    try:
        assert done.bootstrap.deploy(build, *up).code == 1
        deployed = done.bootstrap.deploy(staging, *up)
        assert deployed.code == 0, deployed.err
        delete = ("az", "acr", "repository", "delete", "--name", "irisservice", "--yes")
        for other in (build, staging):
            with pytest.raises(CommandError, match=r"(?i)denied|unauthorized|authentication"):
                run(other, *delete, "--image", image.partition("/")[2])
        pruned = done.bootstrap.deploy(prune, "prune", "--keep", "0")
        assert pruned.code == 0, pruned.err
        assert pruned.out == ""
        tag = run(
            prune,
            "az",
            "acr",
            "repository",
            "show-tags",
            "--name",
            "irisservice",
            "--repository",
            SLUG,
            "--output",
            "tsv",
        )
        run(prune, *delete, "--image", f"{SLUG}:{tag.strip()}")
    finally:
        remove_image(image, f"{image.partition('@')[0]}:{done.revision}")


def test_github_knows_where_and_as_whom(done: Done) -> None:
    state = done.bootstrap.double.github_state(REPOSITORY_NAME)
    clients = {name: done.identity(name)["clientId"] for name in ("build", "prune")}
    assert state["variables"] == {
        "AZURE_TENANT_ID": done.bootstrap.double.tenant,
        "AZURE_SUBSCRIPTION_ID": done.bootstrap.double.subscription,
        "AZURE_BUILD_CLIENT_ID": clients["build"],
        "AZURE_PRUNE_CLIENT_ID": clients["prune"],
    }
    assert state["workflow_permissions"] == {
        "default_workflow_permissions": "read",
        "can_approve_pull_request_reviews": True,
    }
    for job in ("registry", "prune"):
        environment = state["environments"][job]
        assert [each["name"] for each in environment["branch_policies"]] == ["main"]
        assert not environment["settings"].get("reviewers")
    [ruleset] = state["rulesets"]
    assert ruleset["enforcement"] == "active"
    [checks] = [
        each["parameters"]["required_status_checks"]
        for each in ruleset["rules"]
        if each["type"] == "required_status_checks"
    ]
    workflow = yaml.safe_load((done.bootstrap.service / ".github/workflows/ci.yml").read_text())
    [check] = [each["context"] for each in checks]
    [last] = [each for each in workflow["jobs"].values() if each["name"] == check]
    assert set(last["needs"]) == {"test", "checks", "image", "scan"}
    for stage in STAGES:
        environment = state["environments"][stage]
        client = done.identity(f"deploy-{stage}")["clientId"]
        assert environment["variables"] == {"AZURE_CLIENT_ID": client}
        assert [each["name"] for each in environment["branch_policies"]] == ["main"]
        assert bool(environment["settings"].get("reviewers")) is (stage == "production")


def test_drift_is_repaired(done: Done) -> None:
    shared, double = f"{SLUG}-shared", done.bootstrap.double
    place = ("--resource-group", shared)
    az, env = done.az, done.az.env
    az("acr", "update", "--name", "irisservice", *place, "--admin-enabled", "true")
    credential = ("--identity-name", f"{SLUG}-deploy-production", "--name", "github", *place)
    az("identity", "federated-credential", "update", *credential, "--subject", "repo:evil/x:y")
    [definition] = az("role", "definition", "list", "--name", f"{SLUG} rollout records")
    wide = {**definition, "permissions": [{"actions": ["*"]}]}
    az("role", "definition", "update", "--role-definition", json.dumps(wide))
    build = done.identity("build")
    registry_id = az("acr", "show", "--name", "irisservice", *place)["id"]
    who = ("--assignee-object-id", build["principalId"], "--scope", registry_id)
    pushes = ("role", "assignment", "list", *who, "--role", "AcrPush")
    [given] = az(*pushes)
    run(env, "az", "role", "assignment", "delete", "--ids", given["id"])
    path = f"repos/{REPOSITORY_NAME}/environments/production"
    run(env, "gh", "api", "--method", "PUT", path, "-F", "wait_timer=5")
    variable = f"{path}/variables/AZURE_CLIENT_ID"
    run(env, "gh", "api", "--method", "PATCH", variable, "-f", "value=somebody-else")

    mended = done.bootstrap()
    assert mended.code == 0, mended.err
    registry = az("acr", "show", "--name", "irisservice", *place)
    assert registry["adminUserEnabled"] is False
    shown = az("identity", "federated-credential", "show", *credential)
    assert shown["subject"] == f"{done.prefix}:environment:production"
    [definition] = az("role", "definition", "list", "--name", f"{SLUG} rollout records")
    assert "*" not in definition["permissions"][0]["actions"]
    assert len(az(*pushes)) == 1
    production = double.github_state(REPOSITORY_NAME)["environments"]["production"]
    assert production["settings"]["reviewers"]
    assert production["settings"]["deployment_branch_policy"]["custom_branch_policies"] is True
    assert production["settings"]["wait_timer"] == 5
    client = done.identity("deploy-production")["clientId"]
    assert production["variables"] == {"AZURE_CLIENT_ID": client}
    assert "done: 6 of" in mended.err


def test_without_gh_it_says_what_to_set_by_hand(done: Done) -> None:
    env = {**done.bootstrap.env(done.bootstrap.double.owner), "GH": "/nowhere/gh"}
    before = changes(done.bootstrap.double)
    ran = done.bootstrap("--without-github", env=env)
    assert ran.code == 0, ran.err
    assert changes(done.bootstrap.double) == before
    assert f"AZURE_BUILD_CLIENT_ID={done.identity('build')['clientId']}" in ran.out
    assert f"AZURE_CLIENT_ID={done.identity('deploy-staging')['clientId']}" in ran.out
    assert "az identity federated-credential create" in ran.out
    given = done.bootstrap("--without-github", "--subject-prefix", done.prefix, env=env)
    assert given.code == 0, given.err
    assert "federated-credential create" not in given.out
    assert changes(done.bootstrap.double) == before
