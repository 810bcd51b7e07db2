"""A private address: the document, its rules, the subnet, and the verification from inside."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import pytest
from engine.client import failures, inside
from engine.client.failures import Check, NotReady, Report, VerifyError, WrongRelease
from engine.client.inside import NoVerdict, Task, read_task, verdict
from engine.client.service import Limits
from engine.deploy.az import Az
from engine.deploy.bootstrap.costs import running
from engine.deploy.bootstrap.plan import plan
from engine.deploy.config.rules.rule import Broken
from engine.deploy.rollout import inside as rollout_inside
from engine.deploy.rollout.inside import InsideChecks
from engine.deploy.rollout.site import NotUp
from engine.deploy.say import Say
from engine.deploy.targets.aci import inside as aci_inside
from engine.deploy.targets.aci import network
from engine.deploy.targets.aci.document import render
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.aci.inside import InsideSubnet
from engine.deploy.targets.aci.live import live_of
from engine.deploy.targets.aci.shape import blockers, restorable
from engine.deploy.targets.base import Document, Ended, Live
from engine.deploy.targets.kind import kind_of
from engine.errors import EngineError
from engine.load import inside as load_inside
from engine.load.measured import Recording, Request, measure
from pydantic import ValidationError

from tests.engine import bootstrap_world
from tests.engine.test_aci_document import FIELDS, IDENTITY, PLACES, RELEASE, SERVER

GIVEN = (
    "/subscriptions/S/resourceGroups/company/providers/Microsoft.Network/virtualNetworks/hub"
    "/subnets/iris"
)
MADE = (
    "/subscriptions/S/resourceGroups/iris-service-staging/providers/Microsoft.Network"
    "/virtualNetworks/iris-service-staging/subnets/containers"
)
DELEGATED = [{"serviceName": "Microsoft.ContainerInstance/containerGroups"}]


def environment(network_: object = None, **fields: object) -> GroupEnvironment:
    return GroupEnvironment.model_validate({**FIELDS, "network": network_ or {}, **fields})


def document(**fields: object) -> Document:
    return render(environment(**fields), RELEASE, PLACES, {})


def test_a_private_group_has_a_subnet_and_no_name_and_is_made_anew_to_become_one() -> None:
    properties = document()["properties"]
    assert properties["subnetIds"] == [{"id": MADE}]
    assert properties["ipAddress"] == {
        "type": "Private",
        "ports": [{"port": 8000, "protocol": "TCP"}],
    }
    public = render(GroupEnvironment.model_validate(FIELDS), RELEASE, PLACES, {})
    assert "subnetIds" not in public["properties"]
    assert "properties.ipAddress.type" in blockers(public, document())
    given = render(environment({"subnet": GIVEN}), RELEASE, PLACES, {})
    assert given["properties"]["subnetIds"] == [{"id": GIVEN}]
    shown = restorable(document())
    shown["properties"]["ipAddress"]["ip"] = "10.20.0.4"
    shown["properties"]["provisioningState"] = "Succeeded"
    assert live_of(shown).address == "http://10.20.0.4:8000"


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("https", {"https": {"email": "ops@example.org"}}),
        ("copies", {"copies": 2}),
        ("switch", {"switch": "beside"}),
        ("dns", {"dns": {"label": "iris-private"}}),
        ("alerts.outside_check_minutes", {"alerts": {"outside_check_minutes": 5}}),
        ("network.addresses", {"network_": {"subnet": GIVEN, "addresses": "10.9.0.0/24"}}),
    ],
)
def test_what_a_private_group_cannot_have(field: str, fields: dict[str, Any]) -> None:
    broken: list[Broken] = list(network.rules(None, environment(**fields)))  # type: ignore[arg-type]
    assert [".".join(map(str, each.at)) for each in broken] == [field]
    assert not list(network.rules(None, environment()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        {"subnet": "iris"},
        {"addresses": "10.20.0.0/28"},
        {"addresses": "8.8.0.0/24"},
        {"addresses": "10.20.0.1/24"},
        {"vnet": "x"},
    ],
)
def test_a_network_that_cannot_be_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        environment(given)


class Subnet(Az):
    """Stands in for `az`: shows one subnet."""

    def __init__(self, **shown: object) -> None:
        self._shown = shown

    def find(self, *arguments: str, limit: float = 0) -> Any:
        assert arguments == ("network", "vnet", "subnet", "show", "--ids", MADE)
        return {"id": MADE, **self._shown} if self._shown else None


GATEWAY = {"id": "/nat"}


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("subnet", {}),
        ("subnet-delegation", {"natGateway": GATEWAY, "delegations": []}),
        ("subnet-nat", {"delegations": DELEGATED, "addressPrefix": "10.20.0.0/24"}),
        (
            "subnet-full",
            {"natGateway": GATEWAY, "delegations": DELEGATED, "addressPrefix": "10.20.0.0/30"},
        ),
        ("", {"natGateway": GATEWAY, "delegations": DELEGATED, "addressPrefix": "10.20.0.0/24"}),
        ("", {"routeTable": {"id": "/fw"}, "delegations": DELEGATED}),
    ],
)
def test_what_is_wrong_with_the_subnet_is_found_before_a_deploy(
    code: str, shown: dict[str, object]
) -> None:
    found = network.findings(Subnet(**shown), environment(), "S")
    assert [each.code for each in found] == ([code] if code else [])


def test_bootstrap_makes_the_network_and_gives_one_role_on_the_subnet_only() -> None:
    keys = [step.key for step in plan(bootstrap_world.inputs(network={}))]
    made = ("network", "public address", "nat gateway", "subnet")
    order = [keys.index(f"{each} staging") for each in made]
    assert order == sorted(order)
    role = next(key for key in keys if "iris-service subnet on" in key and "staging" in key)
    assert keys.index(role) > order[-1]
    own = plan(bootstrap_world.inputs(network={"subnet": GIVEN}))
    assert not [step for step in own if step.key.startswith(made)]
    step = next(step for step in own if "deploy staging: iris-service subnet" in step.key)
    assert GIVEN in step.make[0].arguments
    assert not [key for key in map(str, plan(bootstrap_world.inputs())) if "natGateway" in key]


def test_the_plan_says_what_the_network_costs_and_stop_that_it_stays() -> None:
    assert "the network $36.50 a month, stopped or not" in running(environment())
    assert "billed to who made it" in running(environment({"subnet": GIVEN}))
    kind = kind_of(environment())
    assert "except its network with $36.50 a month" in kind.bills_on(environment())
    assert kind.bills_on(environment({"subnet": GIVEN})) == ""


REPORT = Report("http://10.0.0.4:8000", (Check("ready", True, "after 1.0 s", 1.0),))
TASK = Task(REPORT.url, Limits(burst_requests=3), "1" * 40, "b" * 64)
KINDS = [
    kind
    for kind in vars(failures).values()
    if isinstance(kind, type) and issubclass(kind, VerifyError)
]


def told(error: VerifyError) -> dict[str, object]:
    """All that a failure says."""
    return {**vars(error), "proof": error.proof, "final": error.final}


def through(monkeypatch: pytest.MonkeyPatch, error: EngineError | None) -> Report:
    """What the asker gets of a verification that ended so, in words that passed through a log."""

    def verify(*_: object, **__: object) -> Report:
        if error is not None:
            raise error
        return REPORT

    monkeypatch.setattr(inside, "verify", verify)
    monkeypatch.setattr(inside, "models_digest", lambda _: "b" * 64)
    code, line = inside.run(read_task(TASK.argument()), print)
    return verdict(code, ["not ready: loading", line, ""])


def test_a_report_and_each_failure_arrive_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_task(TASK.argument()) == TASK
    assert through(monkeypatch, None) == REPORT
    for kind in KINDS:
        error = kind("the cause", "the fix")
        error.report = REPORT.with_check(Check("release", False, "the cause", 0.1))
        if isinstance(error, NotReady):
            error = NotReady("the cause", "the fix", "failed", "golden check")
            error.report = REPORT
        if isinstance(error, WrongRelease):
            error.found = ("2" * 40, "c" * 64)
        error.proof, error.final = not error.proof, not error.final
        with pytest.raises(kind) as raised:
            through(monkeypatch, error)
        assert type(raised.value) is kind
        assert told(raised.value) == told(error)


def test_an_image_with_other_models_than_those_that_are_meant_proves_nothing_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inside, "models_digest", lambda _: "c" * 64)
    code, line = inside.run(TASK, print)
    with pytest.raises(WrongRelease, match="the image holds the models cccccccccccc"):
        verdict(code, [line])


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        (0, []),
        (1, ["No module named engine.client"]),
        (137, ["ready: after 1.0 s"]),
        (0, ["verdict: {"]),
        (0, ["verdict: []"]),
        (0, ['verdict: {"report": null}']),
        (0, ['verdict: {"report": {"url": "x"}}']),
        (0, ['verdict: {"report": null, "error": {"cause": "x", "fix": "y", "kind": "TooSlow"}}']),
        (1, ['verdict: {"report": {"url": "x", "checks": []}}']),
    ],
)
def test_what_ends_without_a_verdict_is_no_proof_of_anything(code: int, lines: list[str]) -> None:
    with pytest.raises(NoVerdict) as raised:
        verdict(code, lines)
    assert not raised.value.proof


class Subscription(Az):
    """Stands in for `az`: container groups in memory. ``state`` is that of what runs once."""

    def __init__(self, group: Document, lines: Sequence[str] = ("ok",)) -> None:
        self.groups: dict[str, Any] = {str(group["name"]): group}
        self.lines_ = lines
        self.sent: list[Any] = []
        self.calls: list[tuple[str, ...]] = []
        self.states: list[dict[str, Any]] = [{"state": "Terminated", "exitCode": 3}]

    def find(self, *arguments: str, limit: float = 0) -> Any:
        name = arguments[-1].partition("?")[0].rpartition("/")[2]
        group = copy.deepcopy(self.groups.get(name))
        if group is not None and "-verify-" in name:
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            group["properties"]["containers"][0]["properties"]["instanceView"] = {
                "currentState": state
            }
        return group

    def json(self, *arguments: str, stdin: str | None = None, limit: float = 0) -> Any:
        return {"value": [{"name": name} for name in self.groups]}

    def change(self, *arguments: str, stdin: str | None = None, **_: Any) -> Any:
        name = arguments[arguments.index("--name") + 1]
        self.calls.append(arguments)
        if arguments[1] == "create":
            self.groups[name] = json.loads(stdin or "")
            self.sent.append(self.groups[name])
        else:
            del self.groups[name]

    def lines(self, *arguments: str) -> Any:
        return iter(self.lines_)


def subscription(**fields: object) -> Subscription:
    return Subscription(restorable(document(**fields)))


def ran(az: Subscription, watch: Callable[[str], None] = lambda _: None) -> Ended:
    runner = InsideSubnet(az, environment(), PLACES)
    return runner.run(("python", "-m", "x"), {"LOAD_API_KEY": "the-key"}, 5, watch)


def test_what_runs_once_has_image_identity_and_subnet_of_the_group_and_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aci_inside, "FIRST_POLL_SECONDS", 0.01)
    az = subscription()
    waiting = {"state": "Waiting"}
    az.states = [waiting, {"state": "Terminated", "exitCode": 3}]
    assert ran(az) == Ended(3, ("ok",))
    (sent,) = az.sent
    properties = sent["properties"]
    assert properties["restartPolicy"] == "Never"
    assert properties["subnetIds"] == [{"id": MADE.lower()}]
    assert properties["imageRegistryCredentials"] == [
        {"server": SERVER, "identity": IDENTITY.lower()}
    ]
    assert "ipAddress" not in properties
    container = properties["containers"][0]["properties"]
    assert container["image"] == RELEASE.image
    assert container["environmentVariables"] == [{"name": "LOAD_API_KEY", "secureValue": "the-key"}]
    assert not any("the-key" in argument for call in az.calls for argument in call)
    assert list(az.groups) == ["iris-service-staging"]


def test_it_goes_whatever_happens_and_what_a_killed_one_left_goes_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aci_inside, "FIRST_POLL_SECONDS", 0.01)
    az = subscription()
    az.states = [{"state": "Running"}]

    def give_up(state: str) -> None:
        raise NotUp("the service gave up", "correct it")

    with pytest.raises(NotUp):
        ran(az, give_up)
    assert list(az.groups) == ["iris-service-staging"]
    left, other = "iris-service-staging-verify-00ab12", "iris-service-staging-verify-x"
    az.groups |= {left: az.sent[0], other: az.sent[0]}
    assert InsideSubnet(az, environment(), PLACES).clear() == (left,)
    assert sorted(az.groups) == ["iris-service-staging", other]
    # One that still runs may be another command's.
    az.groups[left] = az.sent[0]
    az.states = [{"state": "Running"}, {"state": "Terminated", "exitCode": 0}]
    assert ran(az).exit_code == 0
    assert left in az.groups


class Service:
    """Stands in for a target and for what runs inside of its network."""

    what = "container group x"

    def __init__(self, ends: Sequence[Ended], live: Live | None = None, log: str = "") -> None:
        self._ends = list(ends)
        self._live, self._log = live, log
        self.commands: list[tuple[str, ...]] = []
        self.secrets: list[Mapping[str, str]] = []

    def read(self) -> Live | None:
        return self._live

    def logs(self, *, follow: bool) -> Any:
        return iter([self._log])

    def run(
        self,
        command: Sequence[str],
        secrets: Mapping[str, str],
        seconds: float,
        watch: Callable[[str], None],
    ) -> Ended:
        self.commands.append(tuple(command))
        self.secrets.append(secrets)
        for _ in range(3):
            watch("Running")
        return self._ends.pop(0)


def checks(service: Service) -> InsideChecks:
    variables = {"TRUSTED_FRONT_DOOR_ID": "the-door"}
    fake = cast("Any", service)
    return InsideChecks(fake, fake, environment(variables=variables), Say(), lambda error: error)


def test_the_checks_ask_for_the_release_again_without_proof_and_give_the_key_as_a_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("API_KEYS", "the-key-of-clients,another")
    monkeypatch.setattr("engine.deploy.verify.AGAIN_SECONDS", (0.0,))
    good = json.dumps({"report": {"url": "x", "checks": [vars_of(REPORT.checks[0])]}})
    service = Service([Ended(1, ("killed",)), Ended(0, (f"verdict: {good}",))])
    found = checks(service).verify(REPORT.url, {}, RELEASE)
    assert "| ready | ok |" in found
    assert len(service.commands) == 2
    task = read_task(service.commands[0][-1])
    assert (task.url, task.revision, task.model_digest) == (
        REPORT.url,
        RELEASE.revision,
        RELEASE.model_digest,
    )
    assert task.limits.ready_seconds == 600
    assert service.secrets[0] == {
        "LOAD_API_KEY": "the-key-of-clients",
        "TRUSTED_FRONT_DOOR_ID": "the-door",
    }
    assert "the-key" not in " ".join(service.commands[0])


@pytest.mark.parametrize(
    ("failure", "log", "said"),
    [
        ("the container keeps ending", "", "keeps ending"),
        (None, '{"level": "error", "message": "not ready: bad model"}', "gave up: not ready"),
    ],
)
def test_nobody_waits_for_a_service_that_gave_up(
    failure: str | None, log: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout_inside, "_LISTEN_SECONDS", -1.0)
    live = Live({}, {}, None, "Running", settled=True, running=True, failure=failure)
    with pytest.raises(NotUp, match=said):
        checks(Service([], live, log)).verify(REPORT.url, {}, RELEASE)


def vars_of(check: Check) -> dict[str, object]:
    """A check as JSON has it."""
    return {name: getattr(check, name) for name in ("name", "passed", "detail", "seconds")}


def test_the_figures_of_a_load_test_inside_arrive_and_fit_into_the_log_that_azure_keeps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requests = [Request(at / 10, f"kind {at % 6}", 12.3456789, "x" * 200) for at in range(5000)]
    recording = Recording(20.0, 500.0, requests, 33.3)
    monkeypatch.setattr(load_inside, "run", lambda *_: recording)
    task = load_inside.Task("http://10.0.0.4:8000", 2, 1.0, 1.0, 480.0, (0.0, 0.1))
    assert load_inside.main([task.argument()]) == 0
    said = capsys.readouterr().out
    assert len(said) < 16_000  # Azure docs: logs of containers that have ended
    found = load_inside.read_measured(0, said.splitlines())
    wanted = measure(recording)
    assert found.failures == wanted.failures
    assert [each.name for each in found.kinds] == [each.name for each in wanted.kinds]
    assert found.p95_ms == pytest.approx(wanted.p95_ms, abs=0.001)
    assert len(found.slots) == len(wanted.slots)
    for code, lines in ((1, said.splitlines()), (0, []), (0, ["measured: {}"])):
        with pytest.raises(EngineError, match="no figures"):
            load_inside.read_measured(code, lines)
