"""SIGKILL at each kind of change that a rollout sends to Azure: the next run recovers by itself.

The changes are those of deploys that nobody disturbed. Between two of them a death leaves the same
in Azure as right after the first; at each, the request was sent and arrives after the death.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure_double.client import AzureDouble

from .rollout_world import rollout_world
from .ways import Way, Ways, deaths, stage_of

pytestmark = pytest.mark.slow
BEGIN, CREATE = "PUT record started", "PUT group verifying"
DELETE, RESTORE = "DELETE group", "PUT group restoring"
KEPT, RESTORED, FAILED = "PUT record kept", "PUT record restored", "PUT record failed"

WAYS = {
    "update": Way(("good", "other"), "", (BEGIN, CREATE, KEPT)),
    "first": Way((), "good", (BEGIN, CREATE, KEPT)),
    "replace": Way(("good", "larger"), "", (BEGIN, DELETE, CREATE, KEPT)),
    "bad first": Way((), "crash", (BEGIN, CREATE, DELETE, FAILED), code=1),
    # A crash loop keeps Azure busy with the group, and what is busy cannot be changed in place.
    "bad update": Way(("good",), "crash", (BEGIN, CREATE, DELETE, RESTORE, RESTORED), code=1),
    "bad replace": Way(
        ("good",),
        "larger-crash",
        (BEGIN, DELETE, CREATE, f"{DELETE}, again", RESTORE, RESTORED),
        code=1,
    ),
}


@pytest.fixture(scope="module")
def ways(
    running_double: AzureDouble,
    rendered_service: Path,
    deploy_python: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ways]:
    """Registry with images, identities with roles, and two checkouts."""
    folder = tmp_path_factory.mktemp("rollout")
    stages = {stage_of(name): {"start": 60} for name in WAYS}
    for world in rollout_world(running_double, rendered_service, deploy_python, folder, stages):
        before = running_double.ask("aci.pace")
        # Azure goes on trying for half an hour, which is longer than a rollout that gives up. What
        # ends at once must never count as running, however late a busy Docker notices its end.
        running_double.ask("aci.pace", {"provisioning": 300.0, "settle": 3.0})
        yield Ways(world, WAYS, world.larger(folder / "larger"))
        running_double.ask("aci.pace", before)


@pytest.mark.parametrize("name", WAYS)
def test_these_are_all_changes(ways: Ways, name: str) -> None:
    ways.show_all_changes(name)


@pytest.mark.parametrize(("name", "step"), deaths(WAYS))
def test_the_next_run_finishes_what_a_killed_one_left(ways: Ways, name: str, step: str) -> None:
    ways.survive_death(name, step)
