"""The questions of tests/live find out how the double was set: so they would find out Azure's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.azure_double.client import AzureDouble
from tests.live.azure import Azure
from tests.live.questions import QUESTIONS, Asked, ask

from .double_world import GROUP, World

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]

SET: dict[str, dict[str, Any]] = {
    "as published": {},
    "otherwise": {
        "patch": "merged",
        "stale_seconds": 6,
        "delete_while_creating": "refused",
        "takes_shown": True,
    },
    "restarting": {"patch": "restarts", "unknown": False, "delegated": False},
    "refused": {"patch": "refused"},
}


@pytest.fixture(scope="module")
def world(azure_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One double for all tests here."""
    with AzureDouble(tmp_path_factory.mktemp("double")) as double:
        yield World(double)


@pytest.mark.parametrize("habits", SET.values(), ids=SET.keys())
def test_the_answers_are_what_the_double_was_set_to(
    world: World, habits: dict[str, Any], tmp_path: Path
) -> None:
    before = world.double.ask("aci.habits")
    world.double.ask("aci.habits", habits)
    try:
        azure = Azure(world.double.env(world.owner), world.double.subscription, GROUP)
        found = ask(Asked(azure, world.document()), 600, print)
    finally:
        world.double.ask("aci.habits", before)
    assert set(found["answers"]) == {each.__name__ for each in QUESTIONS}, found["evidence"]
    wanted = before | habits
    seconds = found["habits"].pop("stale_seconds")
    assert abs(seconds - wanted["stale_seconds"]) < 5
    assert found["habits"] == {name: wanted[name] for name in found["habits"]}
    assert found["answers"]["put_restarts"] is True
    assert found["answers"]["deployments_known_at_once"] == 12
