"""Azure may spell names, ids, locations, types and states as it likes, and leave out what is empty.

Every promise about what is there is kept under each of these habits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from engine.deploy.az import Az
from engine.deploy.azure_ids import (
    ACR_PULL,
    PULLING_ROLES,
    REPOSITORY_READER,
    member,
    one_of,
    plain,
    same,
)
from engine.deploy.bootstrap.github import variables
from engine.deploy.bootstrap.looks import Clock
from engine.deploy.bootstrap.plan import plan as bootstrap_plan
from engine.deploy.bootstrap.roles import ACR_DELETE
from engine.deploy.bootstrap.runner import MADE, REPAIRED, THERE, Result, Runner
from engine.deploy.bootstrap.step import Command, Step
from engine.deploy.commands.verify import require_image
from engine.deploy.diagnose import diagnose
from engine.deploy.diagnosis import image, platform
from engine.deploy.diagnosis.evidence import Evidence, Registry
from engine.deploy.diagnosis.gather import _roles
from engine.deploy.diagnosis.looks import Looks, Scene
from engine.deploy.monitoring.plan import plan as monitoring_plan
from engine.deploy.preflight import _pull_right, inspect
from engine.deploy.say import Say
from engine.deploy.targets.base import Live, check_image
from engine.deploy.targets.containerapps.environment import AppEnvironment
from engine.deploy.targets.containerapps.preflight import _environment_findings
from engine.errors import EngineError

from .bootstrap_world import PretendedAzure, inputs
from .test_monitoring import ADDRESS, MONTH, OBJECTIVE, PROJECT, place

EXACT = ("issuer", "subject", "audiences", "value")
TEXTS = ("query", "description", "displayName", "serializedData", "hidden-title", "RequestUrl")
Habit = Callable[[str, Any], Any]


def dressed(value: Any, habit: Habit, name: str = "") -> Any:
    """What Azure shows of a value under a habit; the habit gets the member's name."""
    if isinstance(value, dict):
        shown = {key: dressed(each, habit, key) for key, each in value.items()}
        return habit(name, shown)
    if isinstance(value, list):
        return habit(name, [dressed(each, habit, name) for each in value])
    return habit(name, value)


def _words(change: Callable[[str], str]) -> Habit:
    def habit(name: str, value: Any) -> Any:
        spelled = isinstance(value, str) and name not in (*EXACT, *TEXTS)
        return change(value) if spelled else value

    return habit


def _ids(change: Callable[[str], str]) -> Habit:
    def habit(name: str, value: Any) -> Any:
        spelled = isinstance(value, str) and "/subscriptions/" in value and name not in TEXTS
        return change(value) if spelled else value

    return habit


def _pretty(name: str, value: Any) -> Any:
    if name != "location":
        return value
    return re.sub("(west|north)?(europe)", r"\1 \2", value).title().strip()


def _without_empty(_: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: each for key, each in value.items() if each not in (None, "", [], {})}
    return value


def _without_defaults(_: str, value: Any) -> Any:
    return {k: v for k, v in value.items() if v} if isinstance(value, dict) else value


def _keys(change: Callable[[str], str]) -> Habit:
    def habit(name: str, value: Any) -> Any:
        dictionary = isinstance(value, dict) and name in ("notifications", "tags", "properties")
        return {change(key): each for key, each in value.items()} if dictionary else value

    return habit


HABITS: dict[str, Habit] = {
    "as sent": lambda _, value: value,
    "names in lower case": _words(str.lower),
    "names in upper case": _words(str.upper),
    "ids in lower case": _ids(str.lower),
    "ids in upper case": _ids(str.upper),
    "ids with a slash at the end": _ids(lambda text: f"{text}/"),
    "locations for people": _pretty,
    "no empty members": _without_empty,
    "no defaults": _without_defaults,
    "keys in lower case": _keys(str.lower),
    "keys that begin in lower case": _keys(lambda key: key[:1].lower() + key[1:]),
    "lists turned round": lambda _, value: value[::-1] if isinstance(value, list) else value,
}


# The one function


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Microsoft.Insights", "microsoft.insights"),
        ("West Europe", "westeurope"),
        ("/subscriptions/S/resourceGroups/G", "/SUBSCRIPTIONS/s/resourcegroups/g/"),
        ("Succeeded", "succeeded"),
        ("Consumption-GPU-NC8as-T4", "CONSUMPTION-GPU-NC8AS-T4"),
        ("11111111-AAAA-4333-8444-555555555555", "11111111-aaaa-4333-8444-555555555555"),
        ("PT1H", "pt1h"),
    ],
)
def test_two_spellings_of_a_name_are_the_same(one: str, other: str) -> None:
    assert same(one, other)
    assert one_of(other, ("something else", one))
    assert member({other: 1}, one) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("westeurope", "westeurope2"), ("Succeeded", None), (None, None), ("Failed", "")],
)
def test_other_names_are_not(one: str | None, other: str | None) -> None:
    assert not same(one, other)


# Bootstrap


class Spelling(PretendedAzure):
    """An Azure with a habit; it takes names in any case, as Azure does."""

    def __init__(self, steps: tuple[Step, ...], habit: Habit) -> None:
        super().__init__(steps)
        self._habit = habit

    def find(self, *arguments: str) -> Any:
        return dressed(super().find(*arguments), self._habit)

    def _step_of(self, arguments: tuple[str, ...]) -> Step:
        return super()._step_of(tuple(map(plain, arguments)))

    def _typed(self, command: Command) -> tuple[str | None, ...]:
        return tuple(map(plain, super()._typed(command)))


def still() -> Clock:
    """Time that only pauses move."""
    pauses: list[float] = []
    return Clock(now=lambda: sum(pauses), pause=pauses.append)


def run(azure: Any, steps: tuple[Step, ...]) -> tuple[Result, ...]:
    return Runner({"az": azure, "gh": azure}, Say(), clock=still()).run(steps)


@pytest.mark.sampled
@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("target", ["aci", "azureml", "containerapps"])
def test_a_bootstrap_ends_and_finds_what_it_made(target: str, habit: str) -> None:
    gpu = "t4" if target == "containerapps" else "none"
    steps = bootstrap_plan(inputs(target, gpu=gpu, github=False))
    azure = Spelling(steps, HABITS[habit])
    assert {each.outcome for each in run(azure, steps)} <= {MADE, REPAIRED}
    changes = len(azure.changes)
    assert {each.outcome for each in run(azure, steps)} == {THERE}
    assert len(azure.changes) == changes
    azure.spoil("role records", "permissions.0.actions", ["*"])
    assert [each.step.key for each in run(azure, steps) if each.outcome == REPAIRED] == [
        "role records"
    ]


def test_no_look_lets_az_compare_names() -> None:
    """JMESPath compares case: `[?namespace=='Microsoft.Insights']` finds nothing on Azure."""
    for target in ("aci", "azureml", "containerapps"):
        for step in bootstrap_plan(inputs(target)):
            assert not any("[?" in str(each) for each in step.look.arguments), step.what


def test_the_subject_of_a_token_has_a_case() -> None:
    steps = bootstrap_plan(inputs(github=False))
    azure = PretendedAzure(steps)
    run(azure, steps)
    key = "credential iris-service-deploy-production"
    azure.spoil(key, "subject", "repo:octo-org@1/iris-service@2:environment:PRODUCTION")
    assert [each.step.key for each in run(azure, steps) if each.outcome == REPAIRED] == [key]


def test_variables_on_github_have_a_case() -> None:
    of = inputs()
    assert of.repository is not None
    rules = [rule for step in variables(of, of.repository) for rule in step.rules]
    assert rules
    assert all(rule.exact for rule in rules)


@pytest.mark.parametrize("state", ["UpgradeRequested", "ScheduledForDelete", "Waiting", "New word"])
def test_a_state_that_is_not_known_is_waited_for_until_the_bound(state: str) -> None:
    steps = bootstrap_plan(inputs("containerapps", github=False))
    azure = PretendedAzure(steps)
    run(azure, steps)
    azure.spoil("apps staging", "properties.provisioningState", state)
    with pytest.raises(EngineError, match=f"has been {state} for 15 minutes"):
        run(azure, steps)


def test_a_state_that_stays_bad_is_said_at_once() -> None:
    steps = bootstrap_plan(inputs("containerapps", github=False))
    azure = PretendedAzure(steps)
    run(azure, steps)
    changes = len(azure.changes)
    azure.spoil("apps staging", "properties.provisioningState", "upgradefailed")
    clock = still()
    with pytest.raises(EngineError, match=r"apps is in state upgradefailed(.|\n)*activity log"):
        Runner({"az": azure, "gh": azure}, Say(), clock=clock).run(steps)
    assert clock.now() == 0
    assert len(azure.changes) == changes


@pytest.mark.parametrize("state", ["Failed", "Canceled", "failed"])
def test_what_fails_again_is_said_at_once(state: str) -> None:
    steps = bootstrap_plan(inputs(github=False))

    class Failing(PretendedAzure):
        def _thing(self, step: Step) -> dict[str, Any]:
            thing = super()._thing(step)
            return {**thing, "provisioningState": state} if step.key == "registry" else thing

    clock = still()
    azure = Failing(steps)
    with pytest.raises(EngineError, match=f"irisservice is in state {state}"):
        Runner({"az": azure, "gh": azure}, Say(), clock=clock).run(steps)
    assert clock.now() == 0


# Monitoring


class Kept:
    """What was put, shown with a habit."""

    def __init__(self, habit: Habit) -> None:
        self.bodies: dict[str, dict[str, Any]] = {}
        self.puts = 0
        self._habit = habit

    def find(self, *arguments: str) -> Any:
        found = self.bodies.get(self._address(arguments))
        return None if found is None else dressed(found, self._habit)

    def change(self, *arguments: str, stdin: str | None = None) -> None:
        del stdin
        self.puts += 1
        body = json.loads(arguments[arguments.index("--body") + 1])
        self.bodies[self._address(arguments)] = body

    def _address(self, arguments: tuple[str, ...]) -> str:
        return arguments[arguments.index("--url") + 1].partition("?")[0].lower()


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("email", [[], ["oncall@example.org", "second@example.org"]])
@pytest.mark.parametrize("target", ["aci", "azureml", "containerapps"])
def test_monitoring_ends_and_a_second_run_changes_nothing(
    target: str, email: list[str], habit: str
) -> None:
    of = place(target, alerts={"email": email, "budget": 100})
    steps = monitoring_plan(of, ADDRESS, OBJECTIVE, MONTH)
    azure = Kept(HABITS[habit])
    assert {each.outcome for each in run(azure, steps)} == {MADE}
    assert azure.puts == len(steps)
    assert {each.outcome for each in run(azure, steps)} == {THERE}
    assert azure.puts == len(steps)

    [rule] = [each for path, each in azure.bodies.items() if path.endswith("-notready")]
    rule["properties"]["actions"] = {"actionGroups": ["/subscriptions/s/somebody/else"]}
    [budget] = [each for path, each in azure.bodies.items() if "/budgets/" in path]
    budget["properties"]["notifications"]["Spent80"]["threshold"] = 8
    assert sum(each.outcome == REPAIRED for each in run(azure, steps)) == 2
    assert {each.outcome for each in run(azure, steps)} == {THERE}


@pytest.mark.parametrize("name", ["query", "description", "displayName"])
def test_the_case_of_a_text_is_part_of_it(name: str) -> None:
    steps = monitoring_plan(place(), ADDRESS, OBJECTIVE, MONTH)
    azure = Kept(HABITS["as sent"])
    run(azure, steps)
    [rule] = [each for path, each in azure.bodies.items() if path.endswith("-notready")]
    properties = rule["properties"]
    holder = properties["criteria"]["allOf"][0] if name == "query" else properties
    holder[name] = holder[name].swapcase()
    assert [each.outcome for each in run(azure, steps)].count(REPAIRED) == 1


# Deploying


FLEET_NEEDS = ("ContainerInstance", "Network")


@pytest.mark.parametrize(
    "state", ["Registered", "registering", "NotRegistered", "Unregistering", "Unregistered"]
)
@pytest.mark.parametrize("lacking", [("ContainerInstance",), ("Network",), FLEET_NEEDS])
def test_preflight_and_doctor_agree_on_each_provider_that_is_needed(
    lacking: tuple[str, ...], state: str
) -> None:
    """A fleet needs Traffic Manager too."""

    def find(*command: str) -> dict[str, str] | None:
        if command[0] != "provider":
            return None
        here = command[-1].removeprefix("Microsoft.") in lacking
        return {"registrationState": state if here else "Registered"}

    az = SimpleNamespace(find=find, visible=lambda *_: None)
    scene = SimpleNamespace(az=az, environment=place(copies=2).environment)
    seen = Looks(cast("Scene", scene)).unregistered()
    inputs = inspect(cast("Az", az), PROJECT, scene.environment, "s")
    found = platform.not_registered(Evidence(unregistered=seen))
    assert [each for each in inputs.findings if each.code == "provider"] == found
    fine = state in ("Registered", "registering")
    causes = [each.cause for each in found]
    names = " and ".join(f"Microsoft.{each}" for each in lacking)
    assert causes == ([] if fine else [f"the subscription does not use {names} yet"])
    assert len(diagnose(Evidence(unregistered=seen))) == len(found)


@pytest.mark.parametrize("abac", [False, True])
@pytest.mark.parametrize("spell", [str.lower, str.upper])
@pytest.mark.parametrize("role", sorted({*PULLING_ROLES, REPOSITORY_READER, ACR_DELETE.id}))
def test_preflight_and_doctor_agree_on_who_may_pull(
    role: str, spell: Callable[[str], str], abac: bool
) -> None:
    mode = spell("AbacRepositoryPermissions" if abac else "LegacyRegistryPermissions")
    registry = {"id": "/r", "name": "registry", "roleAssignmentMode": mode}
    identity = {"name": "runtime", "principalId": "aaaa-bbbb"}
    given = {
        "principalId": spell("aaaa-bbbb"),
        "roleDefinitionId": spell(f"/subscriptions/S/roleDefinitions/{role}"),
    }
    azure = cast("Az", SimpleNamespace(json=lambda *_: [given]))
    looks = SimpleNamespace(az=azure, try_to=lambda _, look: (look(), True))
    roles = _roles(cast("Looks", looks), "/r", identity)
    evidence = Evidence(registry=Registry("registry", abac=abac, roles=roles))
    allowed = role == REPOSITORY_READER if abac else role in PULLING_ROLES
    found = image.role_missing(evidence)
    assert (found == []) is allowed
    assert _pull_right(azure, registry, identity) == found
    assert all(each.fatal for each in found)
    assert ACR_PULL in PULLING_ROLES


@pytest.mark.parametrize("location", ["northeurope", "North Europe", "NORTHEUROPE"])
def test_an_environment_of_apps_is_known_in_any_spelling(location: str) -> None:
    environment = place("containerapps", gpu="t4").environment
    assert isinstance(environment, AppEnvironment)
    there: dict[str, Any] = {
        "name": "apps",
        "location": location,
        "properties": {
            "provisioningState": "SUCCEEDED",
            "workloadProfiles": [{"name": "GPU-T4"}, {"name": "consumption"}],
        },
    }
    names = [each.cause for each in _environment_findings(there, environment)]
    assert not any("is in" in each for each in names)


def test_an_address_and_a_digest_have_no_case() -> None:
    digest = f"sha256:{'ab' * 32}"
    check_image(f"registry.azurecr.io/iris@{digest}", "Registry.azurecr.io")
    live = SimpleNamespace(
        tags={"image-digest": digest.upper()},
        document={"image": f"Registry.azurecr.io/iris@{digest}"},
    )
    require_image(cast("Live", live), f"registry.azurecr.io/iris@{digest}", "staging")
