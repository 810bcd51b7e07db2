"""`python -m engine.deploy` with the target Container Apps, and the service's own image."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.azure_double.client import AzureDouble, Person
from tests.service.containers import build_image, remove_image

from .commands import Azure
from .rollout_world import (
    PLANTED,
    REGION,
    SLUG,
    Deployed,
    RolloutWorld,
    answers,
    ended,
    eventually,
    failed,
    succeeded,
)
from .walking import walked
from .ways import Way, Ways, deaths, stage_of

pytestmark = pytest.mark.slow
IMAGE = "aci-ml-template-test:apps-rollout"
BEGIN, START, KEEP = "PUT record started", "PATCH app verifying", "PATCH app kept"
END, KEPT = "POST app deactivate", "PUT record kept"
WAYS = {
    "update": Way(("good", "other", "third"), "", (BEGIN, END, START, KEEP, KEPT), beside=1),
    "bad update": Way(
        ("good",),
        "crash",
        (BEGIN, START, END, "PATCH app restoring", KEEP, "PUT record restored"),
        code=1,
    ),
}
STAGES = {
    "staging": 60,
    "moving": 60,
    "bad": 25,
    "first": 25,
    **{stage_of(name): 25 for name in WAYS},
}
ENVIRONMENT = """\
target: containerapps
region: {region}
resource_group: "{slug}-{stage}"
name: "{slug}-{stage}"
gpu: none
cpu: 1
memory_gb: 2
replicas: {{min: 1, max: 1}}
variables: {{LOG_LEVEL: "info", TRUSTED_FRONT_DOOR_ID: "0a1b2c3d-0000-4000-8000-00000000000f"}}
secrets: [API_KEYS]
telemetry: false
rollout:
  start_seconds: {start}
  lease_seconds: 30
  burst: {{requests: 20, p95_ms: 5000}}
"""
MOVING = "moving"
NAME = "api.example.org"
MORE = {
    MOVING: "# on aci: container_logs: false\n",
    "staging": f"https: {{domains: [{NAME}]}}\n",
}
ACTIONS = (
    "Microsoft.App/containerApps/*",
    "Microsoft.App/managedEnvironments/read",
    "Microsoft.App/managedEnvironments/managedCertificates/*",
)
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

    def serves(self, stage: str, image: str) -> bool:
        """A kept revision of the image has all traffic, and every rollout has come to its end."""
        stored = self.stored(stage)
        if stored is None or stored["body"]["tags"]["rollout-state"] != "kept":
            return False
        revision = self.double.resource(f"{self.app(stage)}/revisions/{self.serving(stage)}")
        assert revision is not None
        container = revision["body"]["properties"]["template"]["containers"][0]
        return container["image"] == self.images[image] and self.at_rest(stage)

    def sent(self, stage: str) -> Json | None:
        """What a release that is undone must leave as it was: tags, configuration with secrets,
        and who has the traffic.
        """
        stored = self.stored(stage)
        if stored is None:
            return None
        return {
            "tags": stored["body"]["tags"],
            "configuration": _configuration(stored),
            "serving": self.serving(stage),
        }

    def beside(self, stage: str) -> int:
        """How many revisions run beside the one that serves."""
        return len([each for each in self.revisions(stage) if each["active"]]) - 1

    def serving(self, stage: str) -> str:
        """The name of the revision that has all traffic."""
        stored = self.stored(stage)
        assert stored is not None
        traffic = stored["body"]["properties"]["configuration"]["ingress"]["traffic"]
        assert [each["weight"] for each in traffic] == [100]
        return str(traffic[0]["revisionName"])

    def get(self, url: str) -> Any:
        """A JSON document, as from the internet; over TLS where the address says it."""
        if url.startswith("http:"):
            return super().get(url)
        network = self.double.network()
        trust = ssl.create_default_context(cafile=network["SSL_CERT_FILE"])
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({"https": network["https_proxy"]}),
            urllib.request.HTTPSHandler(context=trust),
        )
        with opener.open(url, timeout=10) as answer:
            return json.load(answer)

    def _places(self, stage: str) -> dict[str, str]:
        environment = self._in(stage, f"managedEnvironments/{SLUG}-{stage}-apps")
        return {**super()._places(stage), "apps_environment": environment}

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
        groups = [("Azure Container Instances Contributor Role", group)] if stage == MOVING else []
        return self.double.principal(
            f"deploy-{stage}",
            *groups,
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
    deploy_python: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[AppsWorld]:
    """Registry with images, identities with roles; every test has an environment of its own."""
    service = _checkout(rendered_service, tmp_path_factory.mktemp("apps"))
    built = build_image(service, IMAGE, "cpu")
    assert built.returncode == 0, built.stdout[-3000:]
    try:
        with AzureDouble(tmp_path_factory.mktemp("double")) as double:
            yield AppsWorld(double, service, deploy_python, IMAGE)
    finally:
        remove_image(IMAGE)


def test_a_life_in_staging(world: AppsWorld) -> None:
    first = succeeded(world.up("staging", "good"))
    assert first.address.startswith(f"https://{SLUG}-staging.")
    assert world.get(f"{first.address}/readyz")["ready"] is True
    host = first.address.removeprefix("https://")
    assert f"{NAME} does not resolve, and this environment is {host}" in first.err
    before = world.changes()

    world.double.ask("app.habits", {"word": "Degraded"})
    again = succeeded(world.up("staging", "good"))
    assert again.address == first.address
    assert world.changes() == before, "the same release again changes nothing"
    served = world.serving("staging")

    # The own name's records are made, so the next deploy binds it.
    plan = succeeded(world.deploy("staging", "plan", "staging"))
    (proof,) = re.findall(rf'asuid\.{NAME}\. TXT "(\w+)"', plan.out)
    assert f"{NAME}. CNAME {host}." in plan.out
    records = {NAME: {"CNAME": [host]}, f"asuid.{NAME}": {"TXT": [proof]}}
    world.double.ask("dns.elsewhere", records)
    world.double.ask("app.habits", {"word": "Processing", "stale_seconds": 5})
    succeeded(world.up("staging", "other"))
    world.double.ask("app.habits", {"word": "", "stale_seconds": 0})
    assert world.serving("staging") != served
    succeeded(world.deploy("staging", "rollback", "staging"))
    assert world.serving("staging") == served, "the revision that still ran takes over"
    assert len(world.revisions("staging")) == 2
    assert world.get(f"https://{NAME}/readyz")["ready"] is True

    status = succeeded(world.deploy("staging", "status", "staging"))
    assert first.address in status.out
    # The service answers its Front Door and the commands; its figures are among what they ask.
    assert re.search(r"staging +yes +[\d.]+ ", status.out), status.out
    with pytest.raises(urllib.error.HTTPError, match="403"):
        world.get(f"{first.address}/metrics")
    logs = succeeded(world.deploy("staging", "logs", "staging"))
    assert "ready" in logs.out
    succeeded(world.deploy("staging", "stop", "staging"))
    succeeded(world.deploy("staging", "start", "staging"))
    assert world.get(f"{first.address}/readyz")["ready"] is True
    for done in (first, again, status, logs):
        assert not [key for key in PLANTED.split(",") if key in done.out + done.err]


@pytest.mark.parametrize(
    ("image", "cause"),
    [
        ("crash", "no such model"),
        ("unready", "not ready|gave up|golden"),
        ("wrong-revision", "runs revision 000000000000"),
    ],
)
def test_a_bad_release_never_serves(world: AppsWorld, image: str, cause: str) -> None:
    good = world.stand("bad")
    before = world.sent("bad")
    failed(world.up("bad", image), cause, "previous release serves again")
    assert world.sent("bad") == before
    answers(world, good)
    assert world.beside("bad") == 0, "nothing of the bad release runs on"


def test_a_first_release_that_fails_leaves_no_app(world: AppsWorld) -> None:
    failed(world.up("first", "crash"), "no such model", "nothing bills")
    assert world.stored("first") is None


class Asking(threading.Thread):
    """A client that asks one address again and again, each time over a new connection."""

    def __init__(self, world: AppsWorld, address: str) -> None:
        super().__init__(daemon=True)
        self.count = 0
        self.wrong: list[str] = []
        self._world = world
        self._address = address
        self._over = threading.Event()

    def run(self) -> None:
        """See ``Thread``."""
        while not self._over.wait(0.05):
            self.count += 1
            try:
                assert self._world.get(self._address)["ready"] is True
            except (OSError, AssertionError) as error:
                self.wrong.append(repr(error))

    def end(self) -> None:
        """Stop asking."""
        self._over.set()
        self.join()


def test_a_service_moves_to_another_place_and_back(world: AppsWorld, tmp_path: Path) -> None:
    folder = tmp_path / "service"
    shutil.copytree(world.service, folder)
    file = folder / "deploy" / "environments" / f"{MOVING}.yaml"
    written = file.read_text()

    def move(*arguments: str) -> Deployed:
        return world.deploy(MOVING, "move", MOVING, *arguments, folder=folder)

    app = succeeded(world.up(MOVING, "good")).address
    served = world.serving(MOVING)
    client = Asking(world, f"{app}/readyz")
    client.start()

    # What Azure refuses is as it was, in the file too.
    refusal = {"status": 409, "code": "ContainerGroupQuotaReached"}
    world.double.inject(where=f"PUT */containergroups/{SLUG}-{MOVING}*", times=9, **refusal)
    refused = failed(move("--to", "aci"), "quota .* is used up", "nothing serves here")
    assert f"container app {SLUG}-{MOVING} at {app} is as before the move" in refused.err
    world.double.clear_faults()
    assert file.read_text() == written, refused.err

    # Killed when the group was asked for: the app serves, and `recover` says so.
    process = world.start(MOVING, "move", MOVING, "--to", "aci", folder=folder)
    eventually(lambda: world.double.resource(world.group(MOVING)) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    process.kill()
    ended(process)
    assert "target: aci" in file.read_text()
    recovered = succeeded(world.deploy(MOVING, "recover", MOVING, "--undo", folder=folder))
    assert f"nothing is deployed; container app {SLUG}-{MOVING} at {app} is as" in recovered.out
    assert world.serving(MOVING) == served

    group = succeeded(move("--to", "aci")).address
    assert world.get(f"{group}/readyz")["ready"] is True
    assert "# on containerapps: replicas: {min: 1, max: 1}" in file.read_text()
    shown = succeeded(world.deploy(MOVING, "status", MOVING, folder=folder)).out
    rows = [line.split()[0:2] for line in shown.splitlines() if line.startswith(MOVING)]
    assert rows[:2] == [[MOVING, rows[0][1]], [MOVING, "(containerapps)"]]
    assert app in shown and group in shown
    assert "verifying" not in shown, "both are kept"

    # The way back: the app serves still, so nothing of it changes; then the group goes.
    succeeded(move("--to", "containerapps"))
    assert file.read_text() == written
    assert world.serving(MOVING) == served
    failed(move("--finish"), "would be removed")
    assert world.get(f"{group}/readyz")["ready"] is True
    succeeded(move("--finish", "--yes"))
    assert world.double.resource(world.group(MOVING)) is None
    assert "nothing is left" in succeeded(move("--finish", "--yes")).err
    client.end()
    assert client.wrong == [], client.count
    assert client.count > 20


@pytest.mark.exhaustive
@pytest.mark.parametrize("step", [BEGIN, "PUT group verifying", KEPT])
def test_a_move_that_is_killed_goes_on_where_the_next_one_begins(
    world: AppsWorld, tmp_path: Path, step: str
) -> None:
    folder = tmp_path / "service"
    shutil.copytree(world.service, folder)

    def command(name: str, *arguments: str) -> Deployed:
        return succeeded(world.deploy(MOVING, name, MOVING, *arguments, folder=folder))

    app = world.stand(MOVING).address
    served = world.serving(MOVING)
    process = world.start(MOVING, "move", MOVING, "--to", "aci", folder=folder)
    steps = walked(world, MOVING, process, {step: process.kill})
    ended(process)
    assert steps[-1] == step, steps
    said = command("recover", "--undo").out
    assert f"container app {SLUG}-{MOVING} at {app} is as before the move" in said
    assert world.serving(MOVING) == served
    assert world.get(f"{app}/readyz")["ready"] is True
    group = command("move", "--to", "aci").address
    assert world.get(f"{group}/readyz")["ready"] is True
    assert world.serves(MOVING, "good")
    command("move", "--to", "containerapps")
    command("move", "--finish", "--yes")
    assert world.double.resource(world.group(MOVING)) is None


@pytest.fixture(scope="module")
def ways(world: AppsWorld) -> Ways:
    """To be killed on."""
    return Ways(world, WAYS, None)


@pytest.mark.parametrize("name", WAYS)
def test_these_are_all_changes(ways: Ways, name: str) -> None:
    ways.show_all_changes(name)


@pytest.mark.parametrize(("name", "step"), [each for each in deaths(WAYS) if " app " in each[1]])
def test_the_next_run_finishes_what_a_killed_one_left(ways: Ways, name: str, step: str) -> None:
    """Deaths at a record are the same on Container Instances."""
    ways.survive_death(name, step)


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
        text += MORE.get(stage, "")
        (service / "deploy" / "environments" / f"{stage}.yaml").write_text(text, encoding="utf-8")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "--quiet"], cwd=service, check=True)
    subprocess.run([*git, "add", "--all"], cwd=service, check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "service"], cwd=service, check=True)
    return service
