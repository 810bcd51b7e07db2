"""Running a bootstrap: taken up after a kill anywhere, idempotent, repairing what drifted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from engine.deploy.az_error import AzError, Problem
from engine.deploy.bootstrap import report
from engine.deploy.bootstrap.inputs import Inputs
from engine.deploy.bootstrap.looks import Clock
from engine.deploy.bootstrap.plan import plan
from engine.deploy.bootstrap.runner import (
    CHECK,
    MADE,
    REFUSED,
    REPAIRED,
    THERE,
    Result,
    Runner,
)
from engine.deploy.bootstrap.step import Step
from engine.deploy.gh import GhError
from engine.deploy.say import Say
from engine.errors import EngineError

from .bootstrap_world import Killed, PretendedAzure, inputs


def azure_only(target: str = "aci", gpu: str = "none") -> Inputs:
    return inputs(target, gpu=gpu, github=False)


def ticking(*, at: Callable[[int], None] = lambda pauses: None) -> Clock:
    """A clock that only pauses move; ``at`` is told how many there were."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        at(len(pauses))

    return Clock(now=lambda: sum(pauses), pause=pause)


def run(azure: Any, steps: tuple[Step, ...], **options: Any) -> tuple[Result, ...]:
    tools = {"az": azure, "gh": azure}
    return Runner(tools, Say(), clock=ticking(), **options).run(steps)


@pytest.mark.parametrize(
    ("target", "gpu"),
    [("aci", "none"), ("azureml", "none"), ("containerapps", "none"), ("containerapps", "t4")],
)
def test_what_is_missing_is_made_once(target: str, gpu: str) -> None:
    steps = plan(azure_only(target, gpu))
    azure = PretendedAzure(steps)
    first = run(azure, steps)
    made, changes = azure.state(), len(azure.changes)
    assert all(each.outcome in (MADE, REPAIRED) for each in first)
    second = run(azure, steps)
    assert {each.outcome for each in second} == {THERE}
    assert len(azure.changes) == changes
    assert azure.state() == made


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_run_that_was_killed_anywhere_is_taken_up(before: bool) -> None:
    steps = plan(azure_only())
    whole = PretendedAzure(steps)
    run(whole, steps)
    for change in range(1, len(whole.changes) + 1):
        azure = PretendedAzure(steps)
        azure.die_at, azure.die_before = change, before
        with pytest.raises(Killed):
            run(azure, steps)
        azure.die_at = 0
        run(azure, steps)
        assert azure.state() == whole.state()
        # Nothing is made twice but the one thing whose making was cut off before it began.
        assert len(azure.changes) == len(whole.changes) + before


def test_a_dry_run_changes_nothing_and_prints_each_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    steps = plan(azure_only())
    azure = PretendedAzure(steps)
    run(azure, steps, dry_run=True)
    assert azure.changes == []
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("az ")]
    assert len(lines) == sum(len(step.make) for step in steps)
    # Ids that Azure makes up later are asked for when the line is run.
    asked = '--assignee-object-id "$(az identity show --name iris-service-runtime '
    assert any(asked in line for line in lines)


def test_a_dry_run_of_what_is_there_prints_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    steps = plan(azure_only())
    azure = PretendedAzure(steps)
    run(azure, steps)
    capsys.readouterr()
    run(azure, steps, dry_run=True)
    assert "az " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "path", "value"),
    [
        ("registry", "adminUserEnabled", True),
        ("role records", "permissions.0.actions", ["*"]),
        ("role records", "assignableScopes", ["/subscriptions/other"]),
        (
            "credential iris-service-deploy-production",
            "subject",
            "repo:somebody/else:environment:x",
        ),
        ("credential iris-service-build", "issuer", "https://example.com"),
        ("insights", "properties.WorkspaceResourceId", "/subscriptions/other"),
    ],
)
def test_drift_is_repaired(key: str, path: str, value: object) -> None:
    steps = plan(azure_only())
    azure = PretendedAzure(steps)
    run(azure, steps)
    sound, changes = azure.state(), len(azure.changes)
    azure.spoil(key, path, value)
    results = run(azure, steps)
    assert azure.state() == sound
    assert [each.step.key for each in results if each.outcome == REPAIRED] == [key]
    assert len(azure.changes) == changes + 1


@pytest.mark.parametrize(
    "key",
    [
        "identity build: AcrPush on registry irisservice",
        "credential iris-service-prune",
        "group iris-service-production",
    ],
)
def test_what_was_deleted_is_made_again(key: str) -> None:
    steps = plan(azure_only())
    azure = PretendedAzure(steps)
    run(azure, steps)
    sound = azure.state()
    azure.lose(key)
    results = run(azure, steps)
    assert [each.step.key for each in results if each.outcome == MADE] == [key]
    assert azure.state() == sound


def test_an_identity_made_anew_gets_its_roles_anew() -> None:
    steps = plan(azure_only())
    azure = PretendedAzure(steps)
    run(azure, steps)
    azure.spoil("identity build", "principalId", "another-principal")
    results = run(azure, steps)
    assert [each.step.key for each in results if each.outcome == MADE] == [
        "identity build: AcrPush on registry irisservice",
        "identity build: Reader on registry irisservice",
        "identity build: Reader on group iris-service-production",
    ]


def test_what_only_a_person_can_mend_is_reported_with_the_fix() -> None:
    steps = plan(azure_only())
    azure = PretendedAzure(steps)
    run(azure, steps)
    changes = len(azure.changes)
    azure.spoil("registry", "roleAssignmentMode", "AbacRepositoryPermissions")
    [wrong] = [(each.step.key, rule) for each in run(azure, steps) for rule in each.wrong]
    assert wrong[0] == "registry"
    assert "--role-assignment-mode rbac" in wrong[1].fix
    assert len(azure.changes) == changes


class NewRepository:
    """GitHub's settings for workflows, as a new repository has them.

    ``forbids`` is the status that a change gets: 409 where the organisation decides.
    """

    def __init__(self, default: str = "read", forbids: int = 0) -> None:
        self.settings: dict[str, Any] = {
            "default_workflow_permissions": default,
            "can_approve_pull_request_reviews": False,
        }
        self.forbids = forbids

    def find(self, *_arguments: str) -> dict[str, Any]:
        return dict(self.settings)

    def change(self, *arguments: str, stdin: str | None = None) -> None:
        if self.forbids:
            raise GhError(self.forbids, "Conflict", "gh api", "ask")
        assert arguments[:3] == ("api", "--method", "PUT")
        given = dict(each.split("=") for each in arguments if "=" in each)
        self.settings |= {name: value == "true" or value for name, value in given.items()}


def pull_requests_only() -> tuple[Step, ...]:
    return tuple(step for step in plan(inputs()) if step.key == "pull requests")


@pytest.mark.parametrize("default", ["read", "write"])
def test_workflows_may_open_pull_requests_and_get_no_other_rights(default: str) -> None:
    github = NewRepository(default)
    assert [each.outcome for each in run(github, pull_requests_only())] == [REPAIRED]
    assert github.settings == {
        "default_workflow_permissions": default,
        "can_approve_pull_request_reviews": True,
    }
    assert [each.outcome for each in run(github, pull_requests_only())] == [THERE]


def test_what_an_organisation_forbids_is_reported_and_does_not_stop_the_rest() -> None:
    assert [step.key for step in plan(inputs()) if step.optional] == ["pull requests", "ruleset"]
    [result] = run(NewRepository(forbids=409), pull_requests_only())
    assert result.outcome == CHECK
    assert "Allow GitHub Actions to create" in result.wrong[0].fix
    with pytest.raises(EngineError):
        run(NewRepository(forbids=403), pull_requests_only())


class Contributor(PretendedAzure):
    """A login that may make everything and give no rights, until an administrator did it."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        super().__init__(steps)
        self.may = False

    def change(self, *arguments: str, stdin: str | None = None) -> Any:
        if arguments[0] == "role" and not self.may:
            raise AzError(Problem("AuthorizationFailed", 403, "may not"), "az role")
        super().change(*arguments, stdin=stdin)


@pytest.mark.parametrize(("target", "gpu"), [("aci", "none"), ("containerapps", "t4")])
def test_who_may_give_no_rights_gets_one_text_for_who_may(target: str, gpu: str) -> None:
    where = azure_only(target, gpu)
    steps = plan(where)
    azure = Contributor(steps)
    runner = Runner({"az": azure, "gh": azure}, Say(), clock=ticking())
    results = runner.run(steps)
    refused = {each.step.key for each in results if each.outcome == REFUSED}
    assert refused == {step.key for step in steps if step.grants}
    assert {each.outcome for each in results} == {REFUSED, MADE, REPAIRED}
    text = report.for_an_administrator(where, runner.refused)
    commands = [line for line in text if line.startswith("az role ")]
    assert len(commands) == sum(len(step.make) for step in steps if step.grants)
    assert f"Please run these {len(commands)} commands" in "\n".join(text)
    # What exists is named; only the role that the text itself makes is asked for.
    asked = {line.partition("$(")[2].partition(" --name ")[0] for line in commands if "$(" in line}
    assert asked == {"az role definition list"}
    made = len(azure.changes)

    azure.may = True
    results = run(azure, steps)
    assert {each.outcome for each in results if each.step.grants} == {MADE}
    assert len(azure.changes) == made + len(commands)
    assert {each.outcome for each in run(azure, steps)} == {THERE}


def test_a_plan_without_rulesets_is_reported_in_the_words_of_github() -> None:
    class FreeAndPrivate:
        def find(self, *arguments: str) -> Any:
            raise GhError(403, "Upgrade to GitHub Pro or make this repository public", "gh", "x")

    steps = tuple(step for step in plan(inputs()) if step.key == "ruleset")
    [result] = run(FreeAndPrivate(), steps)
    assert result.outcome == CHECK
    assert result.why == "Upgrade to GitHub Pro or make this repository public"
    assert "make the repository public or take a plan" in result.wrong[0].fix


def test_a_failed_attempt_is_made_again() -> None:
    steps = plan(azure_only())
    azure = PretendedAzure(steps)
    run(azure, steps)
    sound = azure.state()
    azure.spoil("registry", "provisioningState", "Failed")
    results = run(azure, steps)
    assert [each.step.key for each in results if each.outcome == MADE] == ["registry"]
    assert azure.state() == sound


def test_what_azure_still_makes_is_waited_for() -> None:
    steps = plan(azure_only())
    azure = PretendedAzure(steps)
    run(azure, steps)
    azure.spoil("registry", "provisioningState", "Creating")
    waits = []

    def at(pauses: int) -> None:
        waits.append(pauses)
        if pauses == 3:
            azure.spoil("registry", "provisioningState", "Succeeded")

    results = Runner({"az": azure, "gh": azure}, Say(), clock=ticking(at=at)).run(steps)
    assert waits == [1, 2, 3]
    assert {each.outcome for each in results} == {THERE}


def test_what_never_comes_to_an_end_is_said() -> None:
    steps = plan(azure_only())
    azure = PretendedAzure(steps)
    run(azure, steps)
    azure.spoil("registry", "provisioningState", "Creating")
    with pytest.raises(EngineError, match="irisservice has been Creating for 15 minutes"):
        run(azure, steps)


class Refusing(PretendedAzure):
    """Refuses some changes with an error of Azure's, or does them and loses the answer."""

    def __init__(self, steps: tuple[Step, ...], word: str, code: str, times: int = 1) -> None:
        super().__init__(steps)
        self._word, self._code, self._left = word, code, times
        self.does_it = False

    def change(self, *arguments: str, stdin: str | None = None) -> Any:
        if self._word in arguments and self._left:
            self._left -= 1
            if self.does_it:
                super().change(*arguments, stdin=stdin)
            raise AzError(Problem(self._code, 403, "no"), "az something")
        return super().change(*arguments, stdin=stdin)


def test_a_principal_that_is_not_known_yet_is_tried_again() -> None:
    steps = plan(azure_only())
    azure = Refusing(steps, "assignment", "PrincipalNotFound", times=3)
    assert all(each.outcome in (MADE, REPAIRED) for each in run(azure, steps))


def test_an_answer_that_was_lost_is_no_failure() -> None:
    steps = plan(azure_only())
    azure = Refusing(steps, "create", "ConnectionFailed")
    azure.does_it = True
    assert all(each.outcome in (MADE, REPAIRED) for each in run(azure, steps))


def test_a_refusal_names_the_step_and_who_may() -> None:
    steps = plan(azure_only())
    azure = Refusing(steps, "identity", "AuthorizationFailed", times=99)
    with pytest.raises(EngineError, match=r"iris-service-runtime(.|\n)*Owner"):
        run(azure, steps)


def test_a_name_that_is_taken_is_said_before_anything_is_made() -> None:
    steps = plan(azure_only())

    class Taken(PretendedAzure):
        def find(self, *arguments: str) -> Any:
            if "check-name" in arguments:
                return {"nameAvailable": False, "message": "The registry is already in use."}
            return super().find(*arguments)

    azure = Taken(steps)
    with pytest.raises(EngineError, match=r"irisservice cannot be used(.|\n)*project\.yaml"):
        run(azure, steps)
    assert not any("acr" in arguments for arguments in azure.changes)
