"""The rules that every workflow of this repository keeps, yours too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.upkeep.workflow_rules import RULES, Workflow, read
from tests.conftest import ROOT


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_workflow_keeps_the_rule(rule: Callable[[Workflow], list[str]]) -> None:
    try:
        workflows = read(ROOT / ".github" / "workflows")
    except ValueError as error:
        pytest.fail(str(error), pytrace=False)
    found = [f"{each.name}: {fault}" for each in workflows for fault in rule(each)]
    if found:
        pytest.fail("\n".join(found), pytrace=False)
