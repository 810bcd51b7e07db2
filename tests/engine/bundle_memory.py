"""An endpoint's Azure in memory, for the kind of place in ``tests/engine/places/bundle``.

It watches that no request without a header reaches a deployment that nobody has verified.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.engine.arm_memory import CRASHES, START_SECONDS, Arm, Call, Json, Refused

URL = "https://iris-staging.endpoints.example"
HEADER = "x-deployment"


@dataclass
class BundleArm(Arm):
    """Everything that Azure has of one endpoint."""

    endpoint: Json | None = None
    deployments: dict[str, Json] = field(default_factory=dict)
    puts: dict[str, float] = field(default_factory=dict)
    verified: set[tuple[str, float]] = field(default_factory=set)

    def there(self) -> Json | None:
        return self.endpoint

    def serving(self) -> str:
        return self.answering(URL, {})

    def answering(self, address: str, headers: Mapping[str, str]) -> str:
        if self.endpoint is None or address != URL:
            return ""
        colour = headers.get(HEADER) or next(iter(self.endpoint["traffic"]), "")
        made = self.deployments.get(colour)
        digit = made["document"]["image"][-1] if made else ""
        return digit if made and self._runs(digit, self.puts[colour]) else ""

    def proved(self, address: str, headers: Mapping[str, str]) -> None:
        colour = headers.get(HEADER, "")
        self.verified.add((colour, self.puts.get(colour, -1.0)))

    def secrets(self) -> set[str]:
        served = [self.deployments[each] for each in (self.endpoint or {"traffic": {}})["traffic"]]
        return {value for each in served for value in each["secrets"].values()}

    def _call(self, arguments: list[str], stdin: str | None) -> Call:
        call = super()._call(arguments, stdin)
        resource = "record" if call.resource == "record" else "profile"
        return Call(call.number, call.method, call.url, resource, call.body)

    def _remember(self, call: Call) -> None:
        if self.habits.stale_seconds and call.resource == "profile":
            until = self.clock.seconds + self.habits.stale_seconds
            self.shown_before[call.url] = (until, copy.deepcopy(self._shown(call)))

    def _answer(self, call: Call) -> Any:
        if call.resource == "record":
            return super()._answer(call)
        if call.method == "get":
            shown = self._seen(call.url, self._shown(call))
            if shown is None:
                raise Refused(404, "ResourceNotFound", "There is no such thing.")
            return shown
        colour = _colour(call)
        if call.method == "delete" and not colour:
            self.endpoint = None
            self.deployments.clear()
        elif call.method == "delete":
            assert self.endpoint is not None
            assert colour not in self.endpoint["traffic"], "it serves"
            self.deployments.pop(colour, None)
        elif colour:
            if self.endpoint is not None and colour in self.endpoint["traffic"]:
                self.violations.append(f"{colour} is changed while it serves")
            self.deployments[colour], self.puts[colour] = call.body, self.clock.seconds
        else:
            self.endpoint = {"url": URL, **(self.endpoint or {}), **call.body}
            for each in call.body.get("traffic") or {}:
                if (each, self.puts.get(each, -2.0)) not in self.verified:
                    self.violations.append(f"{each} serves and is not verified")
        return None

    def _shown(self, call: Call) -> Json | None:
        colour = _colour(call)
        if not colour:
            return copy.deepcopy(self.endpoint)
        made = copy.deepcopy(self.deployments.get(colour))
        if made is None:
            return None
        del made["secrets"]
        started = self.clock.seconds >= self.puts[colour] + START_SECONDS
        crashed = made["document"]["image"][-1] == CRASHES
        made["state"] = "Creating" if not started else "Failed" if crashed else "Running"
        return made


def _colour(call: Call) -> str:
    return call.url.partition("?")[0].partition("/endpoints/")[2].partition("/slots/")[2]
