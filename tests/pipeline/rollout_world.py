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
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.azure_double.client import AzureDouble, Person
from tests.service.containers import docker, docker_client

from .double_world import REGION, World

SLUG = "iris-service"
SHARED = f"{SLUG}-shared"
REGISTRY = "irisservice"
PLANTED = "planted-key-7Hq-long,planted-second-9Zx-long"
"""Two API keys; neither may turn up in a log, an argument list or a file."""
SECONDS = 240
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
variables:
  LOG_LEVEL: "info"
secrets: [API_KEYS]
rollout:
  start_seconds: {start}
  lease_seconds: 30
  burst: {{requests: 20, p95_ms: 5000}}
"""
DERIVED = {
    "other": "ENV COLOUR=green",
    "crash": 'ENTRYPOINT ["python", "-c", "import sys; sys.exit(\'no such model\')"]',
    "wrong-model": "ENV MODEL_DIGEST=sha256:" + "0" * 64,
    "unready": "ENV EXECUTION_PROVIDERS=cuda",
    "slow": 'ENTRYPOINT ["sleep", "300"]',
}


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


class RolloutWorld(World):
    """The world of one module of tests.

    Attributes:
        images: names by digest: "good" and those of DERIVED.
        service: the checkout.
    """

    def __init__(self, double: AzureDouble, service: Path, python: Path, image: str) -> None:
        self.double = double
        self.owner = double.owner
        self.service = service
        self._tokens: dict[str, str] = {}
        self._python = python
        self._stages: set[str] = set()
        double.reset()
        double.register()
        self._role = self._records_role()
        self.put(f"/resourcegroups/{SHARED}", {"location": REGION}, version="2024-11-01")
        self.registry = self._shared("Microsoft.ContainerRegistry/registries", REGISTRY)
        made = self.put(self.registry, {"location": REGION, "sku": {"name": "Basic"}})
        self.server = made["properties"]["loginServer"]
        self.identity = self._shared(
            "Microsoft.ManagedIdentity/userAssignedIdentities", f"{SLUG}-runtime"
        )
        self.put(self.identity, {"location": REGION})
        double.principal(f"{SLUG}-runtime", ("AcrPull", self.registry))
        self.images = self._push_all(image)

    def environment(self, stage: str) -> dict[str, str]:
        """A process environment in which the stage's deploy identity is logged in."""
        if stage not in self._stages:
            self.put(f"/resourcegroups/{SLUG}-{stage}", {"location": REGION}, version="2024-11-01")
            self._stages.add(stage)
        return {
            **self.double.env(self.deployer(stage)),
            "API_KEYS": PLANTED,
            "DOCKER": docker_client(),
            "PYTHONDONTWRITEBYTECODE": "1",
            "ORT_DISABLE_TELEMETRY": "1",
        }

    def deployer(self, stage: str) -> Person:
        """Who deploys to a stage, with the roles that `bootstrap` gives and no other."""
        scope = f"{self.double.subscription_id}/resourceGroups/{SLUG}-{stage}"
        return self.double.principal(
            f"deploy-{stage}",
            ("Azure Container Instances Contributor Role", scope),
            (self._role, scope),
            ("Managed Identity Operator", self.identity),
            ("Reader", self.registry),
            ("AcrPull", self.registry),
        )

    def deploy(self, stage: str, *arguments: str, **environment: str) -> Deployed:
        """Run `python -m deploy` to its end."""
        process = self.start(stage, *arguments, **environment)
        out, err = process.communicate(timeout=SECONDS)
        return Deployed(process.returncode, out, err)

    def start(self, stage: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start `python -m deploy`."""
        return subprocess.Popen(
            [self._python, "-m", "deploy", *arguments],
            cwd=self.service,
            env={**self.environment(stage), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def up(self, stage: str, image: str = "good", **environment: str) -> Deployed:
        """Run `up` with one of the images."""
        return self.deploy(stage, "up", stage, "--image", self.images[image], **environment)

    def container_group(self, stage: str) -> str:
        """The identifier of a stage's container group."""
        return (
            f"{self.double.subscription_id}/resourceGroups/{SLUG}-{stage}"
            f"/providers/Microsoft.ContainerInstance/containerGroups/{SLUG}-{stage}"
        )

    def sent(self, stage: str) -> dict[str, Any] | None:
        """The document that the group was made of, secrets included."""
        found = self.double.resource(self.container_group(stage))
        return None if found is None else found["hidden"]["sent"]

    def records(self, stage: str) -> list[dict[str, Any]]:
        """The journal of a stage, the oldest first."""
        scope = f"{self.double.subscription_id}/resourceGroups/{SLUG}-{stage}"
        found = []
        for identifier in self.double.resources(scope):
            if "/deployments/" in identifier.lower():
                body = self.double.resource(identifier)["body"]  # type: ignore[index]
                found.append(json.loads(body["properties"]["outputs"]["record"]["value"]))
        return sorted(found, key=lambda record: str(record["id"]))

    def changes(self) -> list[str]:
        """The requests to Azure so far that changed something, and "METHOD last-part"."""
        return [
            f"{each['method']} {each['path'].rpartition('/')[2]}"
            for each in self.double.requests()
            if each["method"] not in ("GET", "HEAD")
            and each["host"] == "management.azure.com"
            and each["principal"].startswith("deploy-")
        ]

    def _shared(self, type_name: str, name: str) -> str:
        return f"{self.double.subscription_id}/resourceGroups/{SHARED}/providers/{type_name}/{name}"

    def _records_role(self) -> str:
        name = f"{SLUG} rollout records"
        scope = self.double.subscription_id
        identifier = "0b7f8d7e-6f43-4a0e-9a55-6d2f5c1f2a10"
        self.put(
            f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{identifier}",
            {
                "properties": {
                    "roleName": name,
                    "type": "CustomRole",
                    "permissions": [{"actions": list(RECORDS)}],
                    "assignableScopes": [scope],
                }
            },
            version="2022-04-01",
        )
        return name

    def _push_all(self, image: str) -> dict[str, str]:
        environment = {**self.double.env(self.owner), "DOCKER_COMMAND": docker_client()}
        done = subprocess.run(
            ["az", "acr", "login", "--name", REGISTRY],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        pushed = {"good": self._push(image, "good", environment)}
        for name, line in DERIVED.items():
            with derived(image, line) as tag:
                pushed[name] = self._push(tag, name, environment)
        return pushed

    def _push(self, local: str, tag: str, environment: Mapping[str, str]) -> str:
        name = f"{self.server}/{SLUG}:{tag}"
        docker("tag", local, name)
        try:
            done = subprocess.run(
                [docker_client(), "push", name],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
        finally:
            docker("image", "rm", name, check=False)
        found = re.search(r"digest: (sha256:[0-9a-f]{64})", done.stdout)
        assert found, done.stdout
        return f"{self.server}/{SLUG}@{found.group(1)}"


@contextlib.contextmanager
def derived(image: str, line: str) -> Iterator[str]:
    """An image that differs from another one by one line."""
    tag = f"aci-ml-template-test:derived-{abs(hash(line)):x}"
    subprocess.run(
        [docker_client(), "build", "--quiet", "--tag", tag, "-"],
        input=f"FROM {image}\n{line}\n",
        text=True,
        check=True,
        capture_output=True,
    )
    try:
        yield tag
    finally:
        docker("image", "rm", "--force", tag, check=False)


def checkout(rendered: Path, folder: Path, stages: Mapping[str, Mapping[str, object]]) -> Path:
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
            "start": 60,
        }
        text = ENVIRONMENT.format(**{**values, **changes})
        (service / "deploy" / "environments" / f"{stage}.yaml").write_text(text, encoding="utf-8")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "--quiet"], cwd=service, check=True)
    subprocess.run([*git, "add", "--all"], cwd=service, check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "service"], cwd=service, check=True)
    return service
