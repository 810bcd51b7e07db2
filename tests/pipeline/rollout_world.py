"""A service, its registry and its environments in the Azure double, for the tests of the rollout.

The service is rendered, committed and built once; every test deploys to an environment of its own.
What a release does wrong, an image derived from the good one does: it reports the same release.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.azure_double.client import AzureDouble, Person
from tests.service.containers import build_image, docker, docker_client, remove_image

from .commands import Azure, run

REGION = "westeurope"
SLUG = "iris-service"
SHARED = f"{SLUG}-shared"
REGISTRY = "irisservice"
PLANTED = "planted-key-7Hq-long,planted-second-9Zx-long"
"""Two API keys; neither may turn up in a log, an argument list or a file."""
SECONDS = 240
RECOVER = "@sha256:" + "0" * 64
"""The digest that the driver takes for `recover`."""
DRIVER = Path(__file__).with_name("rollout_driver.py")
IMAGE = f"aci-ml-template-test:rollout-{os.getpid()}"
RECORDS = (
    "Microsoft.Resources/deployments/read",
    "Microsoft.Resources/deployments/write",
    "Microsoft.Resources/deployments/delete",
    "Microsoft.Resources/deployments/operations/read",
    "Microsoft.Resources/deployments/operationStatuses/read",
    "Microsoft.Resources/subscriptions/resourceGroups/read",
)
ENVIRONMENT = """\
target: aci
region: {region}
resource_group: "{slug}-{stage}"
name: "{slug}-{stage}"
cpu: {cpu}
memory_gb: {memory}
copies: {copies}
variables:
  LOG_LEVEL: "info"
secrets: [API_KEYS]
telemetry: false
container_logs: false
rollout:
  start_seconds: {start}
  lease_seconds: 30
  burst: {{requests: 20, p95_ms: 5000}}
{more}
"""
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
MODEL = "/service/models/iris"
DERIVED = {
    "other": "ENV COLOUR=green",
    "third": "ENV COLOUR=blue",
    "crash": 'ENTRYPOINT ["sh", "-c", "echo error: no such model >&2; exit 1"]',
    "wrong-model": f"USER 0\nRUN echo '# other' >> {MODEL}/model.yaml\nUSER 10001",
    "wrong-revision": f"ENV GIT_REVISION={'0' * 40}",
    "unready": f"USER 0\nRUN printf x >> {MODEL}/golden.npz\nUSER 10001",
    "slow": 'ENTRYPOINT ["sleep", "300"]',
    "hungry": 'ENTRYPOINT ["python", "-c", "x = [b\\"x\\" * (1 << 26) for _ in range(100)]"]',
}
"""What is added to the good image. All but two make a release that must not be kept."""


Stages = Mapping[str, Mapping[str, object]]


@dataclass
class Deployed:
    """A command of the service's `deploy` that has ended."""

    code: int
    out: str
    err: str

    @property
    def address(self) -> str:
        """The last line of stdout."""
        return self.out.strip().splitlines()[-1]


def ended(process: subprocess.Popen[str], seconds: float = SECONDS) -> Deployed:
    """Wait for the end of a started command."""
    out, err = process.communicate(timeout=seconds)
    return Deployed(process.returncode, out, err)


class Images(dict[str, str]):
    """The images of a world, by digest: "good" and those of DERIVED, pushed when first named."""

    def __init__(self, world: RolloutWorld, good: str) -> None:
        super().__init__()
        self._world = world
        self._good = good

    def __missing__(self, name: str) -> str:
        if name == "good":
            self[name] = self._world.push(self._good, name)
        else:
            with derived(self._good, DERIVED[name]) as local:
                self[name] = self._world.push(local, name)
        return self[name]


class RolloutWorld:
    """The world of one module of tests.

    Attributes:
        images: what can be deployed.
        service: the checkout.
        owner: the settings of a person who may do everything.
    """

    def __init__(self, double: AzureDouble, service: Path, python: Path, image: str) -> None:
        self.double = double
        self.service = service
        self._python = python
        self._stages: dict[str, Person] = {}
        self._standing: dict[str, tuple[str, Deployed]] = {}
        double.reset()
        double.register()
        self.owner = {**double.env(double.owner), "DOCKER_COMMAND": docker_client()}
        self._az = az = Azure(double, self.owner)
        az.group(SHARED)
        shared = ("--resource-group", SHARED)
        made = az("acr", "create", *shared, "--name", REGISTRY, "--sku", "Basic")
        self.registry, self.server = made["id"], made["loginServer"]
        self.identity = az.identity(SHARED, f"{SLUG}-runtime")["id"]
        double.principal(f"{SLUG}-runtime", ("AcrPull", self.registry))
        self._role = self._role_for("rollout records", RECORDS)
        run(self.owner, "az", "acr", "login", "--name", REGISTRY)
        self.images = Images(self, image)

    def environment(self, stage: str) -> dict[str, str]:
        """A process environment in which the stage's deploy identity is logged in."""
        if stage not in self._stages:
            self._stages[stage] = self._deployer(stage, self._az.group(f"{SLUG}-{stage}"))
        return {
            **self.double.env(self._stages[stage]),
            "API_KEYS": PLANTED,
            "DOCKER": docker_client(),
            "ORT_DISABLE_TELEMETRY": "1",
        }

    def _deployer(self, stage: str, group: str) -> Person:
        """Who deploys to a stage, with the roles that `bootstrap` gives and no other."""
        return self.double.principal(
            f"deploy-{stage}",
            ("Azure Container Instances Contributor Role", group),
            (self._role, group),
            ("Managed Identity Operator", self.identity),
            ("Reader", self.registry),
            ("AcrPull", self.registry),
        )

    def deploy(
        self,
        stage: str,
        *arguments: str,
        settings: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Deployed:
        """Run `python -m engine.deploy` to its end."""
        return ended(self.start(stage, *arguments, settings=settings, folder=folder))

    def start(
        self,
        stage: str,
        *arguments: str,
        settings: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> subprocess.Popen[str]:
        """Start `python -m engine.deploy`, in the checkout or in another folder."""
        return self._start(stage, ("-m", "engine.deploy", *arguments), settings or {}, folder)

    def replay(self, stage: str, python: Path, file: Path) -> Deployed:
        """Ask what a stage runs for captured requests, with the packages of development."""
        command = ("-m", "engine.comparing.replay", "--env", stage, str(file))
        return ended(self._start(stage, command, {}, None, python))

    def recover(self, stage: str) -> subprocess.Popen[str]:
        """Start `recover --undo`, with the times of the driver."""
        return self._drive(stage, f"{self.server}/{SLUG}{RECOVER}", None)

    def roll_out(self, stage: str, image: str, folder: Path | None = None) -> subprocess.Popen[str]:
        """Start `up` where it begins to change something: half of its time goes before that."""
        return self._drive(stage, self.images[image], folder)

    def _drive(self, stage: str, image: str, folder: Path | None) -> subprocess.Popen[str]:
        path = str(folder or self.service)
        places = json.dumps(self._places(stage))
        settings = {"PLACES": places, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
        return self._start(stage, (str(DRIVER), stage, image), settings, folder)

    def _start(
        self,
        stage: str,
        arguments: tuple[str, ...],
        settings: Mapping[str, str],
        folder: Path | None,
        python: Path | None = None,
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [python or self._python, *arguments],
            cwd=folder or self.service,
            env={**self.environment(stage), **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def step(self, stage: str, script: str, settings: Mapping[str, str]) -> subprocess.Popen[str]:
        """Start the script of a workflow's step as GitHub's runner does, in a session of its own.

        The name of the workflow's environment is replaced by the stage.
        """
        # A file: of a script given by -c, bash itself would become the last command.
        file = self.service.parent / "step.sh"
        line = re.sub(r"\b(up|recover) (staging|production)\b", rf"\1 {stage}", script)
        file.write_text(line.replace(".venv/bin/python", str(self._python)), encoding="utf-8")
        return subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(file)],
            cwd=self.service,
            env={**self.environment(stage), **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def up(
        self,
        stage: str,
        image: str,
        *arguments: str,
        settings: Mapping[str, str] | None = None,
    ) -> Deployed:
        """Run `up` with one of the images."""
        command = ("up", stage, "--image", self.images[image], *arguments)
        return self.deploy(stage, *command, settings=settings)

    def stand(self, stage: str, image: str = "good") -> Deployed:
        """See to it that one of the images serves, kept; what the `up` that did it printed."""
        known = self._standing.get(stage)
        if known is None or known[0] != image or not self.serves(stage, image):
            self._standing[stage] = known = (image, succeeded(self.up(stage, image)))
        return known[1]

    def larger(self, folder: Path) -> Path:
        """A checkout of a later commit, in which every stage has another size; its image is
        "larger". Azure cannot change that in place.
        """
        return self.later(folder, "larger", "cpu: 1", "cpu: 2")

    def later(self, folder: Path, name: str, before: str, after: str) -> Path:
        """A checkout of a later commit, in which the environment files say ``after`` in place of
        ``before``; its image is called ``name``.
        """
        service = folder / self.service.name
        shutil.copytree(self.service, service)
        for file in (service / "deploy" / "environments").glob("*.yaml"):
            file.write_text(file.read_text(encoding="utf-8").replace(before, after))
        subprocess.run([*GIT, "commit", "--quiet", "-am", name], cwd=service, check=True)
        head = ("git", "rev-parse", "HEAD")
        done = subprocess.run(head, cwd=service, check=True, capture_output=True, text=True)
        with derived(IMAGE, f"ENV GIT_REVISION={done.stdout.strip()}") as local:
            self.images[name] = self.push(local, name)
        return service

    def vanish(self, stage: str) -> None:
        """Nothing was ever deployed to the stage."""
        for identifier in self.double.resources(self._scope(stage)):
            if re.search(r"/(deployments|containerGroups|containerApps)/[^/]+$", identifier):
                self.double.remove(identifier)

    def containers(self) -> int:
        """How many containers run for all groups together."""
        label = f"label=azure-double.run={self.double.run_id}"
        return len(docker("ps", "--quiet", "--filter", label).split())

    def group(self, name: str) -> str:
        """The identifier of a stage's container group."""
        return (
            f"{self.double.subscription_id}/resourceGroups/{SLUG}-{name}"
            f"/providers/Microsoft.ContainerInstance/containerGroups/{SLUG}-{name}"
        )

    def sent(self, stage: str) -> dict[str, Any] | None:
        """The document that the group was made of, secrets included; not whose rollout asked."""
        found = self.double.resource(self.group(stage))
        if found is None:
            return None
        sent = found["hidden"]["sent"]
        tags = {name: tag for name, tag in sent["tags"].items() if not name.startswith("rollout-")}
        return {**sent, "tags": tags}

    def tags(self, stage: str) -> dict[str, str]:
        """The tags of the group."""
        found = self.double.resource(self.group(stage))
        assert found is not None
        tags: dict[str, str] = found["hidden"]["sent"]["tags"]
        return tags

    def serves(self, stage: str, image: str) -> bool:
        """The image is what the group was made of, kept, and every rollout has come to its end."""
        sent = self.sent(stage)
        if sent is None:
            return False
        container = sent["properties"]["containers"][0]["properties"]
        tags = self.tags(stage)
        ends = {record["id"]: record["phase"] for record in self.records(stage)}
        shown = (tags["rollout-state"], ends[tags["rollout-id"]])
        kept = shown in (("verifying", "kept"), ("restoring", "restored"))
        return kept and container["image"] == self.images[image] and self.at_rest(stage)

    def at_rest(self, stage: str) -> bool:
        """Every rollout has come to its end."""
        return not any(record["phase"] == "started" for record in self.records(stage))

    def records(self, stage: str) -> list[dict[str, Any]]:
        """The journal of a stage, the oldest first."""
        found = []
        for identifier in self.double.resources(self._scope(stage)):
            if "/microsoft.resources/deployments/" in identifier.lower():
                body = self.double.resource(identifier)["body"]  # type: ignore[index]
                if record := body["properties"]["outputs"].get("record"):
                    found.append(json.loads(record["value"]))
        return sorted(found, key=lambda record: str(record["id"]))

    def changes(self) -> list[str]:
        """The requests to Azure so far that changed something, and "METHOD last-part"."""
        return [
            f"{each['method']} {each['path'].rpartition('/')[2]}"
            for each in self.double.requests()
            if each["method"] not in ("GET", "HEAD")
            and not each["path"].endswith("/listCustomHostNameAnalysis")
            and each["host"] == "management.azure.com"
            and each["principal"].startswith("deploy-")
        ]

    def push(self, local: str, tag: str) -> str:
        """Push an image of this machine's engine; gives its name by digest."""
        name = f"{self.server}/{SLUG}:{tag}"
        docker("tag", local, name)
        try:
            pushed = run(self.owner, docker_client(), "push", name)
        finally:
            remove_image(name)
        found = re.search(r"digest: (sha256:[0-9a-f]{64})", pushed)
        assert found, pushed
        return f"{self.server}/{SLUG}@{found.group(1)}"

    def get(self, url: str) -> Any:
        """A JSON document, as from the internet; an error's body likewise."""
        proxy = urllib.request.ProxyHandler({"http": self.double.network()["http_proxy"]})
        try:
            with urllib.request.build_opener(proxy).open(url, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def _places(self, stage: str) -> dict[str, str]:
        """What preflight finds for a stage."""
        return {
            "subscription": self.double.subscription,
            "registry_server": self.server,
            "pull_identity": self.identity,
        }

    def _scope(self, stage: str) -> str:
        return f"{self.double.subscription_id}/resourceGroups/{SLUG}-{stage}"

    def beside(self, stage: str) -> int:
        """How many containers run for a stage beside the one that serves."""
        return len(self.docker_ids(stage)) - 1

    def docker_ids(self, stage: str) -> list[str]:
        """Docker's ids of what runs for a stage."""
        inside = self.double.ask("aci.group", {"id": self.group(stage)})
        return [each["docker"] for each in inside]

    def _role_for(self, what: str, actions: tuple[str, ...]) -> str:
        """A role of the project's own, as `bootstrap` makes it; its name."""
        role = {
            "Name": f"{SLUG} {what}",
            "Description": what,
            "Actions": actions,
            "AssignableScopes": [self.double.subscription_id],
        }
        self._az("role", "definition", "create", "--role-definition", json.dumps(role))
        return str(role["Name"])


@contextlib.contextmanager
def derived(image: str, lines: str) -> Iterator[str]:
    """An image made of another one by a few lines."""
    tag = f"aci-ml-template-test:derived-{abs(hash(lines)):x}"
    subprocess.run(
        [docker_client(), "build", "--quiet", "--tag", tag, "-"],
        input=f"FROM {image}\n{lines}\n",
        text=True,
        check=True,
        capture_output=True,
    )
    try:
        yield tag
    finally:
        remove_image(tag)


def rollout_world(
    double: AzureDouble,
    rendered: Path,
    python: Path,
    folder: Path,
    stages: Stages,
    kind: type[RolloutWorld] = RolloutWorld,
) -> Iterator[RolloutWorld]:
    """For a fixture: a commit with these environments, its image, and the world around it."""
    service = checkout(rendered, folder, stages)
    built = build_image(service, IMAGE, "cpu")
    assert built.returncode == 0, built.stdout[-3000:]
    try:
        yield kind(double, service, python, IMAGE)
    finally:
        remove_image(IMAGE)
        double.reset()


def checkout(rendered: Path, folder: Path, stages: Stages) -> Path:
    """A commit of the rendered service with these environments."""
    service = folder / rendered.name
    shutil.copytree(rendered, service, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    for old in (service / "deploy" / "environments").glob("*.yaml"):
        old.unlink()
    for stage, changes in stages.items():
        values = {
            "region": REGION,
            "slug": SLUG,
            "stage": stage,
            "cpu": 1,
            "memory": 1,
            "copies": 1,
            "start": 60,
            "more": "",
        }
        text = ENVIRONMENT.format(**{**values, **changes})
        (service / "deploy" / "environments" / f"{stage}.yaml").write_text(text, encoding="utf-8")
    subprocess.run([*GIT, "init", "--quiet"], cwd=service, check=True)
    subprocess.run([*GIT, "add", "--all"], cwd=service, check=True)
    subprocess.run([*GIT, "commit", "--quiet", "-m", "service"], cwd=service, check=True)
    return service


def succeeded(done: Deployed) -> Deployed:
    assert done.code == 0, done.err
    return done


def failed(done: Deployed, *words: str, code: int = 1) -> Deployed:
    """It failed with one line for the cause and one for the fix, and no stack."""
    assert done.code == code, done.err + done.out
    lines = done.err.strip().splitlines()
    cause = next(line for line in lines if line.startswith("error: "))
    assert lines[lines.index(cause) + 1].startswith("fix: "), done.err
    assert "Traceback" not in done.err
    for word in words:
        assert re.search(word, cause), done.err
    return done


def answers(world: RolloutWorld, done: Deployed) -> None:
    """What `up` printed is an address at which the service is ready."""
    assert world.get(f"{done.address}/readyz")["ready"] is True


def eventually(question: Callable[[], object], seconds: float = 90) -> None:
    """Ask until the answer is true."""
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
