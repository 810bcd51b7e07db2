"""`deploy doctor`: what it looks at, what it may not look at, and how it tells what it found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from engine.client.failures import NotReady, WrongRelease
from engine.deploy.az import Az
from engine.deploy.az_error import AzError, Problem
from engine.deploy.azure_ids import ACR_PULL
from engine.deploy.commands.doctor import report
from engine.deploy.config import names
from engine.deploy.config.project import Project
from engine.deploy.diagnose import diagnose, explain
from engine.deploy.diagnosis import looks
from engine.deploy.diagnosis.evidence import Group
from engine.deploy.diagnosis.gather import gather
from engine.deploy.finding import Finding
from engine.deploy.journal import Journal
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.aci.target import ContainerInstances
from engine.deploy.targets.base import Live, Places, Target
from engine.deploy.targets.own_names import OwnNames
from engine.errors import EngineError

from tests.engine.evidence import IMAGE, arm_group, as_az_shows, ended
from tests.engine.project import ROOT
from tests.engine.server import free_port

DIGEST = IMAGE.partition("@")[2]
SCOPE = "/subscriptions/s/registries/iris"
PROJECT = Project(
    name="iris-service",
    title="Iris",
    owner="me",
    accelerator="cpu",
    registry="irisservice",
    region="westeurope",
    shared_resource_group="iris-service-shared",
)
ENVIRONMENT = GroupEnvironment(
    stage="staging",
    target="aci",
    region="westeurope",
    resource_group="iris-service-staging",
    name="iris-service-staging",
    secrets=("API_KEYS",),
)
LIVE = Live(
    document={},
    tags={names.TAG_IMAGE: DIGEST},
    address=None,
    state="Azure: Succeeded",
    settled=True,
    running=True,
)
FORBIDDEN = AzError(Problem("AuthorizationFailed", 403, "no"), "az")
HEALTHY: dict[str, Any] = {
    "container show": as_az_shows(arm_group()),
    "acr show": {"id": SCOPE, "roleAssignmentMode": "LegacyRegistryPermissions"},
    "identity show": {"principalId": "runtime"},
    "role assignment": [
        {"principalId": "runtime", "roleDefinitionId": f"/x/roleDefinitions/{ACR_PULL}"},
        {"principalId": "other", "roleDefinitionId": "/x/roleDefinitions/else"},
    ],
    "acr repository": {"digest": DIGEST, "imageSize": 123},
    "provider show": {"registrationState": "Registered"},
}


@dataclass
class FakeAz:
    """Answers by the first two words of a command; an exception is raised."""

    answers: dict[str, Any]

    def json(self, *arguments: str) -> Any:
        answer = self.answers[" ".join(arguments[:2])]
        if isinstance(answer, Exception):
            raise answer
        return answer

    find = json


@dataclass
class FakeTarget:
    """A target with this log; each look takes the next of the given logs."""

    az: FakeAz
    live: Live | None
    written: list[str] = field(default_factory=list)
    what: str = "container group iris-service-staging"

    def read(self) -> Live | None:
        return self.live

    def evidence(self) -> Group | None:
        group = ContainerInstances(cast("Az", self.az), ENVIRONMENT, Places("s", "", ""))
        return group.evidence()

    def candidate_addresses(self) -> tuple[str, ...]:
        return (self.live.address,) if self.live and self.live.address else ()

    def candidate_headers(self) -> dict[str, str]:
        return {}

    def candidate_authority(self) -> None:
        """A public one."""

    def logs(self, *, follow: bool) -> Iterator[str]:
        assert not follow
        yield from (self.written.pop(0) if self.written else "").splitlines()


class NoRecords:
    """A journal without any record of the rollout."""

    def read(self, rollout: str) -> None:
        """No record."""

    def last_sign(self, rollout: str) -> str:
        return ""


@dataclass
class Scene:
    az: Az
    target: Target
    project: Project = PROJECT
    environment: GroupEnvironment = ENVIRONMENT
    own_names: OwnNames | None = None
    journal: Journal = field(default_factory=lambda: cast("Journal", NoRecords()))


def scene(live: Live | None = LIVE, logs: tuple[str, ...] = (), **answers: Any) -> Scene:
    given = {name.replace("_", " "): answer for name, answer in answers.items()}
    az = FakeAz({**HEALTHY, **given})
    target = FakeTarget(az, live, list(logs))
    return Scene(cast("Az", az), cast("Target", target))


def codes(found: Scene) -> list[str]:
    return [each.code for each in diagnose(gather(found))]


def test_a_healthy_environment() -> None:
    evidence = gather(scene())
    assert diagnose(evidence) == ()
    assert evidence.unseen == ()
    assert evidence.registry is not None
    assert evidence.registry.roles == frozenset({ACR_PULL})
    assert report("staging", evidence, ()) == "staging is healthy"


def test_what_may_not_be_looked_at_is_named_and_is_no_fault() -> None:
    evidence = gather(scene(acr_show=FORBIDDEN, container_show=FORBIDDEN, provider_show=FORBIDDEN))
    assert diagnose(evidence) == ()
    seen = ("registry (AuthorizationFailed)", "state and events (AuthorizationFailed)")
    assert evidence.unseen == seen
    assert "could not be looked at: registry" in report("staging", evidence, ())
    assert gather(scene(role_assignment=FORBIDDEN)).registry is not None


class UnboundNames:
    """An own name that leads nowhere yet."""

    def findings(self, host: str) -> list[Finding]:
        assert host == "127.0.0.1"
        return [Finding("certificate-dns", "api.example.org does not resolve", "make the record")]


def test_an_own_name_is_a_finding_and_never_why_a_release_failed() -> None:
    named = replace(LIVE, address=f"http://127.0.0.1:{free_port()}")
    found = replace(scene(named), own_names=cast("OwnNames", UnboundNames()))
    assert [each.code for each in gather(found).outside] == ["certificate-dns"]
    assert gather(found, EngineError("it is not ready", "look")).outside == ()


def test_nothing_deployed() -> None:
    assert codes(scene(None, container_show=None)) == ["absent"]


def test_each_look_finds_its_fault() -> None:
    absent = AzError(Problem("Exit1", None, "Error: manifest unknown: sha256 is not found"), "az")
    assert codes(scene(acr_repository=absent)) == ["image-absent"]
    assert codes(scene(role_assignment=[])) == ["image-role"]
    abac = {**HEALTHY["acr show"], "roleAssignmentMode": "AbacRepositoryPermissions"}
    assert codes(scene(acr_show=abac)) == ["image-role"]
    assert codes(scene(provider_show={"registrationState": "NotRegistered"})) == ["provider"]
    lost = AzError(Problem("NotLoggedIn", 401, "Please run 'az login'"), "az")
    assert codes(scene(acr_show=lost)) == ["not-logged-in"]
    verifying = {names.TAG_STATE: "verifying", names.TAG_ROLLOUT: "1"}
    assert codes(scene(replace(LIVE, tags={**LIVE.tags, **verifying}))) == ["interrupted"]
    without = arm_group()
    without["properties"]["containers"][0]["properties"]["environmentVariables"] = []
    assert codes(scene(container_show=without)) == ["secret"]
    nobody = replace(LIVE, address=f"http://127.0.0.1:{free_port()}")
    assert codes(scene(nobody)) == ["unreachable"]
    assert codes(scene(replace(LIVE, stopped=True))) == ["stopped"]


def test_an_unreadable_registry_is_no_absent_image() -> None:
    refused = AzError(Problem("Exit1", None, "UNAUTHORIZED: not found, or no rights"), "az")
    evidence = gather(scene(acr_repository=refused))
    assert evidence.registry is not None
    assert evidence.registry.has_image is None


def test_the_log_of_a_crashing_container_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "LOG_PAUSE_SECONDS", 0)
    crashing = replace(LIVE, failure="the container keeps ending", running=False)
    group = arm_group(current=ended(1), restarts=3)
    logs = ("", "starting", "error: no model package in /app/models")
    assert codes(scene(crashing, logs, container_show=group)) == ["cannot-run"]


def test_a_failure_is_explained_unless_it_explains_itself() -> None:
    sick = scene(role_assignment=[])
    told = explain(sick, EngineError("it does not come up", "read its log"), print)
    assert told.cause.startswith("the runtime identity has no role that lets it pull")
    for precise in (WrongRelease("a", "b"), NotReady("a", "b", "failed", "golden check failed")):
        assert explain(sick, precise, print) is precise


def test_the_end_of_a_log_that_will_be_gone_is_told() -> None:
    said: list[str] = []
    crashing = replace(LIVE, failure="the container keeps ending", running=False)
    log = "\n".join([*(f"line {number}" for number in range(40)), "error: no model"])
    explain(scene(crashing, (log,)), EngineError("it does not come up", "x"), said.append)
    assert said[0] == "its log ends:"
    assert said[1:3] == ["| line 26", "| line 27"]
    assert said[-1] == "| error: no model"


def test_findings_are_told_with_fix_and_evidence() -> None:
    evidence = gather(scene(role_assignment=[]))
    text = report("staging", evidence, diagnose(evidence))
    assert text.startswith("1. the runtime identity has no role that lets it pull from irisservice")
    assert "   fix: give it the role AcrPull" in text


def doctor(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine.deploy", "doctor", *arguments]
    return subprocess.run(
        command, cwd=ROOT, input=stdin, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_saved_log_is_read_without_asking_anybody() -> None:
    subject = "repo:me@1/iris@2:environment:staging"
    log = f"Run azure/login\nError: AADSTS700213: No matching ... assertion subject '{subject}'.\n"
    done = doctor("--log", "-", stdin=log)
    assert done.returncode == 1, done.stderr
    assert subject in done.stdout
    assert "fix: `.venv/bin/python -m engine.deploy bootstrap`" in done.stdout
    quiet = doctor("--log", "-", stdin=json.dumps({"level": "info", "message": "ready"}))
    assert (quiet.returncode, quiet.stdout) == (0, "the log shows nothing that is known here\n")


@pytest.mark.slow
def test_wrong_usage_is_exit_code_2() -> None:
    assert doctor().returncode == 2
    assert doctor("staging", "--log", "-").returncode == 2
