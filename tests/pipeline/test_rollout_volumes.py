"""A file on a share, read by the service in a container group; a replaced key is found.

The same on Container Apps is in test_containerapps.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure_double.client import AzureDouble, Person
from tests.service.conftest import docker_engine

from .commands import run
from .rollout_world import IMAGE, SLUG, RolloutWorld, derived, ended, rollout_world, succeeded
from .shares import ROLE, Share

__all__ = ["docker_engine"]
pytestmark = pytest.mark.slow
STAGE, SHARE, WORDS = "mounts", "models", "words of the share"
VOLUMES = [{"share": SHARE, "path": "/models"}]
READS = """\
ENTRYPOINT ["sh", "-c", "cat /models/words && ! touch /models/new && \\
exec env --block-signal=TERM,INT python -m engine.serving"]
"""
SECONDS = 200


class MountingWorld(RolloutWorld):
    """A world whose stage has a share."""

    share: Share

    def _deployer(self, stage: str, group: str) -> Person:
        self.share = Share(self._az, self.double, f"{SLUG}-{stage}", SHARE)
        role = {
            "Name": f"{SLUG} certificates",
            "Description": "mounts shares",
            "Actions": ROLE,
            "AssignableScopes": [self.double.subscription_id],
        }
        self._az("role", "definition", "create", "--role-definition", json.dumps(role))
        return self.double.principal(
            f"deploy-{stage}",
            ("Azure Container Instances Contributor Role", group),
            (self._role, group),
            (str(role["Name"]), self.share.id),
            ("Managed Identity Operator", self.identity),
            ("Reader", self.registry),
            ("AcrPull", self.registry),
        )


@pytest.fixture(scope="module")
def mounting(
    docker_engine: None,
    running_double: AzureDouble,
    rendered_service: Path,
    deploy_python: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[MountingWorld]:
    """A world with an image that starts only where it can read the share, and not write it."""
    stages = {STAGE: {"start": 90, "more": f"volumes: {json.dumps(VOLUMES)}"}}
    folder = tmp_path_factory.mktemp("volumes")
    made = rollout_world(
        running_double, rendered_service, deploy_python, folder, stages, MountingWorld
    )
    for world in made:
        assert isinstance(world, MountingWorld)
        with derived(IMAGE, READS) as local:
            world.images["reads"] = world.push(local, "reads")
        yield world


@pytest.mark.exhaustive
def test_a_group_reads_its_share_and_a_replaced_key_is_found_and_deployed(
    mounting: MountingWorld,
) -> None:
    mounting.environment(STAGE)
    mounting.share.write("words", f"{WORDS}\n")
    first = succeeded(ended(mounting.roll_out(STAGE, "reads"), SECONDS))
    assert mounting.get(f"{first.address}/readyz")["ready"] is True
    assert WORDS in succeeded(mounting.deploy(STAGE, "logs", STAGE)).out

    used = mounting.share.keys
    mounting.share.replace_keys()
    name = f"{SLUG}-{STAGE}"
    run(mounting.owner, "az", "container", "restart", "--resource-group", name, "--name", name)
    found = mounting.deploy(STAGE, "doctor", STAGE)
    assert "Azure cannot mount a file share of this environment (certain)" in found.out
    done = succeeded(ended(mounting.roll_out(STAGE, "reads"), SECONDS))
    assert mounting.get(f"{done.address}/readyz")["ready"] is True
    said = "".join(each.out + each.err for each in (first, found, done))
    assert not any(key in said for key in [*used, *mounting.share.keys])
