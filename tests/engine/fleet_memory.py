"""A fleet's Azure in memory: several container groups and a Traffic Manager profile.

It watches what the profile may never do: lead to a group that nobody has verified, or to one that
was changed or deleted while a resolver may have its address. See ``FleetArm.violations``.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.deploy.processes import Finished
from engine.deploy.targets.aci.fleet.profile import TTL_SECONDS

from tests.engine.arm_memory import Arm, Call, Habits, Json, Refused
from tests.engine.endpoint_memory import EndpointArm

NAME = "iris-staging"
SHARED = f"http://{NAME}.trafficmanager.net:8000"


@dataclass
class FleetArm(Arm):
    """Everything that Azure has of one fleet."""

    groups: dict[str, Json] = field(default_factory=dict)
    puts: dict[str, float] = field(default_factory=dict)
    profile: Json | None = None
    verified: set[tuple[str, float]] = field(default_factory=set)
    known_until: dict[str, float] = field(default_factory=dict)
    halted: set[str] = field(default_factory=set)
    name_is_free: bool = True
    cores_used: int = 0
    named: str = ""
    one_by_one: threading.RLock = field(default_factory=threading.RLock)

    def finish(
        self, command: Sequence[str], environment: Any, stdin: str | None, limit: float
    ) -> Finished:
        with self.one_by_one:
            return super().finish(command, environment, stdin, limit)

    def there(self) -> Json | None:
        return self.profile if self.profile is not None else self.groups.get(NAME)

    def led_to(self) -> list[str]:
        """The groups that clients reach now."""
        if self.profile is None:
            return [NAME] if NAME in self.groups else []
        return [each["name"] for each in self.profile["properties"]["endpoints"]]

    def serving(self) -> str:
        digits = {self._digit_of(name) for name in self.led_to()}
        return digits.pop() if len(digits) == 1 else ""

    def answering(self, address: str, headers: Mapping[str, str]) -> str:
        if address == SHARED:
            return self.serving()
        return self._digit_of(address.removeprefix("http://").partition(".")[0])

    def proved(self, address: str, headers: Mapping[str, str]) -> None:
        name = address.removeprefix("http://").partition(".")[0]
        if name in self.groups:
            self.verified.add((name, self.puts[name]))

    def secrets(self) -> set[str]:
        groups = [self.groups[name] for name in self.led_to() if name in self.groups]
        variables = [
            each
            for group in groups
            for each in group["properties"]["containers"][0]["properties"]["environmentVariables"]
        ]
        return {each["secureValue"] for each in variables if each.get("secureValue")}

    def _digit_of(self, name: str) -> str:
        group = self.groups.get(name)
        if group is None:
            return ""
        digit = group["properties"]["containers"][0]["properties"]["image"][-1]
        return digit if self._runs(digit, self.puts[name]) else ""

    def _call(self, arguments: list[str], stdin: str | None) -> Call:
        call = super()._call(arguments, stdin)
        url, resource = call.url, call.resource
        body = call.body
        if arguments[0] != "rest":
            url = f"containerGroups/{arguments[arguments.index('--name') + 1]}"
        elif "rafficManager" in url:
            resource = "profile"
            if "--body" in arguments and stdin is None:
                body = json.loads(arguments[arguments.index("--body") + 1])
        return Call(call.number, call.method, url, resource, body)

    def _remember(self, call: Call) -> None:
        if not self.habits.stale_seconds:
            return
        until = self.clock.seconds + self.habits.stale_seconds
        if call.resource == "group":
            self._choose(_name(call))
            shown = copy.deepcopy(self._shown_group())
            self.shown_before[f"group {self.named}"] = (until, shown)
        elif call.resource == "profile" and self.profile is not None:
            self.shown_before["profile"] = (until, self._shown_profile())

    def _seen(self, what: str, now: Any) -> Any:
        return super()._seen(f"group {self.named}" if what == "group" else what, now)

    def _answer(self, call: Call) -> Any:
        if call.resource == "profile":
            return self._profile(call)
        if "/usages?" in call.url:
            cores = {"limit": 10, "currentValue": self.cores_used}
            return {"value": [{"name": {"value": "StandardCores"}, **cores}]}
        return super()._answer(call)

    def _choose(self, name: str) -> None:
        self.named = name
        self.group, self.put_at = self.groups.get(name), self.puts.get(name, -1e9)

    def _group(self, call: Call) -> Any:
        name = _name(call)
        if not name:
            return {"value": [{"name": each} for each in self.groups]}
        if call.method in ("start", "stop"):
            (self.halted.add if call.method == "stop" else self.halted.discard)(name)
            return None
        self._choose(name)
        if call.writes and name in self.groups:
            self._may_change(name)
        try:
            answer = super()._group(call)
            if call.writes:
                self.groups.pop(name, None)
                if self.group is not None:
                    self.groups[name], self.puts[name] = self.group, self.put_at
            return answer
        finally:
            self.group = None

    def _shown_group(self) -> Json | None:
        shown = super()._shown_group()
        if shown is not None:
            shown["properties"]["ipAddress"]["fqdn"] = f"{self.named}.example"
            if self.named in self.halted:
                shown["properties"]["instanceView"] = {"state": "Stopped"}
        return shown

    def _may_change(self, name: str) -> None:
        if self.clock.off:
            return
        if name in self.led_to():
            self.violations.append(f"{name} is changed while the shared name leads to it")
        elif self.clock.seconds < self.known_until.get(name, -1e9):
            self.violations.append(f"{name} is changed while resolvers may have its address")

    def _profile(self, call: Call) -> Any:
        if "NameAvailability" in call.url:
            return {"nameAvailable": self.name_is_free}
        if call.method == "get":
            shown = self._seen("profile", self._shown_profile())
            if shown is None:
                raise Refused(404, "ResourceNotFound", "The profile was not found.")
            return shown
        if call.method == "delete":
            self.profile = None
        elif call.method == "patch":
            if self.profile is None:
                raise Refused(404, "ResourceNotFound", "The profile was not found.")
            assert set(call.body) == {"tags"}
            self.profile["tags"] = dict(call.body["tags"])
        else:
            self._lead(copy.deepcopy(call.body))
        return None

    def _lead(self, body: Json) -> None:
        before = self.led_to() if self.profile is not None else []
        for each in body["properties"]["endpoints"]:
            name = each["name"]
            assert each["properties"]["target"] == f"{name}.example"
            known = name in before or name == NAME or not before
            if not known and (name, self.puts.get(name, -1.0)) not in self.verified:
                self.violations.append(f"the shared name leads to {name}, which is not verified")
        self.profile = {"name": NAME, **body}
        for name in set(before) - set(self.led_to()):
            self.known_until[name] = self.clock.seconds + 2 * TTL_SECONDS

    def _shown_profile(self) -> Json | None:
        shown = copy.deepcopy(self.profile)
        if shown is not None and self.habits.unknown:
            shown["properties"]["maxReturn"] = None
        return shown


def arm_of(kind: str, habits: Habits | None = None) -> Arm:
    """An empty Azure for one kind of place."""
    arms: dict[str, type[Arm]] = {"fleet": FleetArm, "azureml": EndpointArm}
    made = arms.get(kind, Arm)
    return made(habits=habits or Habits())


def _name(call: Call) -> str:
    """The group that a request is about; "" for a list of all."""
    return call.url.partition("?")[0].partition("containerGroups")[2].strip("/")


def names_of(groups: Sequence[str]) -> list[str]:
    """Names of groups without that of the environment."""
    return sorted(each.removeprefix(f"{NAME}-") for each in groups)
