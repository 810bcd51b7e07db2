"""An online endpoint's Azure in memory: a workspace, one endpoint, its deployments.

It watches that clients reach no deployment that nobody has verified, and that none is changed or
deleted while it serves. The rules are those of Microsoft's pages on managed online endpoints.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.engine.arm_memory import CRASHES, START_SECONDS, Arm, Call, Json, Refused

NAME = "iris-staging"
URL = f"https://{NAME}.westeurope.inference.ml.azure.com"
KEY = "planted-endpoint-key"
HEADER = "azureml-model-deployment"
_READS = ("listKeys", "getLogs")
_DEPLOYMENT_NAME = re.compile(r"[a-z](-?[a-z0-9])*")


@dataclass(frozen=True)
class EndpointCall(Call):
    """One request; some POST requests only read."""

    @property
    def writes(self) -> bool:
        return self.method != "get" and not any(each in self.url for each in _READS)


@dataclass
class EndpointArm(Arm):
    """Everything that Azure has of one endpoint. ``merges``: a PATCH leaves tags that it does not
    name.
    """

    endpoint: Json | None = None
    deployments: dict[str, Json] = field(default_factory=dict)
    versions: dict[str, Json] = field(default_factory=dict)
    puts: dict[str, float] = field(default_factory=dict)
    verified: set[tuple[str, float]] = field(default_factory=set)
    merges: bool = True
    workspace: Json | None = field(
        default_factory=lambda: {
            "location": "westeurope",
            "properties": {"provisioningState": "Succeeded"},
        }
    )

    def there(self) -> Json | None:
        return self.endpoint

    def serving(self) -> str:
        return self.answering(URL, {"Authorization": f"Bearer {KEY}"})

    def answering(self, address: str, headers: Mapping[str, str]) -> str:
        if address != URL or headers.get("Authorization") != f"Bearer {KEY}":
            return ""
        shares = self._traffic()
        name = headers.get(HEADER) or max(shares, key=lambda each: shares[each], default="")
        made = self.deployments.get(name)
        digit = self._digit_of(made) if made else ""
        return digit if made and self._runs(digit, self.puts[name]) else ""

    def proved(self, address: str, headers: Mapping[str, str]) -> None:
        name = headers.get(HEADER, "")
        self.verified.add((name, self.puts.get(name, -1.0)))

    def secrets(self) -> set[str]:
        served = [self.deployments[each]["properties"] for each in self._traffic()]
        return {value for each in served for value in each["environmentVariables"].values()}

    def _traffic(self) -> dict[str, int]:
        shares = self.endpoint["properties"]["traffic"] if self.endpoint else {}
        return {name: share for name, share in shares.items() if share}

    def _digit_of(self, deployment: Json) -> str:
        version = self.versions[deployment["properties"]["environmentId"]]
        return str(version["properties"]["image"][-1])

    def _call(self, arguments: list[str], stdin: str | None) -> Call:
        call = super()._call(arguments, stdin)
        resource = "record" if call.resource == "record" and _is_record(call.url) else "profile"
        return EndpointCall(call.number, call.method, call.url, resource, call.body)

    def _remember(self, call: Call) -> None:
        if self.habits.stale_seconds and call.resource == "profile":
            until = self.clock.seconds + self.habits.stale_seconds
            for path in {_path(call), NAME}:
                self.shown_before[path] = (until, copy.deepcopy(self._shown(path)))

    def _answer(self, call: Call) -> Any:
        if call.resource == "record":
            return super()._answer(call)
        path = _path(call)
        if call.writes and self.clock.seconds < self.changed_at + self.habits.busy_seconds:
            raise Refused(409, "Conflict", "another operation is in progress, retry later")
        if call.method == "get" or path.endswith(_READS):
            return self._read(path)
        if "/environments/" in path:
            if self.versions.get(path, call.body) != call.body:
                raise Refused(400, "UserError", "An environment version cannot be changed.")
            self.versions[path] = copy.deepcopy(call.body)
            return None
        self.changed_at = self.clock.seconds
        name = path.partition("/deployments/")[2]
        if name:
            self._change_deployment(call, name)
        else:
            self._change_endpoint(call)
        return None

    def _read(self, path: str) -> Any:
        if path.endswith("/listKeys"):
            return {"primaryKey": KEY, "secondaryKey": "other"}
        if path.endswith("/getLogs"):
            return {"content": "one\ntwo"}
        if path.endswith("/deployments"):
            return {
                "value": [
                    self._seen(
                        f"{NAME}/deployments/{each}", self._shown(f"{NAME}/deployments/{each}")
                    )
                    for each in self.deployments
                ]
            }
        shown = self._seen(path, self._shown(path))
        if shown is None:
            raise Refused(404, "ResourceNotFound", "There is no such thing.")
        return shown

    def _change_deployment(self, call: Call, name: str) -> None:
        if self.endpoint is None:
            raise Refused(404, "ResourceNotFound", "There is no such endpoint.")
        if call.method == "delete":
            if name in self._traffic():
                raise Refused(400, "UserError", "Cannot delete a deployment that has traffic.")
            self.deployments.pop(name, None)
            return
        assert _DEPLOYMENT_NAME.fullmatch(name)
        assert 3 <= len(name) <= 32
        assert call.body["properties"]["environmentId"] in self.versions
        assert None not in call.body["properties"]["environmentVariables"].values()
        if name in self._traffic():
            self.violations.append(f"{name} is changed while it serves")
        self.deployments[name] = copy.deepcopy(call.body)
        self.puts[name] = self.clock.seconds

    def _change_endpoint(self, call: Call) -> None:
        if call.method == "delete":
            self.endpoint = None
            self.deployments.clear()
            return
        body = copy.deepcopy(call.body)
        if call.method == "patch":
            assert self.endpoint is not None
            assert set(body) == {"tags"}
            before = self.endpoint["tags"] if self.merges else {}
            self.endpoint["tags"] = {**before, **body["tags"]}
            return
        if self.endpoint is not None:
            before = {each.lower() for each in self.endpoint["identity"]["userAssignedIdentities"]}
            if before != {each.lower() for each in body["identity"]["userAssignedIdentities"]}:
                raise Refused(400, "UserError", "The identity of an endpoint cannot be changed.")
        shares = body["properties"]["traffic"]
        if sum(shares.values()) not in (0, 100):
            raise Refused(400, "UserError", "The traffic has to be 0 or 100 percent.")
        for name in shares:
            if self._state(name) != "Succeeded":
                raise Refused(400, "UserError", f"{name} is not there, or not ready for traffic.")
            if (name, self.puts[name]) not in self.verified:
                self.violations.append(f"{name} serves and is not verified")
        self.endpoint = body

    def _state(self, name: str) -> str:
        if name not in self.deployments:
            return "missing"
        age = self.clock.seconds - self.puts[name]
        if age < START_SECONDS + self.habits.pull_seconds:
            return "Creating"
        return "Failed" if self._digit_of(self.deployments[name]) == CRASHES else "Succeeded"

    def _shown(self, path: str) -> Json | None:
        if "/environments/" in path:
            return copy.deepcopy(self.versions.get(path))
        if "/onlineEndpoints/" not in path and "/deployments/" not in path and path != NAME:
            return self.workspace
        name = path.partition("/deployments/")[2]
        if not name:
            return self._shown_endpoint()
        made = copy.deepcopy(self.deployments.get(name))
        if made is None:
            return None
        properties = made["properties"]
        properties["provisioningState"] = self._state(name)
        if self.habits.unknown:
            properties["egressPublicNetworkAccess"] = "Enabled"
            properties["requestSettings"]["requestTimeout"] = "PT1M"
            properties["environmentId"] = f"azureml:{properties['environmentId']}"
        created = {"createdAt": f"{self.puts[name]:09.0f}"}
        return {"name": name, "systemData": created, **made}

    def _shown_endpoint(self) -> Json | None:
        shown = copy.deepcopy(self.endpoint)
        if shown is None:
            return None
        busy = self.clock.seconds < self.changed_at + 1
        shown["properties"]["provisioningState"] = "Updating" if busy else "Succeeded"
        shown["properties"]["scoringUri"] = f"{URL}/"
        users = shown["identity"]["userAssignedIdentities"]
        shown["identity"]["userAssignedIdentities"] = {
            self.habits.ids(name): {"principalId": "p"} for name in users
        }
        if self.habits.unknown:
            shown["properties"]["mirrorTraffic"] = {}
            shown["properties"]["compute"] = None
        return {"name": NAME, **shown}


def _path(call: Call) -> str:
    """What a request is about: the endpoint's name and what is below it, or the whole path."""
    path = call.url.partition("?")[0]
    _, found, below = path.partition("/onlineEndpoints/")
    return below if found else path


def _is_record(url: str) -> bool:
    return "Microsoft.Resources/deployments" in url
