"""`python -m engine.deploy` with the target Azure Machine Learning, and the service's own image.

The requests that verify a release go through the front of the endpoint: with its key, by a header
to the deployment that nobody else reaches, and every answer but 200 comes as 424.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
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
    GIT,
    PLANTED,
    REGION,
    SLUG,
    Deployed,
    RolloutWorld,
    checkout,
    failed,
    succeeded,
)

pytestmark = pytest.mark.slow
IMAGE = f"aci-ml-template-test:azureml-{os.getpid()}"
MACHINE_LEARNING = "Microsoft.MachineLearningServices/workspaces"
ACTIONS = (
    f"{MACHINE_LEARNING}/read",
    f"{MACHINE_LEARNING}/environments/read",
    f"{MACHINE_LEARNING}/environments/write",
    f"{MACHINE_LEARNING}/environments/versions/read",
    f"{MACHINE_LEARNING}/environments/versions/write",
    f"{MACHINE_LEARNING}/onlineEndpoints/*",
)
ENVIRONMENT = """\
target: azureml
region: {region}
resource_group: "{slug}-{stage}"
name: "{slug}-{stage}"
variables: {{LOG_LEVEL: "info"}}
secrets: [API_KEYS]
telemetry: false
request_seconds: 1
rollout:
  start_seconds: 60
  lease_seconds: 30
  burst: {{requests: 20, p95_ms: 5000}}
"""
STAGES = ("staging", "bad")
Json = dict[str, Any]


class EndpointWorld(RolloutWorld):
    """A world whose stages have a workspace each."""

    def endpoint(self, stage: str) -> Json | None:
        """The endpoint of a stage as the double keeps it."""
        return self.double.resource(f"{self._workspace(stage)}/onlineEndpoints/{SLUG}-{stage}")

    def deployments(self, stage: str) -> list[str]:
        """The names of a stage's deployments."""
        below = f"{self._workspace(stage)}/onlineEndpoints/{SLUG}-{stage}"
        found = [each for each in self.double.resources(below) if "/deployments/" in each]
        return [each.rpartition("/")[2] for each in found]

    def traffic(self, stage: str) -> dict[str, int]:
        """Who is reached."""
        endpoint = self.endpoint(stage)
        assert endpoint is not None
        shares: dict[str, int] = endpoint["body"]["properties"]["traffic"]
        return shares

    def serves(self, stage: str, image: str) -> bool:
        """A kept deployment has all traffic, and every rollout has come to its end."""
        endpoint = self.endpoint(stage)
        digest = self.images[image].partition("@")[2]
        tags = endpoint["body"]["tags"] if endpoint else {}
        kept = (tags.get("rollout-state"), tags.get("image-digest")) == ("kept", digest)
        return kept and self.at_rest(stage)

    def ask(self, done: Deployed, path: str, key: str, body: bytes | None = None) -> Any:
        """A request from outside: status and JSON."""
        network = self.double.network()
        trust = ssl.create_default_context(cafile=network["SSL_CERT_FILE"])
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({"https": network["https_proxy"]}),
            urllib.request.HTTPSHandler(context=trust),
        )
        headers = {"Authorization": f"Bearer {key}", "X-API-Key": PLANTED.split(",")[0]}
        headers["Content-Type"] = "application/json"
        request = urllib.request.Request(done.address + path, data=body, headers=headers)
        try:
            with opener.open(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers)

    def _workspace(self, stage: str) -> str:
        group = f"{self.double.subscription_id}/resourceGroups/{SLUG}-{stage}"
        return f"{group}/providers/{MACHINE_LEARNING}/{SLUG}-{stage}"

    def _deployer(self, stage: str, group: str) -> Person:
        az = Azure(self.double, self.owner)
        name = f"{SLUG}-{stage} endpoints"
        role = {
            "Name": name,
            "Description": "runs endpoints",
            "Actions": ACTIONS,
            "AssignableScopes": [group],
        }
        az("role", "definition", "create", "--role-definition", json.dumps(role))
        whole = {"location": REGION, "properties": {"friendlyName": stage}}
        az(
            *("resource", "create", "--resource-group", f"{SLUG}-{stage}"),
            *("--resource-type", MACHINE_LEARNING, "--name", f"{SLUG}-{stage}"),
            *("--api-version", "2025-12-01", "--is-full-object"),
            *("--properties", json.dumps(whole)),
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
    deploy_python: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[EndpointWorld]:
    """Registry with images, identities with roles; every test has an environment of its own."""
    service = checkout(rendered_service, tmp_path_factory.mktemp("azureml"), {})
    for stage in STAGES:
        text = ENVIRONMENT.format(region=REGION, slug=SLUG, stage=stage)
        (service / "deploy" / "environments" / f"{stage}.yaml").write_text(text, encoding="utf-8")
    subprocess.run([*GIT, "add", "--all"], cwd=service, check=True)
    subprocess.run([*GIT, "commit", "--quiet", "-m", "endpoints"], cwd=service, check=True)
    built = build_image(service, IMAGE, "cpu")
    assert built.returncode == 0, built.stdout[-3000:]
    try:
        with AzureDouble(tmp_path_factory.mktemp("double")) as double:
            yield EndpointWorld(double, service, deploy_python, IMAGE)
    finally:
        remove_image(IMAGE)


def test_a_life_behind_an_endpoint(world: EndpointWorld) -> None:
    first = succeeded(world.up("staging", "good"))
    assert first.address == f"https://{SLUG}-staging.{REGION}.inference.ml.azure.com"
    key = f"key-of-{SLUG}-staging"
    rows = json.dumps({"data": [[5.1, 3.5, 1.4, 0.2]]}).encode()
    status, answer = world.ask(first, "/predict", key, rows)
    assert (status, len(answer.get("predictions", answer))) == (200, 1), answer
    assert world.ask(first, "/readyz", key)[1]["ready"] is True
    assert world.ask(first, "/readyz", "another key")[0] == 401
    status, headers = world.ask(first, "/predict", key, b"{}")
    assert (status, headers["ms-azureml-model-error-statuscode"]) == (424, "422")
    before = world.changes()

    succeeded(world.up("staging", "good"))
    assert world.changes() == before, "the same release again changes nothing"
    served = world.traffic("staging")
    second = succeeded(world.up("staging", "other"))
    assert world.traffic("staging") != served
    assert world.deployments("staging") == list(world.traffic("staging")), "the other is retired"
    succeeded(world.deploy("staging", "rollback", "staging"))
    verified = succeeded(world.deploy("staging", "verify", "staging"))

    status = succeeded(world.deploy("staging", "status", "staging"))
    assert first.address in status.out
    assert " yes " in status.out, "the figures are asked with the key"
    logs = succeeded(world.deploy("staging", "logs", "staging"))
    assert "ready" in logs.out
    succeeded(world.deploy("staging", "stop", "staging"))
    assert world.deployments("staging") == []
    again = succeeded(world.deploy("staging", "start", "staging"))
    assert world.ask(again, "/readyz", key)[1]["ready"] is True
    for done in (first, second, verified, status, logs, again):
        hidden = [*PLANTED.split(","), key]
        assert not [each for each in hidden if each in done.out + done.err]


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("image", "cause"),
    [("crash", "no such model|state Failed"), ("wrong-revision", "runs revision 000000000000")],
)
def test_a_bad_release_never_serves(world: EndpointWorld, image: str, cause: str) -> None:
    good = world.stand("bad")
    before = world.traffic("bad")
    failed(world.up("bad", image), cause, "previous release serves again")
    assert world.traffic("bad") == before
    assert world.deployments("bad") == list(before)
    assert world.ask(good, "/readyz", f"key-of-{SLUG}-bad")[1]["ready"] is True
