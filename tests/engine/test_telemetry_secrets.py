"""The values that a deploy reads from Azure: once, never shown, and missed aloud."""

from __future__ import annotations

from typing import Any

import pytest
from engine.deploy import az as az_module
from engine.deploy.az import AzError
from engine.deploy.az_error import Problem
from engine.deploy.config.environment import CONNECTION, Environment
from engine.deploy.config.project import Project
from engine.deploy.say import Say
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.base import LOGS_KEY, STORAGE_KEY
from engine.deploy.telemetry import TelemetrySecrets, absent, looked_up, workspace_id

PROJECT = Project(
    name="iris-service",
    title="Iris",
    owner="octo-org",
    accelerator="cpu",
    registry="irisservice",
    region="westeurope",
    shared_resource_group="iris-service-shared",
)
KEY = "planted-workspace-key"
INSTRUMENTATION = "planted-0000-4000-instrumentation"
STRING = f"InstrumentationKey={INSTRUMENTATION};IngestionEndpoint=https://example.org/"


class Az(az_module.Az):
    """Answers the three questions that are asked here."""

    def __init__(self, answers: dict[str, Any] | None = None, refusal: int | None = None) -> None:
        super().__init__(Say())
        self.asked: list[str] = []
        self._refusal = refusal
        self._answers = {
            "resource": {"properties": {"ConnectionString": STRING}},
            "get-shared-keys": {"primarySharedKey": KEY, "secondarySharedKey": "x"},
            "show": {"customerId": "workspace-guid"},
        } | (answers or {})

    def find(self, *arguments: str, limit: float = 0) -> Any:
        word = next(each for each in self._answers if each in arguments)
        self.asked.append(word)
        if self._refusal is not None:
            raise AzError(Problem("Refused", self._refusal, "no"), "az")
        return self._answers[word]


def telemetry(az: Az) -> TelemetrySecrets:
    return TelemetrySecrets(az, PROJECT)


def environment(**fields: object) -> Environment:
    return GroupEnvironment.model_validate(
        {
            "stage": "staging",
            "target": "aci",
            "region": "westeurope",
            "resource_group": "g",
            "name": "iris-staging",
            **fields,
        }
    )


def test_each_value_is_read_once_and_only_when_it_is_wanted() -> None:
    az = Az()
    look = telemetry(az)
    assert look.values([]) == {}
    assert az.asked == []
    for _ in range(2):
        assert look.values({CONNECTION, LOGS_KEY}) == {CONNECTION: STRING, LOGS_KEY: KEY}
    assert sorted(az.asked) == ["get-shared-keys", "resource"]


def test_what_was_read_is_never_shown_and_neither_is_the_key_inside_of_it() -> None:
    az = Az()
    telemetry(az).values({CONNECTION, LOGS_KEY})
    for secret in (STRING, INSTRUMENTATION, KEY):
        assert az.say.redact(f"a {secret} b") == "a *** b"


@pytest.mark.parametrize(
    "az",
    [
        Az(refusal=403),
        Az({"resource": None, "get-shared-keys": None, "show": None}),
        Az({"resource": {"properties": {}}, "get-shared-keys": {}, "show": {}}),
    ],
    ids=["forbidden", "not there", "empty"],
)
def test_what_cannot_be_read_is_missed_and_the_way_out_is_told(az: Az) -> None:
    known = telemetry(az).values({CONNECTION, LOGS_KEY})
    assert known == {}
    assert workspace_id(az, PROJECT) is None
    insights, logs = absent(PROJECT, {CONNECTION, LOGS_KEY}, known)
    assert "iris-service-insights" in insights.cause
    assert "telemetry: false" in insights.fix
    assert "iris-service-logs" in logs.cause
    assert "container_logs: false" in logs.fix
    assert "bootstrap" in insights.fix


def test_a_fault_of_azure_is_not_taken_for_an_absence() -> None:
    with pytest.raises(AzError):
        telemetry(Az(refusal=500)).values({CONNECTION})


def test_a_setting_that_the_configuration_names_itself_is_given_and_not_read() -> None:
    own = environment(telemetry=False, secrets=[CONNECTION])
    assert looked_up(own) == {LOGS_KEY, STORAGE_KEY}
    assert looked_up(environment()) == {CONNECTION, LOGS_KEY, STORAGE_KEY}
