"""HTTPS on Container Instances: real Caddy, certificates of Pebble, the real `az` and Docker."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure_double.client import AzureDouble, Person
from tests.service.containers import remove_image

from .authority import Authority, edge_image
from .commands import run
from .rollout_world import SLUG, RolloutWorld, Stages, ended, rollout_world, succeeded

pytestmark = pytest.mark.slow
STAGE, DOMAIN = "secure", "api.example.org"
SHARE = "certificates"
EDGE = "aci-ml-template-test:edge"
HTTPS = """\
https:
  email: ops@example.org
  domains: [{domain}]
  authority: {authority}
"""
SECONDS = 400


class SecureWorld(RolloutWorld):
    """A world with a storage account for certificates in each environment."""

    authority: Authority
    edge = ""

    def environment(self, stage: str) -> dict[str, str]:
        """Likewise; its clients trust Pebble's certificates too."""
        found = super().environment(stage)
        both = self.authority.roots.with_name("both.pem")
        texts = (Path(found["SSL_CERT_FILE"]).read_bytes(), self.authority.roots.read_bytes())
        both.write_bytes(b"\n".join(texts))
        return {**found, "SSL_CERT_FILE": str(both)}

    def _deployer(self, stage: str, group: str) -> Person:
        self.account = _account(self.double.subscription, f"{SLUG}-{stage}")
        place = ("--resource-group", f"{SLUG}-{stage}")
        made = self._az(
            *("storage", "account", "create", *place, "--name", self.account),
            *("--location", "westeurope", "--sku", "Standard_LRS", "--kind", "StorageV2"),
            *("--min-tls-version", "TLS1_2", "--https-only", "true"),
            *("--allow-blob-public-access", "false"),
        )
        share = (*place, "--storage-account", self.account, "--name", SHARE)
        self._az("storage", "share-rm", "create", *share, "--quota", "1")
        role = self._certificates_role()
        return self.double.principal(
            f"deploy-{stage}",
            ("Azure Container Instances Contributor Role", group),
            (self._role, group),
            (role, made["id"]),
            ("Managed Identity Operator", self.identity),
            ("Reader", self.registry),
            ("AcrPull", self.registry),
        )

    def _certificates_role(self) -> str:
        role = {
            "Name": f"{SLUG} certificates",
            "Description": "mounts the share",
            "Actions": [
                "Microsoft.Storage/storageAccounts/read",
                "Microsoft.Storage/storageAccounts/listKeys/action",
            ],
            "AssignableScopes": [self.double.subscription_id],
        }
        self._az("role", "definition", "create", "--role-definition", json.dumps(role))
        return str(role["Name"])

    def _places(self, stage: str) -> dict[str, str]:
        if not self.edge:
            name = f"{self.server}/{SLUG}-edge:1"
            run(self.owner, self.owner["DOCKER_COMMAND"], "tag", EDGE, name)
            pushed = run(self.owner, self.owner["DOCKER_COMMAND"], "push", name)
            digest = next(word for word in pushed.split() if word.startswith("sha256:"))
            self.edge = f"{name.removesuffix(':1')}@{digest}"
            remove_image(name)
        return {**super()._places(stage), "edge": self.edge}

    def ask(self, url: str, *options: str) -> subprocess.CompletedProcess[str]:
        """curl, as from the internet."""
        proxy = self.double.network()["http_proxy"]
        trust = ("--proxy", proxy, "--cacert", str(self.authority.roots), "--max-time", "30")
        command = ["curl", "--silent", "--show-error", *trust, *options, url]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def _account(subscription: str, group: str) -> str:
    # The name follows from the two, and nobody else's storage account may have it.
    import hashlib

    digest = hashlib.sha256(f"{subscription}/{group}".lower().encode()).hexdigest()
    return f"edge{digest[:20]}"


@pytest.fixture(scope="module")
def world(
    running_double: AzureDouble,
    rendered_service: Path,
    deploy_python: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SecureWorld]:
    """Registry with images, and one environment with HTTPS."""
    folder = tmp_path_factory.mktemp("https")
    with Authority(running_double, folder) as authority:
        edge_image(rendered_service, authority, folder, EDGE)
        more = HTTPS.format(domain=DOMAIN, authority=authority.directory)
        stages: Stages = {STAGE: {"start": 120, "more": more}}
        try:
            for each in rollout_world(
                *(running_double, rendered_service, deploy_python, folder, stages), SecureWorld
            ):
                assert isinstance(each, SecureWorld)
                each.authority = authority
                yield each
        finally:
            remove_image(EDGE)


def test_a_group_answers_over_https_under_its_hashed_name(world: SecureWorld) -> None:
    done = succeeded(ended(world.roll_out(STAGE, "good"), SECONDS))
    assert done.address.startswith("https://")
    assert done.address.endswith(".azurecontainer.io")
    answered = world.ask(f"{done.address}/readyz", "--http2", "--write-out", " %{http_version}")
    assert '"ready":true' in answered.stdout.replace(" ", "") + answered.stderr
    assert answered.stdout.endswith(" 2")
