"""`python -m deploy` with the target Container Apps, and the service's own image."""

from __future__ import annotations

import json
import shutil
import signal
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.azure_double.client import AzureDouble, Person
from tests.service.containers import build_image, docker

from .commands import Azure
from .rollout_world import PLANTED, REGION, SLUG, Deployed, RolloutWorld

pytestmark = pytest.mark.slow
IMAGE = "aci-ml-template-test:apps-rollout"
STAGES = {"staging": 60, "bad": 25, "first": 25, "killed": 25}
ENVIRONMENT = """\
target: containerapps
region: {region}
resource_group: "{slug}-{stage}"
name: "{slug}-{stage}"
gpu: none
cpu: 1
memory_gb: 2
replicas: {{min: 1, max: 1}}
variables: {{LOG_LEVEL: "info"}}
secrets: [API_KEYS]
rollout:
  start_seconds: {start}
  lease_seconds: 30
  burst: {{requests: 20, p95_ms: 5000}}
"""
ACTIONS = ("Microsoft.App/containerApps/*", "Microsoft.App/managedEnvironments/read")
JOIN = "Microsoft.App/managedEnvironments/join/action"

Json = dict[str, Any]


class AppsWorld(RolloutWorld):
    """A world whose stages have a Container Apps environment each."""

    def app(self, stage: str) -> str:
        """The identifier of a stage's app."""
        return self._in(stage, f"containerApps/{SLUG}-{stage}")

    def stored(self, stage: str) -> Json | None:
        """The app as the double keeps it, secrets included."""
        return self.double.resource(self.app(stage))

    def revisions(self, stage: str) -> list[Json]:
        """All revisions of a stage's app, the oldest first."""
        below = [each for each in self.double.resources(self.app(stage)) if "/revisions/" in each]
        found = [self.double.resource(each) for each in below]
        return [each["body"]["properties"] for each in found if each]

    def serving(self, stage: str) -> str:
        """The name of the revision that has all traffic."""
        stored = self.stored(stage)
        assert stored is not None
        traffic = stored["body"]["properties"]["configuration"]["ingress"]["traffic"]
        assert [each["weight"] for each in traffic] == [100]
        return str(traffic[0]["revisionName"])

    def get(self, url: str) -> Any:
        """A JSON document, as from the internet, over TLS."""
        network = self.double.network()
        trust = ssl.create_default_context(cafile=network["SSL_CERT_FILE"])
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({"https": network["https_proxy"]}),
            urllib.request.HTTPSHandler(context=trust),
        )
        with opener.open(url, timeout=10) as answer:
            return json.load(answer)

    def _in(self, stage: str, path: str) -> str:
        group = f"{self.double.subscription_id}/resourceGroups/{SLUG}-{stage}"
        return f"{group}/providers/Microsoft.App/{path}"

    def _deployer(self, stage: str, group: str) -> Person:
        az = Azure(self.double, self.owner)
        name = f"{SLUG}-{stage} apps"
        role = {
            "Name": name,
            "Description": "runs apps",
            "Actions": [*ACTIONS, JOIN],
            "AssignableScopes": [group],
        }
        az("role", "definition", "create", "--role-definition", json.dumps(role))
        az(
            *("containerapp", "env", "create", "--name", f"{SLUG}-{stage}-apps"),
            *("--resource-group", f"{SLUG}-{stage}", "--location", REGION),
            *("--logs-destination", "none"),
        )
        return self.double.principal(
            f"deploy-{stage}",
            (name, group),
            (self._role, group),
            ("Managed Identity Operator", self.identity),
            ("Reader", self.registry),
            ("AcrPull", self.registry),
        )


@pytest.fixture(scope="module")
def world(
    azure_tools: None,
    rendered_service: Path,
    service_python: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[AppsWorld]:
    """Registry with images, identities with roles; every test has an environment of its own."""
    service = _checkout(rendered_service, tmp_path_factory.mktemp("apps"))
    built = build_image(service, IMAGE, "cpu")
    assert built.returncode == 0, built.stdout[-3000:]
    try:
        with AzureDouble(tmp_path_factory.mktemp("double")) as double:
            yield AppsWorld(double, service, service_python, IMAGE)
    finally:
        docker("image", "rm", "--force", IMAGE, check=False)


def test_a_life_in_staging(world: AppsWorld) -> None:
    first = _succeeded(world.up("staging", "good"))
    assert first.address.startswith(f"https://{SLUG}-staging.")
    assert world.get(f"{first.address}/readyz")["ready"] is True
    before = world.changes()

    again = _succeeded(world.up("staging", "good"))
    assert again.address == first.address
    assert world.changes() == before, "the same release again changes nothing"
    served = world.serving("staging")

    _succeeded(world.up("staging", "other"))
    assert world.serving("staging") != served
    _succeeded(world.deploy("staging", "rollback", "staging"))
    assert world.serving("staging") == served, "the revision that still ran takes over"
    assert len(world.revisions("staging")) == 2

    status = _succeeded(world.deploy("staging", "status", "staging"))
    assert first.address in status.out
    logs = _succeeded(world.deploy("staging", "logs", "staging"))
    assert "ready" in logs.out
    _succeeded(world.deploy("staging", "stop", "staging"))
    _succeeded(world.deploy("staging", "start", "staging"))
    assert world.get(f"{first.address}/readyz")["ready"] is True
    for done in (first, again, status, logs):
        assert not [key for key in PLANTED.split(",") if key in done.out + done.err]


@pytest.mark.parametrize(
    ("image", "cause"),
    [("crash", "no such model"), ("wrong-revision", "runs revision 000000000000")],
)
def test_a_bad_release_never_serves(world: AppsWorld, image: str, cause: str) -> None:
    good = _succeeded(world.up("bad", "good"))
    serving, before = world.serving("bad"), world.stored("bad")
    failed = world.up("bad", image)
    assert failed.code == 1, failed.err
    assert world.serving("bad") == serving
    assert world.get(f"{good.address}/readyz")["ready"] is True
    after = world.stored("bad")
    assert before is not None and after is not None
    assert after["body"]["tags"] == before["body"]["tags"]
    assert _configuration(after) == _configuration(before)
    active = [each for each in world.revisions("bad") if each["active"]]
    assert len(active) == 1, "nothing of the bad release runs on"
    lines = failed.err.strip().splitlines()
    assert any(line.startswith("error: ") for line in lines), failed.err
    assert any(line.startswith("fix: ") for line in lines), failed.err
    _mentions(failed, cause)


def test_a_first_release_that_fails_leaves_no_app(world: AppsWorld) -> None:
    failed = world.up("first", "crash")
    assert failed.code == 1, failed.err
    assert world.stored("first") is None
    _mentions(failed, "no such model")


def test_a_killed_deploy_is_finished_by_the_next(world: AppsWorld) -> None:
    good = _succeeded(world.up("killed", "good"))
    served = world.serving("killed")
    process = world.start("killed", "up", "killed", "--image", world.images["slow"])
    deadline = time.monotonic() + 60
    while len(world.revisions("killed")) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert world.get(f"{good.address}/readyz")["ready"] is True
    _succeeded(world.up("killed", "good"))
    assert world.serving("killed") == served
    assert [each["active"] for each in world.revisions("killed")] == [True, False]


def _succeeded(done: Deployed) -> Deployed:
    assert done.code == 0, done.err
    return done


def _mentions(done: Deployed, words: str) -> None:
    """The one line that names the cause has these words."""
    cause = next(line for line in done.err.splitlines() if line.startswith("error: "))
    assert words in cause, done.err


def _configuration(stored: Json) -> Json:
    """What holds for the whole app: shown, and with the secrets that the serving revision uses."""
    template = stored["hidden"]["sent"]["properties"]["template"]
    newest = f"-{template['revisionSuffix']}"
    configuration: Json = json.loads(json.dumps(stored["hidden"]["sent"]["properties"]))
    secrets = configuration["configuration"]["secrets"]
    kept = [each for each in secrets if not each["name"].endswith(newest)] or secrets
    return {**configuration["configuration"], "secrets": kept}


def _checkout(rendered: Path, folder: Path) -> Path:
    """A commit of the rendered service whose environments are on Container Apps."""
    service = folder / rendered.name
    shutil.copytree(rendered, service, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    for old in (service / "deploy" / "environments").glob("*.yaml"):
        old.unlink()
    for stage, start in STAGES.items():
        text = ENVIRONMENT.format(region=REGION, slug=SLUG, stage=stage, start=start)
        (service / "deploy" / "environments" / f"{stage}.yaml").write_text(text, encoding="utf-8")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "--quiet"], cwd=service, check=True)
    subprocess.run([*git, "add", "--all"], cwd=service, check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "service"], cwd=service, check=True)
    return service
