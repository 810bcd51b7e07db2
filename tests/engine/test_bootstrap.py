"""What a bootstrap plans: in an order that works, with no more rights than needed."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from engine.deploy.bootstrap import costs
from engine.deploy.bootstrap.facts import repository_name, subject_prefix
from engine.deploy.bootstrap.inputs import Inputs, Reviewer
from engine.deploy.bootstrap.plan import plan
from engine.deploy.bootstrap.price import CALCULATOR
from engine.deploy.bootstrap.step import Command, Output, Step
from engine.deploy.targets.kind import kind_of
from engine.errors import EngineError

from tests.engine.project import ROOT

from .bootstrap_world import PREFIX, SUBSCRIPTION, inputs

TARGETS = [("aci", "none"), ("azureml", "none"), ("containerapps", "none"), ("containerapps", "t4")]
ROLES = {
    "7f951dda-4ed3-4680-a7ca-43fe172d538d": "AcrPull",
    "8311e382-0749-4cb8-b61a-304f252e45ec": "AcrPush",
    "c2f4ef07-c644-48eb-af81-4b1b4947fb11": "AcrDelete",
    "acdd72a7-3385-48ef-bd42-f606fba81ae7": "Reader",
    "f1a07417-d97a-45cb-824c-7a7467783830": "Managed Identity Operator",
    "5d977122-f97e-4b4d-a52f-6b43003ddb4d": "Azure Container Instances Contributor Role",
    "a4b10055-b0c7-44c2-b00f-c7b5b3550cf7": "Traffic Manager Contributor",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
}
_SEEN = ("iris-service-insights", "iris-service-logs")


def commands(steps: tuple[Step, ...]) -> list[Command]:
    return [command for step in steps for command in step.make]


def option(command: Command, name: str) -> Any:
    return command.arguments[command.arguments.index(name) + 1]


def granted(steps: tuple[Step, ...]) -> set[tuple[str, str, str]]:
    """Who, which role, where: all role assignments."""
    found = set()
    for command in commands(steps):
        if command.arguments[:3] != ("role", "assignment", "create"):
            continue
        role = option(command, "--role")
        name = role.step if isinstance(role, Output) else ROLES[role.rpartition("/")[2]]
        where = option(command, "--scope").partition("/resourceGroups/")[2]
        found.add((option(command, "--assignee-object-id").step, name, where.rpartition("/")[2]))
    return found


@pytest.mark.parametrize(("target", "gpu"), TARGETS)
def test_each_step_comes_after_those_that_it_needs(target: str, gpu: str) -> None:
    done: set[str] = set()
    for step in plan(inputs(target, gpu=gpu)):
        needed = [part for command in step.make for part in command.arguments]
        needed += list((step.among.where if step.among else {}).values())
        needed += [rule.wanted for rule in step.rules if isinstance(rule.wanted, Output)]
        missing = {part.step for part in needed if isinstance(part, Output)} - done
        assert not missing, f"{step.key} needs {missing}"
        done.add(step.key)


@pytest.mark.parametrize(("target", "gpu"), TARGETS)
def test_each_step_has_a_name_of_its_own_and_a_purpose(target: str, gpu: str) -> None:
    steps = plan(inputs(target, gpu=gpu))
    assert len({step.key for step in steps}) == len(steps)
    assert all(step.purpose and not step.purpose.endswith(".") for step in steps)


def test_the_roles_are_these_and_no_others() -> None:
    both = {
        ("identity runtime", "AcrPull", "irisservice"),
        ("identity build", "AcrPush", "irisservice"),
        ("identity build", "Reader", "irisservice"),
        ("identity build", "Reader", "iris-service-production"),
        ("identity prune", "AcrDelete", "irisservice"),
        ("identity prune", "AcrPull", "irisservice"),
        ("identity prune", "Reader", "irisservice"),
    }
    for stage in ("staging", "production"):
        who, group = f"identity deploy {stage}", f"iris-service-{stage}"
        both |= {
            (who, "Azure Container Instances Contributor Role", group),
            (who, "role records", group),
            (who, "Managed Identity Operator", "iris-service-runtime"),
            (who, "Reader", "irisservice"),
            (who, "AcrPull", "irisservice"),
            (who, "Reader", "iris-service-insights"),
            (who, "role logs", "iris-service-logs"),
            ("identity prune", "Reader", group),
        }
    assert granted(plan(inputs())) == both


def test_what_is_switched_off_needs_no_role() -> None:
    off = granted(plan(inputs(telemetry=False, container_logs=False)))
    assert off == {each for each in granted(plan(inputs())) if each[2] not in _SEEN}
    assert not any(role == "role logs" for _, role, _ in granted(plan(inputs("containerapps"))))


def test_several_copies_need_the_right_to_change_their_name() -> None:
    more = granted(plan(inputs(copies=2))) - granted(plan(inputs()))
    assert more == {
        (f"identity deploy {stage}", "Traffic Manager Contributor", f"iris-service-{stage}")
        for stage in ("staging", "production")
    }
    assert "Microsoft.Network" in str(commands(plan(inputs(copies=2))))
    assert "Microsoft.Network" not in str(commands(plan(inputs())))


def test_captured_requests_get_a_container_and_the_service_a_role_on_it_alone() -> None:
    place = "https://iriscaptured.blob.core.windows.net/requests/iris"
    asked = inputs(variables={"CAPTURE": place})
    more = granted(plan(asked)) - granted(plan(inputs()))
    assert more == {("identity runtime", "Storage Blob Data Contributor", "requests")}
    assert "Microsoft.Storage" in str(commands(plan(asked)))
    steps = {step.key: step for step in plan(asked)}
    container = steps["container iriscaptured/requests"]
    assert option(container.make[0], "--resource-group") == "iris-service-shared"
    guard = steps["storage iriscaptured"].guard
    assert guard is not None
    assert guard.refuse({"nameAvailable": True}) is None
    refused = guard.refuse({"nameAvailable": False, "message": "It is taken."})
    assert refused is not None
    assert "CAPTURE" in refused[0]
    # A folder is made by nobody but the service.
    assert granted(plan(inputs(variables={"CAPTURE": "/tmp/x"}))) == granted(plan(inputs()))


def test_container_apps_need_a_role_of_their_own() -> None:
    apps, instances = granted(plan(inputs("containerapps"))), granted(plan(inputs()))
    for stage in ("staging", "production"):
        who, group = f"identity deploy {stage}", f"iris-service-{stage}"
        assert (who, "role apps", group) in apps
        assert (who, "role apps", group) not in instances
    assert not any("Instances" in role for _, role, _ in apps)


@pytest.mark.parametrize(("target", "gpu"), TARGETS)
def test_no_role_is_given_on_the_whole_subscription(target: str, gpu: str) -> None:
    for command in commands(plan(inputs(target, gpu=gpu))):
        if command.arguments[:2] == ("role", "assignment"):
            scope = option(command, "--scope")
            assert scope.startswith(f"/subscriptions/{SUBSCRIPTION}/resourceGroups/iris-service-")


def test_the_custom_roles_cannot_touch_what_runs() -> None:
    made = [each for each in commands(plan(inputs())) if "definition" in each.arguments]
    records, logs = (
        re.findall(r'"(Microsoft\.[^"]+)"', str(option(each, "--role-definition"))) for each in made
    )
    assert records
    for action in records:
        assert action.startswith("Microsoft.Resources/")
        assert "*" not in action
    # Nothing that reads what was logged, and nothing that changes the workspace.
    assert logs == [
        "Microsoft.OperationalInsights/workspaces/read",
        "Microsoft.OperationalInsights/workspaces/sharedKeys/action",
    ]


def test_the_registry_has_no_admin_user() -> None:
    [create] = [
        each for each in commands(plan(inputs())) if each.arguments[:2] == ("acr", "create")
    ]
    assert option(create, "--admin-enabled") == "false"
    assert option(create, "--sku") == "Basic"


@pytest.mark.parametrize("prefix", [PREFIX, "repo:octo-org/iris-service"])
def test_each_identity_believes_one_subject_only(prefix: str) -> None:
    trusted = {
        option(each, "--identity-name"): option(each, "--subject")
        for each in commands(plan(inputs(subject=prefix)))
        if "federated-credential" in each.arguments
    }
    assert trusted == {
        "iris-service-build": f"{prefix}:environment:registry",
        "iris-service-prune": f"{prefix}:environment:prune",
        "iris-service-deploy-staging": f"{prefix}:environment:staging",
        "iris-service-deploy-production": f"{prefix}:environment:production",
    }


def test_the_check_that_main_requires_is_the_job_that_needs_all_gates() -> None:
    [step] = [each for each in plan(inputs()) if each.key == "ruleset"]
    sent = json.loads(str(step.make[0].body))
    [rule] = [each for each in sent["rules"] if each["type"] == "required_status_checks"]
    [check] = [each["context"] for each in rule["parameters"]["required_status_checks"]]
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    [last] = [each for each in jobs.values() if each["name"] == check]
    # What only shows the findings gates nothing.
    assert set(last["needs"]) == {name for name, job in jobs.items() if job is not last} - {
        "findings"
    }


def test_only_production_waits_for_a_person() -> None:
    puts = {
        str(each.arguments[3]).rpartition("/")[2]: each.arguments
        for each in commands(plan(inputs()))
        if each.arguments[:3] == ("api", "--method", "PUT")
        and "/environments/" in str(each.arguments[3])
    }
    assert "reviewers[][id]=7" in puts["production"]
    assert not any("reviewers" in str(each) for each in puts["staging"])
    for arguments in puts.values():
        assert "deployment_branch_policy[custom_branch_policies]=true" in arguments


def test_what_a_person_set_on_an_environment_stays_when_it_is_repaired() -> None:
    [step] = [each for each in plan(inputs()) if each.key == "environment production"]
    found = {
        "deployment_branch_policy": None,
        "protection_rules": [
            {"type": "wait_timer", "wait_timer": 30},
            {
                "type": "required_reviewers",
                "prevent_self_review": True,
                "reviewers": [{"type": "Team", "reviewer": {"id": 99}}],
            },
        ],
    }
    repair = step.rules[0].repair
    assert repair is not None
    [command] = repair(found)
    for field in (
        *("wait_timer=30", "prevent_self_review=true"),
        *("reviewers[][type]=Team", "reviewers[][id]=99"),
    ):
        assert field in command.arguments
    assert "reviewers[][id]=7" not in command.arguments


def test_a_reviewer_who_was_asked_for_is_added_to_those_there() -> None:
    base = inputs()
    assert base.repository is not None
    asked = Reviewer("bob", 8, asked=True)
    repository = type(base.repository)("octo-org/iris-service", PREFIX, "main", asked)
    changed = Inputs(base.project, base.environments, base.account, PREFIX, repository)
    [step] = [each for each in plan(changed) if each.key == "environment production"]
    rules = [{"type": "User", "reviewer": {"id": 7}}]
    found = {"protection_rules": [{"type": "required_reviewers", "reviewers": rules}]}
    repair = step.rules[1].repair
    assert repair is not None
    [command] = repair(found)
    assert {"reviewers[][id]=7", "reviewers[][id]=8"} <= set(map(str, command.arguments))


def test_without_github_nothing_is_done_there() -> None:
    assert {each.program for each in commands(plan(inputs(github=False)))} == {"az"}


def test_without_a_subject_nothing_is_trusted() -> None:
    steps = plan(inputs(subject=None, github=False))
    assert not any("federated-credential" in each.arguments for each in commands(steps))


def test_a_gpu_gets_its_workload_profile() -> None:
    profiles = [
        each
        for each in commands(plan(inputs("containerapps", gpu="t4")))
        if "workload-profile" in each.arguments
    ]
    assert [option(each, "--workload-profile-type") for each in profiles] == [
        "Consumption-GPU-NC8as-T4"
    ] * 2
    assert not any(
        "workload-profile" in each.arguments for each in commands(plan(inputs("containerapps")))
    )


@pytest.mark.parametrize(("target", "gpu"), TARGETS)
def test_no_command_names_an_extension_or_a_key(target: str, gpu: str) -> None:
    for command in commands(plan(inputs(target, gpu=gpu))):
        words = [str(each) for each in command.arguments]
        assert "app-insights" not in words
        assert not any("key" in word and word.startswith("--") for word in words)
        assert "--logs-workspace-key" not in words


REPOSITORY = {
    "full_name": "octo-org/iris-service",
    "name": "iris-service",
    "id": 2,
    "owner": {"login": "octo-org", "id": 1},
}


@pytest.mark.parametrize(
    ("custom", "created", "prefix"),
    [
        ({"use_default": True, "sub_claim_prefix": "repo:o@1/r@2"}, "2026-09-01", "repo:o@1/r@2"),
        # GitHub has been seen to say false here beside a prefix with ids: the prefix is the truth.
        ({"use_immutable_subject": False, "sub_claim_prefix": PREFIX}, "2020-01-01", PREFIX),
        ({"use_immutable_subject": True}, "2020-01-01", PREFIX),
        ({"use_immutable_subject": False}, "2026-09-01", "repo:octo-org/iris-service"),
        ({"use_default": True}, "2026-07-15T23:59:59Z", "repo:octo-org/iris-service"),
        ({"use_default": True}, "2026-07-16T00:00:00Z", PREFIX),
        ({}, "2020-01-01", "repo:octo-org/iris-service"),
        ({"use_default": False}, "2020-01-01", "repo:octo-org/iris-service"),
    ],
)
def test_the_prefix_of_subjects_is_what_github_says(
    custom: dict[str, object], created: str, prefix: str
) -> None:
    assert subject_prefix(custom, {**REPOSITORY, "created_at": created}) == prefix


def test_subjects_that_are_composed_otherwise_are_refused() -> None:
    custom = {"use_default": False, "include_claim_keys": ["repo", "job_workflow_ref"]}
    with pytest.raises(EngineError, match=r"repo, job_workflow_ref(.|\n)*use_default=true"):
        subject_prefix(custom, REPOSITORY)


@pytest.mark.parametrize(
    "remote",
    [
        "https://github.com/octo-org/my.repo.git",
        "https://github.com/octo-org/my.repo",
        "https://x-access-token:secret@github.com/octo-org/my.repo.git",
        "git@github.com:octo-org/my.repo.git",
        "ssh://git@github.com/octo-org/my.repo/",
        "ssh://git@ssh.github.com:443/octo-org/my.repo.git",
    ],
)
def test_the_repository_is_where_git_pushes(remote: str) -> None:
    assert repository_name(inputs().project, remote) == "octo-org/my.repo"


def test_without_a_remote_the_configuration_says_which_repository() -> None:
    assert repository_name(inputs().project, None) == "octo-org/iris-service"


@pytest.fixture
def ssh_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that gives ssh a configuration; ssh itself would read that of the account."""

    def write(configuration: str) -> None:
        (tmp_path / "config").write_text(configuration, encoding="utf-8")
        program = tmp_path / "ssh"
        program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path}/config "$@"\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return write


@pytest.mark.parametrize(
    "remote",
    [
        "git@github-work:octo-org/my.repo.git",
        "GitHub-Work:octo-org/my.repo",
        "ssh://git@github-work/octo-org/my.repo.git",
        "git@GitHub.com:octo-org/my.repo.git",
        "https://octo@GitHub.com/octo-org/my.repo.git",
    ],
)
def test_a_host_alias_is_what_ssh_says(ssh_of: Callable[[str], None], remote: str) -> None:
    ssh_of("Host github-work\n  HostName ssh.github.com\n  Port 443\n")
    assert repository_name(inputs().project, remote) == "octo-org/my.repo"


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("https://gitlab.com/octo-org/iris.git", "octo-org/iris.git on gitlab.com"),
        ("https://git.notgithub.com/octo-org/iris.git", "octo-org/iris.git on git.notgithub.com"),
        ("git@work:octo-org/iris.git", "on github.example.com (work in ssh's configuration)"),
        ("git@unknown-alias:octo-org/iris.git", "octo-org/iris.git on unknown-alias"),
        ("https://me:secret@github.example.com/octo-org/iris", "octo-org/iris on github.example"),
        ("https://github.com/octo-org", "octo-org on github.com"),
        ("/srv/git/iris.git", "srv/git/iris.git on this machine"),
    ],
)
def test_a_remote_elsewhere_is_refused(
    ssh_of: Callable[[str], None], remote: str, shown: str
) -> None:
    ssh_of("Host work\n  HostName github.example.com\n")
    with pytest.raises(EngineError, match="not a repository on github") as refused:
        repository_name(inputs().project, remote)
    assert shown in str(refused.value)
    assert "secret" not in str(refused.value)


def test_an_owner_that_was_never_filled_in_is_refused() -> None:
    project = inputs().project.model_copy(update={"owner": "your-github-name"})
    with pytest.raises(EngineError, match="gh repo create"):
        repository_name(project, None)


def test_prices_are_dated_and_sourced() -> None:
    for price in costs.prices():
        assert price.dollars > 0
        assert price.source
        assert re.fullmatch(r"20\d\d(-\d\d(-\d\d)?)?", price.seen)


def test_costs_are_those_of_the_size() -> None:
    environment = inputs().environments["staging"]  # 1 vCPU, 1.5 GB
    hour = kind_of(environment).hour(environment)
    assert hour == pytest.approx(0.0405 + 1.5 * 0.00445)
    assert "$34 a month" in costs.running(environment)


def test_no_price_is_made_up() -> None:
    retired = inputs().environments["staging"].model_copy(update={"gpu": "v100"})
    assert kind_of(retired).hour(retired) is None
    assert CALCULATOR in costs.running(retired)
