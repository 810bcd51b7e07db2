"""`engine.deploy.diagnose`: each cause is found where it is, not where something looks alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from engine.deploy.az_error import AzError, Problem
from engine.deploy.diagnose import diagnose, explained
from engine.deploy.diagnosis import login, platform
from engine.deploy.diagnosis.evidence import Evidence, Registry
from engine.deploy.finding import Certainty
from engine.deploy.targets.aci.evidence import read_group
from engine.errors import EngineError

from tests.engine.diagnosis_cases import (
    CASES,
    CRASHING,
    INACCESSIBLE,
    JSON_ERROR,
    LIVENESS,
    NEAR_MISSES,
    NOT_YET,
    READINESS,
    SETTINGS,
    SILENT,
    TIMED_OUT,
)
from tests.engine.evidence import REGISTRY, RUNNING, arm_group, as_az_shows, ended, event, seen


@pytest.mark.parametrize(
    ("evidence", "code", "words"), [pytest.param(*case[1:], id=case[0]) for case in CASES]
)
def test_the_cause_is_named_first(evidence: Evidence, code: str, words: str) -> None:
    first, *_ = diagnose(evidence)
    assert first.code == code
    assert words in first.cause
    assert first.fix
    assert "(not named)" not in first.cause
    assert "\n" not in first.cause + first.fix


@pytest.mark.parametrize(("code", "evidence"), NEAR_MISSES)
def test_what_looks_alike_is_not_taken_for_it(code: str, evidence: Evidence) -> None:
    assert code not in {found.code for found in diagnose(evidence)}


def test_every_cause_is_proven_both_ways() -> None:
    proven = {code for _, _, code, _ in CASES}
    assert proven == {code for code, _ in NEAR_MISSES}
    tables = {row.code for row in (*platform.TABLE, *login.TABLE)}
    assert tables <= proven


def test_a_healthy_service_has_no_findings() -> None:
    assert diagnose(seen()) == ()
    starting = arm_group(events=[READINESS, event("Pulled", "Pulled image", bad=False)])
    assert diagnose(seen(group=starting)) == ()


def test_no_evidence_gives_no_findings() -> None:
    assert diagnose(Evidence()) == ()


def test_a_group_reads_the_same_from_az_and_from_azure() -> None:
    group = arm_group(**CRASHING, previous=ended(137, "OOMKilled"), events=[LIVENESS])
    read = read_group(group)
    assert read_group(as_az_shows(group)) == read
    (container,) = read.containers
    assert container.memory_gb == 1.5
    assert container.names == ("API_KEYS", "PORT")
    assert container.variables == {"PORT": "8000"}
    assert container.ends[0].finished == datetime(2026, 11, 21, 10, 27, 9, tzinfo=UTC)


@pytest.mark.parametrize("group", [{}, {"properties": None}, {"name": "x", "properties": {}}])
def test_an_answer_with_little_in_it_is_read(group: dict[str, object]) -> None:
    assert read_group(group).containers == ()


def test_a_symptom_stays_where_it_is_all_that_is_known() -> None:
    alone = diagnose(seen(TIMED_OUT, INACCESSIBLE, registry=None))
    assert [found.code for found in alone] == ["image-refused"]
    with_cause = diagnose(seen(TIMED_OUT, registry=replace(REGISTRY, has_image=False)))
    assert [found.code for found in with_cause] == ["image-absent"]


def test_sure_findings_stand_before_guesses() -> None:
    found = diagnose(
        seen(
            registry=Registry("iris", roles=frozenset()),
            group=arm_group(**CRASHING, previous=ended(137, "OOMKilled")),
        )
    )
    assert [each.certainty for each in found] == sorted(each.certainty for each in found)
    assert found[0].certainty is Certainty.CERTAIN


def test_a_failure_is_told_in_the_words_of_its_cause() -> None:
    error = EngineError("container group x: the container keeps ending", "read its log")
    evidence = seen(logs=SETTINGS, group=arm_group(**CRASHING, previous=ended(2)))
    told = explained(error, evidence)
    assert told.cause.startswith("the service refuses its settings: WORKERS='two'")
    assert "(seen as: container group x: the container keeps ending)" in told.cause
    assert "staging.yaml" in told.fix


def test_what_a_failure_says_already_is_not_said_twice() -> None:
    error = EngineError("it gave up: not ready: no model package in /app/models", "read its log")
    evidence = seen(logs=JSON_ERROR, group=arm_group(events=[READINESS]), readiness=SILENT)
    cause = explained(error, evidence).cause
    assert cause == "the service runs and refuses to serve: no model package in /app/models"


def test_a_failure_without_a_sure_cause_stays_as_it_is() -> None:
    error = AzError(Problem("Strange", 400, "nobody has seen this"), "az container create")
    assert explained(error, seen("nobody has seen this", code="Strange")) is error
    assert explained(error, seen(group=arm_group(current=RUNNING), readiness=NOT_YET)) is error
