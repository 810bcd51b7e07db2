"""Azure in memory behind `az`: the requests of one environment's deploys, answered as ARM does.

`az` is replaced where the machinery starts it. Everything above, which reads errors, tries again,
keeps the journal and moves from one release to the next, is the machinery's own.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from engine.client.failures import WrongRelease
from engine.deploy import az as az_module
from engine.deploy import journal as journal_module
from engine.deploy.az import Az
from engine.deploy.config import names
from engine.deploy.config.environment import Environment
from engine.deploy.config.environment import Rollout as Limits
from engine.deploy.journal import ArmJournal
from engine.deploy.processes import Finished
from engine.deploy.rollout.guard import Guard
from engine.deploy.rollout.site import NotUp, Site
from engine.deploy.say import Say
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.aci.fleet.target import Fleet
from engine.deploy.targets.aci.target import ContainerInstances
from engine.deploy.targets.base import STORAGE_KEY, Places, Release, Target
from engine.deploy.targets.containerapps.client import AppClient
from engine.deploy.targets.containerapps.environment import AppEnvironment
from engine.deploy.targets.containerapps.target import ContainerApps
from engine.deploy.targets.kind import environment_model, kind_of
from engine.errors import EngineError

Json = dict[str, Any]
SERVER = "iris.azurecr.io"
IDENTITY = "/subscriptions/S/resourceGroups/Shared/providers/Microsoft.ManagedIdentity/u/runtime"
PLACES = Places("S", SERVER, IDENTITY, apps_environment="/subscriptions/S/apps/environment")
BEFORE, GOOD, CRASHES, SLOW = "b", "c", "d", "e"
"""Releases by the digit that their digests are made of; CRASHES ends at once, SLOW never gets
ready."""
SECRET = "planted-secret"
START_SECONDS, CRASH_SECONDS = 3.0, 10.0


def release(digit: str) -> Release:
    """The release of one of these digits."""
    return Release(f"{SERVER}/iris@sha256:{digit * 64}", digit * 40, f"sha256:{digit * 64}")


def environment(target: str, **fields: object) -> Environment:
    """An environment with one secret."""
    content = {
        "stage": "staging",
        "target": target,
        "region": "westeurope",
        "resource_group": "iris-staging",
        "name": "iris-staging",
        "secrets": ["API_KEYS"],
        "telemetry": False,
        **({"container_logs": False} if target == "aci" else {}),
        **fields,
    }
    return environment_model(content).model_validate(content)


@dataclass
class Clock:
    """The time of this Azure; the machinery's own may be ``off`` by some seconds. ``alarms`` are
    called when their time comes.
    """

    seconds: float = 0.0
    off: float = 0.0
    alarms: list[tuple[float, Callable[[], object]]] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime(2026, 11, 20, tzinfo=UTC) + timedelta(seconds=self.seconds + self.off)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        until = self.seconds + seconds
        while self.alarms and self.alarms[0][0] <= until:
            self.seconds, ring = self.alarms.pop(0)
            ring()
        self.seconds = until


class Refused(Exception):
    """Azure's answer is an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True)
class Call:
    """One request. ``resource`` is "group", "app", "profile" or "record"."""

    number: int
    method: str
    url: str
    resource: str
    body: Any

    @property
    def writes(self) -> bool:
        """It changes something."""
        return self.method != "get" and "listSecrets" not in self.url


class Fault:
    """What goes wrong. ``before`` may raise ``Refused`` or ``Lost``, ``after`` likewise, when the
    request has taken effect.
    """

    def before(self, arm: Arm, call: Call) -> None:
        """A request arrives."""

    def after(self, arm: Arm, call: Call) -> None:
        """A request took effect."""


class Lost(Exception):
    """No answer arrives."""


@dataclass
class Habits:
    """What Azure does not document, or not for all regions and versions."""

    ids: Callable[[str], str] = str
    unknown: bool = False
    page: int = 0
    stale_seconds: float = 0
    state: str = "Pending"
    pull_seconds: float = 0
    no_view_seconds: float = 0
    list_outputs: bool = True
    busy_seconds: float = 0
    updates_shares: bool = True


@dataclass
class Arm:
    """Everything that Azure has of one environment. ``violations`` says in words what clients
    could have met where a release serves before it is verified.
    """

    clock: Clock = field(default_factory=Clock)
    habits: Habits = field(default_factory=Habits)
    fault: Fault = field(default_factory=Fault)
    group: Json | None = None
    put_at: float = -1e9
    app: Json | None = None
    revisions: dict[str, Json] = field(default_factory=dict)
    records: dict[str, Json] = field(default_factory=dict)
    log: list[Call] = field(default_factory=list)
    shown_before: dict[str, tuple[float, Any]] = field(default_factory=dict)
    changed_at: float = -1e9
    violations: list[str] = field(default_factory=list)

    def finish(
        self, command: Sequence[str], environment: Any, stdin: str | None, limit: float
    ) -> Finished:
        """Take the place of ``engine.deploy.processes.finish``."""
        call = self._call(list(command[1:]), stdin)
        self.log.append(call)
        assert len(self.log) < 3000, "it asks for ever"
        self.clock.sleep(1)
        try:
            self.fault.before(self, call)
            if call.writes:
                self._remember(call)
            answer = self._answer(call)
            self.fault.after(self, call)
        except Lost:
            return Finished(1, "", "ERROR: ('Connection aborted.', RemoteDisconnected('closed'))")
        except Refused as error:
            return Finished(1, "", _printed(call, command, error))
        return Finished(0, "" if answer is None else json.dumps(answer), "")

    def serving(self) -> str:
        """The digit of the release that clients reach; "" where there is none."""
        if self.group is not None:
            digit = _digit(_container(self.group)["image"])
            return digit if self._runs(digit, self.put_at) else ""
        if self.app is None:
            return ""
        for share in self.app["properties"]["configuration"]["ingress"]["traffic"]:
            revision = self.revisions[share["revisionName"]]
            digit = _digit(revision["template"]["containers"][0]["image"])
            if revision["active"] and self._runs(digit, revision["since"]):
                return digit
        return ""

    def answering(self, address: str, headers: Mapping[str, str]) -> str:
        """The digit of the release that answers at an address."""
        for name, revision in self.revisions.items():
            if address == f"https://{name}.example":
                digit = _digit(revision["template"]["containers"][0]["image"])
                return digit if revision["active"] else ""
        return self.serving()

    def secrets(self) -> set[str]:
        """The values of the secrets of what serves."""
        if self.group is not None:
            variables = _container(self.group)["environmentVariables"]
            return {each["secureValue"] for each in variables if each.get("secureValue")}
        return {each["value"] for each in self._configuration().get("secrets") or []}

    def there(self) -> Json | None:
        """The resource that has the tags of the rollout."""
        return self.group if self.group is not None else self.app

    def proved(self, address: str, headers: Mapping[str, str]) -> None:
        """What answers at an address was verified."""

    def phases(self) -> list[str]:
        """How the rollouts ended, the oldest first."""
        found = [_record(each) for name, each in sorted(self.records.items())]
        return [each["phase"] for each in found if each]

    def _runs(self, digit: str, since: float) -> bool:
        return digit in (BEFORE, GOOD) and self.clock.seconds >= since + START_SECONDS

    def _call(self, arguments: list[str], stdin: str | None) -> Call:
        number = len(self.log)
        if arguments[0] == "rest":
            url = arguments[arguments.index("--url") + 1]
            method = arguments[arguments.index("--method") + 1]
            resource = "record" if "/deployments" in url else "app"
            if "containerGroups" in url:
                resource = "group"
            return Call(number, method, url, resource, json.loads(stdin) if stdin else None)
        verb = arguments[1]
        method = {"create": "put", "show": "get"}.get(verb, verb)
        return Call(number, method, "group", "group", json.loads(stdin) if stdin else None)

    def _remember(self, call: Call) -> None:
        """Looks show what is there now for some time yet."""
        if not self.habits.stale_seconds or call.resource == "record":
            return
        until = self.clock.seconds + self.habits.stale_seconds
        if call.resource == "group":
            self.shown_before["group"] = (until, copy.deepcopy(self._shown_group()))
        elif self.app is not None:
            self.shown_before["app"] = (until, copy.deepcopy(self._shown_app()))

    def _answer(self, call: Call) -> Any:
        if call.resource == "record":
            return self._record(call)
        if call.writes:
            self.changed_at = self.clock.seconds
        return self._group(call) if call.resource == "group" else self._app(call)

    # The journal.

    def _record(self, call: Call) -> Any:
        name = call.url.partition("?")[0].rpartition("/")[2]
        if call.method == "put":
            outputs = call.body["properties"]["template"]["outputs"]
            shown = {"provisioningState": "Succeeded", "outputs": outputs}
            self.records[name] = {"name": name, "properties": shown}
            return self.records[name]
        if name != "deployments":
            if name not in self.records:
                raise Refused(404, "DeploymentNotFound", f"Deployment '{name}' is not found")
            return self.records[name]
        listed = [self._listed(each) for each in self.records.values()]
        size = self.habits.page or len(listed) or 1
        begin = int(call.url.partition("$skiptoken=")[2] or 0)
        answer: Json = {"value": listed[begin : begin + size]}
        if begin + size < len(listed):
            root = call.url.partition("&$skiptoken=")[0]
            answer["nextLink"] = f"{root}&$skiptoken={begin + size}"
        return answer

    def _listed(self, record: Json) -> Json:
        if self.habits.list_outputs:
            return record
        kept = {key: value for key, value in record["properties"].items() if key != "outputs"}
        return {**record, "properties": kept}

    # The container group.

    def _group(self, call: Call) -> Any:
        if call.method == "get":
            shown = self._seen("group", self._shown_group())
            if shown is None:
                raise Refused(404, "ResourceNotFound", "The container group was not found.")
            return shown
        if self.clock.seconds < self.put_at + self.habits.busy_seconds:
            raise Refused(409, "ContainerGroupTransitioning", "is still transitioning, retry later")
        if call.method == "put":
            assert not str(call.body).count("None") or SECRET in str(call.body)
            if self.group is not None and _size(self.group) != _size(call.body):
                raise Refused(400, "InvalidContainerGroup", "you must delete it first")
            mounts = self.group is not None and self.group["properties"].get("volumes")
            if mounts and not self.habits.updates_shares:
                raise Refused(400, "UpdateNotSupported", "a group with a share is not updated")
            self.group, self.put_at = copy.deepcopy(call.body), self.clock.seconds
        elif call.method == "delete":
            self.group, self.put_at = None, -1e9
        else:
            raise AssertionError(f"a rollout sends no {call.method} for a container group")
        return None

    def _shown_group(self) -> Json | None:
        if self.group is None:
            return None
        shown = copy.deepcopy(self.group)
        properties, container = shown["properties"], _container(shown)
        age = self.clock.seconds - self.put_at
        digit = _digit(container["image"])
        for variable in container["environmentVariables"]:
            variable.pop("secureValue", None)
        for volume in properties.get("volumes") or []:
            del volume["azureFile"]["storageAccountKey"]
        properties["provisioningState"] = "Succeeded"
        properties["ipAddress"]["fqdn"] = "iris-staging.example"
        if age < START_SECONDS + self.habits.pull_seconds:
            properties["provisioningState"] = self.habits.state
            current: Json = {"state": "Waiting", "detailStatus": ""}
        elif digit == CRASHES:
            current = {"state": "Waiting", "detailStatus": "CrashLoopBackOff"}
        else:
            current = {"state": "Running", "startTime": f"at {self.put_at}"}
        view: Json = {"restartCount": 0, "currentState": current, "events": []}
        if digit == CRASHES:
            view["restartCount"] = int(age // CRASH_SECONDS)
        if self.habits.pull_seconds and age < START_SECONDS + self.habits.pull_seconds:
            message = "Failed to pull image: unauthorized"
            view["events"] = [{"type": "Warning", "message": message, "count": 1 + int(age // 15)}]
        if age >= self.habits.no_view_seconds:
            container["instanceView"] = view
            properties["instanceView"] = {"state": "Running"}
        if self.habits.unknown:
            properties["isCreatedFromStandbyPool"] = False
            for each in properties["imageRegistryCredentials"]:
                each["isDelegatedIdentity"] = False
        users = (shown.get("identity") or {}).get("userAssignedIdentities") or {}
        if users:
            named = {self.habits.ids(name): value for name, value in users.items()}
            shown["identity"]["userAssignedIdentities"] = named
        for each in properties["imageRegistryCredentials"]:
            each["identity"] = self.habits.ids(each["identity"])
        return shown

    def _seen(self, what: str, now: Any) -> Any:
        until, before = self.shown_before.get(what, (-1e9, None))
        return before if self.clock.seconds < until else now

    # The container app.

    def _app(self, call: Call) -> Any:
        path = call.url.partition("?")[0].partition("/containerApps/")[2]
        _, _, below = path.partition("/")
        if self.app is None and not (call.method == "put" and not below):
            raise Refused(404, "ResourceNotFound", "The container app was not found.")
        if call.method == "get":
            return self._look(below)
        if below == "listSecrets":
            return {"value": copy.deepcopy(self._configuration().get("secrets") or [])}
        if self.clock.seconds < self.put_at + self.habits.busy_seconds:
            raise Refused(409, "ContainerAppOperationInProgress", "an operation is in progress")
        if below:
            _, name, verb = below.split("/")
            self.revisions[name]["active"] = verb == "activate"
            return None
        if call.method == "delete":
            self.app = None
            self.revisions.clear()
            return None
        self.put_at = self.clock.seconds
        body = copy.deepcopy(call.body)
        if call.method == "put":
            self.app = {"name": "iris-staging", **body}
        else:
            self.app = _merged(self.app, body)
        template = (body.get("properties") or {}).get("template")
        if template is not None:
            self._start(template)
        traffic = self._configuration()["ingress"]["traffic"]
        assert all(share["revisionName"] in self.revisions for share in traffic)
        return None

    def _start(self, template: Json) -> None:
        suffix = template.pop("revisionSuffix")
        name = f"iris-staging--{suffix}"
        assert name not in self.revisions or self.revisions[name]["template"] == template
        known = {each["name"] for each in self._configuration()["secrets"]}
        for variable in template["containers"][0]["env"]:
            assert variable.get("secretRef", next(iter(known))) in known
        self.revisions.setdefault(
            name, {"active": True, "template": template, "since": self.clock.seconds}
        )
        assert self.app is not None
        self.app["properties"]["template"] = template
        self.app["properties"]["latestRevisionName"] = name

    def _look(self, below: str) -> Any:
        if not below:
            return self._seen("app", self._shown_app())
        if below == "revisions":
            shown = [self._shown_revision(name) for name in self.revisions]
            return {"value": shown}
        name = below.split("/")[1]
        if name not in self.revisions:
            raise Refused(404, "ResourceNotFound", "no such revision")
        if below.endswith("/replicas"):
            return {"value": self._replicas(name)}
        return self._shown_revision(name)

    def _shown_app(self) -> Json:
        shown = copy.deepcopy(self.app)
        assert shown is not None
        properties = shown["properties"]
        busy = self.clock.seconds < self.put_at + 1
        properties["provisioningState"] = "InProgress" if busy else "Succeeded"
        properties["runningStatus"] = "Running"
        properties["environmentId"] = self.habits.ids(properties["environmentId"])
        configuration = properties["configuration"]
        configuration["ingress"]["fqdn"] = "iris-staging.example"
        configuration["secrets"] = [{"name": each["name"]} for each in configuration["secrets"]]
        users = shown["identity"]["userAssignedIdentities"]
        shown["identity"]["userAssignedIdentities"] = {
            self.habits.ids(name): {"principalId": "p"} for name in users
        }
        if self.habits.unknown:
            properties["patchingMode"] = "Automatic"
            properties["configuration"]["tomorrow"] = None
        return shown

    def _shown_revision(self, name: str) -> Json:
        revision = self.revisions[name]
        age = self.clock.seconds - revision["since"]
        digit = _digit(revision["template"]["containers"][0]["image"])
        weights = {
            share["revisionName"]: share["weight"]
            for share in self._configuration()["ingress"]["traffic"]
        }
        running = age >= START_SECONDS + self.habits.pull_seconds and digit != CRASHES
        return {
            "name": name,
            "properties": {
                "active": revision["active"],
                "createdTime": f"{revision['since']:09.0f}",
                "provisioningState": "Provisioned",
                "runningState": "Running" if running else "Processing",
                "healthState": "Healthy" if running else "None",
                "template": copy.deepcopy(revision["template"]),
                "fqdn": f"{name}.example",
                "trafficWeight": weights.get(name, 0),
                "replicas": 1,
            },
        }

    def _replicas(self, name: str) -> list[Json]:
        revision = self.revisions[name]
        age = self.clock.seconds - revision["since"]
        if not revision["active"] or age < self.habits.no_view_seconds:
            return []
        digit = _digit(revision["template"]["containers"][0]["image"])
        restarts = int(age // CRASH_SECONDS) if digit == CRASHES else 0
        container = {"name": "service", "restartCount": restarts, "ready": digit != CRASHES}
        return [{"name": "one", "properties": {"createdTime": "1", "containers": [container]}}]

    def _configuration(self) -> Json:
        assert self.app is not None
        found: Json = self.app["properties"]["configuration"]
        return found


class ArmChecks:
    """What the service answers, which the digit of its image decides."""

    def __init__(self, arm: Arm) -> None:
        self._arm = arm

    def ready(self, address: str, headers: Mapping[str, str]) -> str | None:
        if self._arm.answering(address, headers) in (BEFORE, GOOD):
            return None
        return "nothing answers"

    def verify(self, address: str, headers: Mapping[str, str], wanted: Release | None) -> str:
        digit = self._arm.answering(address, headers)
        if not digit:
            raise NotUp("nothing answers", "none")
        if wanted is not None and wanted.revision != digit * 40:
            error = WrongRelease(f"it runs {digit}", "none")
            error.found = (digit * 40, f"sha256:{digit * 64}")
            raise error
        self._arm.proved(address, headers)
        return "verified"

    def explain(self, error: EngineError) -> EngineError:
        return error


@dataclass
class Deploys:
    """One environment on this Azure, and runs that deploy to it."""

    arm: Arm
    kind: str
    say: Say = field(default_factory=Say)
    count: int = 0

    def target(self, **fields: object) -> Target:
        """The target of the environment with these fields."""
        clock = self.arm.clock
        az, where = Az(self.say), self._environment(**fields)
        if isinstance(where, GroupEnvironment):
            fleet = Fleet(az, where, PLACES, sleep=clock.sleep, now=clock.now)
            return fleet if where.beside else ContainerInstances(az, where, PLACES, fleet)
        if not isinstance(where, AppEnvironment):
            return kind_of(where).target(az, where, PLACES)
        place = (PLACES.subscription, where.resource_group, where.name)
        client = AppClient(az, *place, sleep=clock.sleep, clock=clock.monotonic)
        return ContainerApps(az, where, PLACES, client)

    def journal(self) -> ArmJournal:
        """The environment's records."""
        return ArmJournal(Az(self.say), "S", self._environment())

    def _environment(self, **fields: object) -> Environment:
        if self.kind == "fleet":
            return environment("aci", **{"copies": 2, "switch": "beside", **fields})
        return environment(self.kind, **fields)

    def site(self, process: str | None = None, **fields: object) -> Site:
        """One run of a deploy; ``process`` as in ``engine.deploy.rollout.signs``."""
        self.count += 1
        return Site(
            service="iris-staging",
            target=self.target(**fields),
            journal=self.journal(),
            checks=ArmChecks(self.arm),
            limits=Limits(start_seconds=300, lease_seconds=45),
            say=self.say,
            guard=Guard(self.say),
            by="tester",
            process=process,
            secrets={"API_KEYS": SECRET, STORAGE_KEY: SECRET},
            clock=self.arm.clock,
            owner=f"run-{self.count}",
        )


def installed(patch: pytest.MonkeyPatch, arm: Arm) -> None:
    """Let the machinery start this Azure in place of `az`, and live in its time."""

    class Time:
        monotonic = staticmethod(arm.clock.monotonic)
        sleep = staticmethod(arm.clock.sleep)
        time = staticmethod(time.time)

    def no_lines(*_: Any) -> Generator[str, None, Finished]:
        yield from ()
        return Finished(0, "", "")

    patch.setattr(az_module, "finish", arm.finish)
    patch.setattr(az_module, "follow", no_lines)
    patch.setattr(az_module, "_program", lambda: "az")
    patch.setattr(az_module, "time", Time)
    patch.setattr(journal_module, "time", Time)


def take(arm: Arm, owner: str) -> bool:
    """Another run takes the rollout that is open; whether there is one."""
    for name, deployment in arm.records.items():
        record = _record(deployment)
        if record and record["phase"] == "started":
            record["owner"] = owner
            _write(arm, name, record)
            return True
    return False


def change_records(arm: Arm, change: Callable[[Json], object]) -> None:
    """Change every record that is there."""
    for name, deployment in arm.records.items():
        if record := _record(deployment):
            change(record)
            _write(arm, name, record)


def _write(arm: Arm, name: str, record: Json) -> None:
    output = {"record": {"type": "string", "value": json.dumps(record)}}
    arm.records[name]["properties"] = {"provisioningState": "Succeeded", "outputs": output}


def _record(deployment: Json) -> Json | None:
    output = deployment["properties"]["outputs"].get("record")
    found: Json | None = json.loads(output["value"]) if output else None
    return found


def _printed(call: Call, command: Sequence[str], error: Refused) -> str:
    """As `az` prints an error: of `az rest` with the body, of other commands in a line."""
    if "rest" not in command:
        return f"ERROR: ({error.code}) {error.message}\nCode: {error.code}\nMessage: x"
    phrases = {
        **{400: "Bad Request", 403: "Forbidden", 404: "Not Found", 409: "Conflict"},
        **{429: "Too Many Requests", 500: "Internal Server Error"},
    }
    body = json.dumps({"error": {"code": error.code, "message": error.message}})
    return f"ERROR: {phrases[error.status]}({body})"


def _container(group: Json) -> Json:
    found: Json = group["properties"]["containers"][0]["properties"]
    return found


def _size(group: Json) -> Any:
    return _container(group)["resources"]


def _digit(image: str) -> str:
    return image[-1]


def _merged(old: Any, new: Any) -> Any:
    """JSON Merge Patch, which Container Apps documents for PATCH."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}


def is_complete(arm: Arm, digit: str) -> bool:
    """This release serves with its secret, and its tags name it; no rollout is open."""
    if digit == "":
        return arm.there() is None and "started" not in arm.phases()
    there = arm.there()
    return (
        arm.serving() == digit
        and SECRET in arm.secrets()
        and there is not None
        and there["tags"][names.TAG_IMAGE] == f"sha256:{digit * 64}"
        and "started" not in arm.phases()
    )
