"""deploy.yml, run by act from a push to production, on the Azure double with real containers.

The suite of the generated repository is cut to a few tests here: it is run whole elsewhere. Both
deploys are made to fail once. That nothing runs after a gate that failed is GitHub's promise about
`needs`; test_policy.py reads from the YAML that every gate is asked for, and what each runs.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.azure_double.client import AzureDouble
from tests.pipeline import commands
from tests.pipeline.bootstrap_world import REPOSITORY_NAME, SLUG, Bootstrap, copied
from tests.pipeline.rollout_world import REGISTRY, derived, eventually
from tests.service.containers import docker, docker_client, remove_image
from tests.workflows.pipeline import JOBS, Part, Pipeline, Run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.environ.get("ACI_ML_DOCKER") == "absent", reason="Docker is not here"),
]

QUICK_SLO = """\
p95_ms: 400
error_ratio: 0.01
minimum_rps: 5
users: 4
ramp_seconds: 1
warm_up_seconds: 1
run_seconds: 3
"""
QUALITY = "quality: {metric: accuracy, margin: 0.01, data: load/quality.csv}\n"
SIGNER = (
    f"https://github.com/{REPOSITORY_NAME}/.github/workflows/deploy.yml@refs/heads/main "
    "https://token.actions.githubusercontent.com"
)
WORSE_MODEL = Path(__file__).with_name("worse_model.py")


def git(repository: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    done = subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@dataclass
class World:
    """A subscription after bootstrap, a repository, and what runs its workflow."""

    double: AzureDouble
    repository: Path
    venv: Path
    act: Path
    folder: Path
    bootstrap: Bootstrap
    runs: int = 0

    def commit(self, message: str) -> str:
        """Commit what changed, or an empty change; gives the revision."""
        git(self.repository, "add", "--all")
        git(self.repository, "commit", "--quiet", "--allow-empty", "--message", message)
        return git(self.repository, "rev-parse", "HEAD")

    def push(self) -> Run:
        """Run deploy.yml for the present commit."""
        return self.pipeline().run(self.venv)

    def pipeline(self, part: Part | None = None) -> Pipeline:
        """What runs deploy.yml, or a part of it, for the present commit."""
        self.runs += 1
        folder = self.folder / f"run-{self.runs}"
        folder.mkdir()
        return Pipeline(self.act, self.repository, REPOSITORY_NAME, self.double, folder, part)

    def image_of(self, revision: str, group: dict[str, Any]) -> str:
        """Push an image of another release, made from what a group runs; its name by digest."""
        running = group["properties"]["containers"][0]["properties"]["image"]
        name = f"{running.partition('@')[0]}:{revision}"
        owner = self.double.env(self.double.owner)
        commands.run(owner, "az", "acr", "login", "--name", REGISTRY)
        with derived(running, f"ENV GIT_REVISION={revision}") as local:
            docker("tag", local, name)
            pushed = commands.run(owner, docker_client(), "push", name)
            remove_image(name)
        found = re.search(r"digest: (sha256:[0-9a-f]{64})", pushed)
        assert found, pushed
        return f"{name.rpartition(':')[0]}@{found[1]}"

    def identifier(self, environment: str) -> str:
        """The identifier of a container group."""
        return (
            f"{self.double.subscription_id}/resourceGroups/{SLUG}-{environment}"
            f"/providers/Microsoft.ContainerInstance/containerGroups/{SLUG}-{environment}"
        )

    def group(self, environment: str) -> dict[str, Any] | None:
        """A container group as it was sent, secrets included, without the marks of a rollout."""
        found = self.double.resource(self.identifier(environment))
        if found is None:
            return None
        sent: dict[str, Any] = found["hidden"]["sent"]
        tags = {k: v for k, v in sent.get("tags", {}).items() if not k.startswith("rollout-")}
        return {**sent, "tags": tags}

    def host(self, environment: str) -> str:
        """A pattern for the name under which a group answers."""
        return f"{SLUG}-{environment}.*azurecontainer.io"


@pytest.fixture(scope="module")
def world(
    running_double: AzureDouble,
    rendered_service: Path,
    service_python: Path,
    act: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    """After bootstrap, with nothing deployed yet."""
    folder = tmp_path_factory.mktemp("workflow")
    running_double.reset()
    running_double.github_user("octo-org")
    running_double.github_repository(REPOSITORY_NAME)
    repository = copied(rendered_service, folder)
    (repository / "load" / "slo.yaml").write_text(QUICK_SLO + QUALITY, encoding="utf-8")
    labelled = repository / "load" / "quality.csv"
    subprocess.run([service_python, WORSE_MODEL, "rows", labelled], check=True)
    for path in (repository / "deploy" / "environments").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        text = text.replace("secrets: []", "secrets: [API_KEYS]")
        text = re.sub(r"start_seconds: \d+", "start_seconds: 25", text)
        path.write_text(re.sub(r"p95_ms: \d+", "p95_ms: 3000", text), encoding="utf-8")
    bootstrap = Bootstrap(running_double, repository, service_python)
    ran = bootstrap()
    assert ran.code == 0, ran.err
    venv = service_python.parent.parent
    made = World(running_double, repository, venv, act, folder, bootstrap)
    made.commit("a quicker load test")
    yield made
    running_double.reset()


@pytest.fixture(scope="module")
def first(world: World) -> Run:
    """The run that brings the first release to production."""
    return world.push()


def only(job: str) -> set[str]:
    """The jobs before a job, which passed when it is the first to fail."""
    return set(JOBS[: JOBS.index(job)])


def test_a_push_reaches_production(world: World, first: Run) -> None:
    assert first.passed == set(JOBS), first.log[-8000:]
    assert "# In production" in first.page()
    assert "no comparison: production serves nothing yet: this is its first release" in first.log


def test_both_environments_run_the_one_signed_and_attested_digest(world: World, first: Run) -> None:
    images = {
        group["properties"]["containers"][0]["properties"]["image"]
        for name in ("staging", "production")
        if (group := world.group(name)) is not None
    }
    assert len(images) == 1
    (image,) = images
    assert re.search(r"@sha256:[0-9a-f]{64}$", image)
    assert [line.split()[0] for line in first.signatures] == [image]
    attested = [line.split(" ", 1) for line in first.attestations]
    assert [name for name, _ in attested] == [image, image]
    assert attested[0][1] == "provenance"
    assert attested[1][1].endswith("sbom.spdx.json")
    assert image in first.page()


def test_no_secret_is_in_the_log(first: Run) -> None:
    assert "planted-key" not in first.log


@pytest.fixture
def production(world: World, first: Run) -> Iterator[dict[str, Any]]:
    """What production runs; every failing run must leave it as it is."""
    before = world.group("production")
    assert before is not None, first.log[-8000:]
    # Only one of them compares models.
    (world.repository / "load" / "slo.yaml").write_text(QUICK_SLO, encoding="utf-8")
    yield before
    assert world.group("production") == before
    world.double.clear_faults()


def test_answers_that_differ_from_training_stop_it(
    world: World, production: dict[str, Any]
) -> None:
    staging = world.group("staging")
    world.commit("that answers differently")
    world.double.inject(
        point="host",
        where=f"POST {world.host('staging')}/predict*",
        times=2,
        detail={"pattern": r'"predictions":\[\d', "replacement": '"predictions":[7'},
    )
    run = world.push()
    assert "staging" in run.failed, run.log[-6000:]
    assert run.passed == only("staging") | {"quality"}
    assert "in training it was" in run.log
    assert "stopped at staging" in run.page()
    assert world.group("staging") == staging


def test_a_production_that_fails_is_put_back(world: World, production: dict[str, Any]) -> None:
    world.commit("that fails in production only")
    where = world.identifier("production")
    world.double.inject(point="aci.unreachable", where=where, times=25)
    run = world.push()
    assert "production" in run.failed, run.log[-6000:]
    assert run.passed == only("production")
    assert "stopped at production" in run.page()
    assert "Production does not serve the new release, but what was there before it." in run.page()


def test_a_run_that_is_cancelled_during_the_deploy_brings_back_the_release_before(
    world: World, production: dict[str, Any]
) -> None:
    """The request for the new release is on its way when the run is cancelled, and arrives.

    act kills the step that runs, where GitHub first sends it signals. Of the jobs that follow it
    runs no step, so the last one is run apart, with what `needs` has on GitHub.
    """
    staging = world.group("staging")
    assert staging is not None
    revision = world.commit("that is cancelled on its way to staging")
    image = world.image_of(revision, staging)
    signed = f"{image} {SIGNER}"
    given = {"needs.publish.outputs.image": image, "needs.publish.outputs.registry": REGISTRY}
    world.double.inject(where=f"PUT {world.identifier('staging')}*", hold=True)
    pipeline = world.pipeline(Part(("staging",), given, (signed,)))
    running = pipeline.start(world.venv)
    eventually(lambda: world.double.held() or running.poll() is not None, 600)
    assert running.poll() is None, pipeline.log()[-6000:]
    running.send_signal(signal.SIGINT)
    eventually(lambda: "keepStepRunning=false" in pipeline.log())
    (held,) = world.double.held()
    world.double.release(held["number"])
    run = pipeline.ended(running)

    assert run.failed == {"staging"}, run.log[-6000:]
    assert "Success - Main Finish or undo what was interrupted" in run.log, run.log[-6000:]
    assert world.group("staging") == staging
    outputs = dict(re.findall(r"::set-output:: (\w+)=(.*)", run.log))
    needs = {"staging": {"result": "cancelled", "outputs": {**outputs, "up": "cancelled"}}}
    page = world.pipeline(Part(("outcome",), {"toJSON(needs)": f"'{json.dumps(needs)}'"}))
    shown = page.run(world.venv).page()
    assert "# Not in production: cancelled at staging" in shown
    assert "Staging does not serve the new release, but what was there before it." in shown
    owner = {**world.bootstrap.env(world.double.owner), "API_KEYS": "planted-key"}
    again = world.bootstrap.deploy(owner, "recover", "staging")
    assert "no rollout was interrupted" in again.out, again.err


@pytest.mark.exhaustive
def test_a_model_that_is_worse_than_production_stops_it(
    world: World, production: dict[str, Any]
) -> None:
    (world.repository / "load" / "slo.yaml").write_text(QUICK_SLO + QUALITY, encoding="utf-8")
    python = world.venv / "bin" / "python"
    subprocess.run([python, WORSE_MODEL, "model", "models"], cwd=world.repository, check=True)
    world.commit("a model that is worse")
    run = world.push()
    git(world.repository, "revert", "--no-edit", "HEAD")
    assert run.failed == {"quality", "outcome"}, run.log[-6000:]
    assert run.passed == only("production") - {"quality"}
    assert re.search(r"accuracy +0\.8133 +0\.9733 +-0\.16 +-0\.2267 to -0\.1 +worse", run.log)
    assert "Worse by more than the margin of 0.01" in run.log
    assert "stopped at quality" in run.page()
    assert "Production was not touched." in run.page()
