"""Records of rollouts: what another version wrote is neither lost nor overlooked."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from engine.deploy.az import Az
from engine.deploy.az_error import AzError, Problem
from engine.deploy.commands import prune, status
from engine.deploy.commands.context import Context
from engine.deploy.journal import KEPT, SCHEMA, ArmJournal, NewerRecord, Record
from engine.deploy.say import Say
from engine.errors import EngineError

from tests.engine.arm_memory import environment

GROUP = "/subscriptions/s/resourcegroups/g/providers/Microsoft.Resources/deployments"
ONE = Record(
    id="20261120000000-abcdef",
    service="demo",
    started="2026-11-20T00:00:00Z",
    by="me",
    owner="run",
    process=None,
    phase=KEPT,
    previous=None,
    next={"image": "one"},
)
NAME = f"demo-{ONE.id}"


class Deployments:
    """The deployments of a resource group; a list shows their outputs, or leaves them out."""

    def __init__(self, *, outputs_in_list: bool = True) -> None:
        self.by_name: dict[str, dict[str, Any]] = {}
        self._outputs_in_list = outputs_in_list

    def change(self, *arguments: str, stdin: str) -> None:
        template = json.loads(stdin)["properties"]["template"]
        self.put(_name(arguments), template["outputs"])

    def json(self, *arguments: str) -> Any:
        return self.find(*arguments)

    def find(self, *arguments: str) -> Any:
        name = _name(arguments)
        if name != "deployments":
            return self.by_name.get(name)
        return {"value": [self._listed(each) for each in self.by_name.values()]}

    def put(self, name: str, outputs: Any, state: str = "Succeeded") -> None:
        shown = {"provisioningState": state, **({} if outputs is None else {"outputs": outputs})}
        self.by_name[name] = {"name": name, "properties": shown}

    def rewrite(self, name: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the record in a deployment, as another version would have written it."""
        output = self.by_name[name]["properties"]["outputs"]["record"]
        content = json.loads(output["value"])
        change(content)
        output["value"] = json.dumps(content)

    def _listed(self, deployment: dict[str, Any]) -> dict[str, Any]:
        if self._outputs_in_list:
            return deployment
        shown = {k: v for k, v in deployment["properties"].items() if k != "outputs"}
        return {**deployment, "properties": shown}


def _name(arguments: tuple[str, ...]) -> str:
    url = arguments[arguments.index("--url") + 1]
    return url.partition("?")[0].rpartition("/")[2]


def journal_of(azure: Deployments, service: str = "demo", kind: str = "aci") -> ArmJournal:
    return ArmJournal(cast("Az", azure), "s", environment(kind, name=service, resource_group="g"))


@pytest.fixture
def azure() -> Deployments:
    """One record, and a deployment of somebody else."""
    azure = Deployments()
    journal_of(azure).write(ONE)
    azure.put("Microsoft.Web-Portal-1", {"record": {"value": "not ours"}})
    return azure


def test_a_record_carries_its_schema(azure: Deployments) -> None:
    content = azure.by_name[NAME]["properties"]["outputs"]["record"]["value"]
    assert json.loads(content)["schema"] == SCHEMA


def test_keys_of_another_version_are_kept_when_the_record_is_written_again(
    azure: Deployments,
) -> None:
    azure.rewrite(NAME, lambda content: content.update(verified={"p95": 3}))
    journal = journal_of(azure)
    (found,) = journal.records()
    assert found == replace(ONE, more={"verified": {"p95": 3}})
    journal.write(found.taken_by("other", None, "somebody"))
    azure.rewrite(NAME, lambda content: content["verified"]["p95"])  # a KeyError if it is lost


def test_a_record_without_a_schema_is_one_of_the_first_version(azure: Deployments) -> None:
    azure.rewrite(NAME, lambda content: content.pop("schema"))
    assert journal_of(azure).all_records() == [ONE]


@pytest.mark.parametrize("schema", [SCHEMA + 1, 99, "2", None, 1.5])
def test_a_newer_schema_is_refused_by_whatever_reads(azure: Deployments, schema: Any) -> None:
    azure.rewrite(NAME, lambda content: content.update(schema=schema, owner={"all": "new"}))
    journal = journal_of(azure)
    for read in (journal.records, journal.all_records, lambda: journal.read(ONE.id)):
        with pytest.raises(NewerRecord, match=f"{ONE.id} has schema {schema}, "):
            read()


def test_signs_of_life_leave_the_record_alone(azure: Deployments) -> None:
    journal, before = journal_of(azure), copy.deepcopy(azure.by_name[NAME])
    assert journal.last_sign(ONE.id) == ""
    journal.sign(ONE.id, "now")
    assert journal.last_sign(ONE.id) == "now"
    assert journal.last_sign("20261120000000-fedcba") == ""
    assert azure.by_name[NAME] == before
    assert [record.id for record in journal.all_records()] == [ONE.id]


def test_a_newer_record_of_another_service_is_no_obstacle() -> None:
    """Names of 64 characters and more are cut, so two services may share the pattern."""
    azure, long = Deployments(), "a-name-that-is-cut-because-it-is-too-long-for"
    journal_of(azure, f"{long}-production").write(replace(ONE, service=f"{long}-production"))
    (name,) = azure.by_name
    azure.rewrite(name, lambda content: content.update(schema=SCHEMA + 1))
    assert journal_of(azure, f"{long}-staging").all_records() == []
    with pytest.raises(NewerRecord):
        journal_of(azure, f"{long}-production").records()


@pytest.mark.parametrize(
    ("outputs", "state"),
    [
        (None, "Running"),
        (None, "Failed"),
        ({}, "Succeeded"),
        ({"record": {"value": "{"}}, "Succeeded"),
        ({"record": {"value": "[]"}}, "Succeeded"),
        ({"record": {"value": '{"schema": 1, "id": "x"}'}}, "Succeeded"),
        ({"other": {"value": "1"}}, "Succeeded"),
    ],
)
def test_prune_removes_nothing_while_a_record_cannot_be_read(
    azure: Deployments, outputs: Any, state: str
) -> None:
    azure.put("demo-20261121000000-00ff00", outputs, state)
    journal = journal_of(azure)
    assert journal.records() == [ONE], "a deploy goes on without it"
    context = SimpleNamespace(journal=journal, target=SimpleNamespace(read=lambda: None))
    with pytest.raises(EngineError, match="the record demo-20261121000000-00ff00 cannot be read"):
        prune._needed_by(cast("Context", context))


def test_names_that_only_resemble_a_record_are_not_one(azure: Deployments) -> None:
    for name in ("demo-1", "other-20261121000000-00ff00", "demo-x-20261121000000-00ff00"):
        azure.put(name, None, "Failed")
    assert journal_of(azure).all_records() == [ONE]


def test_the_case_of_a_name_is_azures(azure: Deployments) -> None:
    azure.by_name[NAME]["name"] = NAME.upper()
    assert journal_of(azure).all_records() == [ONE]


def test_outputs_that_a_list_leaves_out_are_read_one_by_one() -> None:
    azure = Deployments(outputs_in_list=False)
    journal_of(azure).write(ONE)
    assert journal_of(azure).all_records() == [ONE]


def test_the_status_says_that_a_newer_version_is_needed(
    azure: Deployments, capsys: pytest.CaptureFixture[str]
) -> None:
    azure.rewrite(NAME, lambda content: content.update(schema=SCHEMA + 1))
    assert _status_of(journal_of(azure)) == "nothing deployed"
    assert "warning: staging: the record of the rollout" in capsys.readouterr().err


def test_the_status_is_shown_to_a_login_that_may_not_read_the_records(
    azure: Deployments, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: str) -> None:
        raise AzError(Problem("AuthorizationFailed", 403, "no"), "az rest")

    monkeypatch.setattr(azure, "find", refuse)
    assert _status_of(journal_of(azure)) == "nothing deployed"
    assert "warning" not in capsys.readouterr().err


def _status_of(journal: ArmJournal) -> str:
    context = SimpleNamespace(journal=journal, say=Say(), target=SimpleNamespace(read=lambda: None))
    row, _ = status._look("staging", cast("Context", context))
    return row[3]


def test_records_of_another_kind_of_place_are_kept_apart_and_name_their_environment(
    azure: Deployments,
) -> None:
    moved = replace(ONE, id="20261121000000-abcdef")
    journal_of(azure, kind="containerapps").write(moved)
    for kind, here, there in (("aci", ONE, moved), ("containerapps", moved, ONE)):
        journal = journal_of(azure, kind=kind)
        assert journal.records() == journal.all_records() == [here]
        (found,) = journal.elsewhere()
        assert found == there
        where = environment(found.target, name="demo", resource_group="g")
        assert type(where).model_validate(found.environment, strict=False) == where


def test_a_record_of_before_moves_belongs_to_the_place_that_asks(azure: Deployments) -> None:
    azure.rewrite(NAME, lambda content: [content.pop(key) for key in ("target", "environment")])
    for kind in ("aci", "containerapps"):
        assert journal_of(azure, kind=kind).records() == [ONE]
        assert journal_of(azure, kind=kind).elsewhere() == []
