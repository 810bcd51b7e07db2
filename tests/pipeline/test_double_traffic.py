"""The double's Traffic Manager: Azure's schema and limits, and a shared name that is cached."""

from __future__ import annotations

import asyncio
import copy
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.azure_double.arm.errors import ArmError
from tests.azure_double.arm.store import Resource
from tests.azure_double.hosts import Hosts, Unreachable
from tests.azure_double.profile_rules import PROFILE, check_rules
from tests.azure_double.shape import check
from tests.azure_double.shared_name import CHECKING, DEGRADED, SharedName
from tests.azure_double.wire import DropConnection, Request, Response

from .commands import Azure, CommandError

Json = dict[str, Any]
ARM = "https://management.azure.com"
VERSION = "2022-04-01"
EXTERNAL = "Microsoft.Network/trafficManagerProfiles/externalEndpoints"


def endpoint(name: str, **properties: object) -> Json:
    target = {"target": f"{name}.hash.westeurope.azurecontainer.io"}
    return {"name": name, "type": EXTERNAL, "properties": {**target, **properties}}


def profile(*endpoints: Json, label: str = "iris-shared") -> Json:
    """A profile that is right, as the specification's example of a PUT with endpoints has it."""
    monitor = {"protocol": "HTTP", "port": 8000, "path": "/readyz", "intervalInSeconds": 10}
    return {
        "location": "global",
        "tags": {"rollout-id": "20261130-1"},
        "properties": {
            "profileStatus": "Enabled",
            "trafficRoutingMethod": "Weighted",
            "dnsConfig": {"relativeName": label, "ttl": 30},
            "monitorConfig": {**monitor, "timeoutInSeconds": 5, "toleratedNumberOfFailures": 1},
            "endpoints": list(endpoints),
        },
    }


def rest(az: Azure, method: str, url: str, body: Json | None = None) -> Any:
    given = [] if body is None else ["--body", json.dumps(body)]
    return az("rest", "--method", method, "--url", f"{ARM}{url}?api-version={VERSION}", *given)


@pytest.mark.slow
def test_a_profile_is_kept_shown_changed_and_deleted(az: Azure) -> None:
    one = f"{az.group('rg')}/providers/Microsoft.Network/trafficManagerProfiles/iris"
    free = "/providers/Microsoft.Network/checkTrafficManagerNameAvailability"
    asked = {"name": "iris-shared", "type": "Microsoft.Network/trafficManagerProfiles"}
    made = rest(az, "put", one, profile(endpoint("blue"), endpoint("green", weight=5)))
    properties = made["properties"]
    assert properties["dnsConfig"]["fqdn"] == "iris-shared.trafficmanager.net"
    assert [each["properties"]["weight"] for each in properties["endpoints"]] == [1, 5]
    states = {each["properties"]["endpointMonitorStatus"] for each in properties["endpoints"]}
    assert states == {CHECKING}
    rest(az, "patch", one, {"tags": {"rollout-state": "verifying"}})
    again = rest(az, "get", one)
    assert again["tags"] == {"rollout-state": "verifying"}
    assert again["properties"] == properties
    assert rest(az, "post", free, asked)["nameAvailable"] is False
    with pytest.raises(CommandError, match="already exists"):
        rest(az, "put", one.replace("/iris", "/other"), profile())
    rest(az, "delete", one)
    assert rest(az, "post", free, asked)["nameAvailable"] is True


def without(path: str) -> Json:
    return changed(path, None)


def changed(path: str, value: object) -> Json:
    body = profile(endpoint("blue"))
    *way, last = path.split(".")
    place: Any = body
    for part in way:
        place = place[int(part) if part.isdigit() else part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return body


REFUSED = {
    "a region": (changed("location", "westeurope"), "must be 'global'"),
    "no ttl's type": (changed("properties.dnsConfig.ttl", "30"), "must be a whole number"),
    "an unknown member": (changed("properties.dnsConfig.name", "x"), "Could not find member"),
    "no monitor": (without("properties.monitorConfig"), "monitorConfig' not found"),
    "a free interval": (changed("properties.monitorConfig.intervalInSeconds", 20), "10 or 30"),
    "a long timeout": (changed("properties.monitorConfig.timeoutInSeconds", 10), "from 5 to 9"),
    "too many failures": (
        changed("properties.monitorConfig.toleratedNumberOfFailures", 10),
        "from 0 to 9",
    ),
    "a weight of 0": (changed("properties.endpoints.0.properties.weight", 0), "from 1 to 1000"),
    "an address": (changed("properties.endpoints.0.properties.target", "203.0.113.7"), "DNS name"),
    "a status": (
        changed("properties.endpoints.0.properties.endpointStatus", "On"),
        "Enabled or Disabled",
    ),
    "a tag with a space": (changed("tags", {"cost center": "1"}), "not allowed"),
    "one target twice": (
        changed(
            "properties.endpoints", [endpoint("a", target="x.y.z"), endpoint("b", target="x.y.z")]
        ),
        "different targets",
    ),
    "another method": (changed("properties.trafficRoutingMethod", "Priority"), "does not model"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_azure_refuses_is_refused(why: str) -> None:
    body, said = REFUSED[why]
    with pytest.raises(ArmError, match=said):
        check(body, PROFILE)
        check_rules(body)


def test_what_is_right_is_taken() -> None:
    check(profile(endpoint("blue")), PROFILE)
    check_rules(profile(endpoint("blue")))


class Place:
    """A shared name in this process, whose endpoints answer with their own names."""

    def __init__(self, *endpoints: Json) -> None:
        self.seconds = 0.0
        self.hosts = Hosts()
        self.down: set[str] = set()
        self.resource = Resource(f"/subscriptions/s/resourceGroups/g/providers/{EXTERNAL}/x", {})
        self.write(*endpoints)
        self.name = SharedName(
            self.resource, self.hosts, lambda: self.seconds, lambda found, weights: found[0]
        )

    def write(self, *endpoints: Json) -> None:
        """Let the profile have these endpoints."""
        body = profile(*copy.deepcopy(endpoints))
        for each in body["properties"]["endpoints"]:
            each["properties"] = {"endpointStatus": "Enabled", "weight": 1, **each["properties"]}
        self.resource.body = body

    def serve(self, *names: str) -> None:
        """Let these groups answer, each with its name."""
        for name in names:

            async def answer(request: Request, name: str = name) -> Response:
                if name in self.down:
                    raise Unreachable(f"{name} is down")
                return Response(200, name.encode(), [])

            self.hosts.add(f"{name}.hash.westeurope.azurecontainer.io", answer)

    def ask(self, connection: object | None = None) -> str:
        """The name of the group that answers now."""

        async def nothing() -> Any:
            return
            yield b""

        place = ("http", "iris-shared.trafficmanager.net", 8000, "/")
        asked = Request("GET", *place, [], nothing(), connection=connection)
        # In a thread: a browser of other tests keeps a loop running in this one.
        with ThreadPoolExecutor(1) as thread:
            answer = thread.submit(asyncio.run, self.name.answer(asked)).result()
        assert isinstance(answer.body, bytes)
        return answer.body.decode()


def test_a_switch_is_seen_when_the_ttl_is_over_and_not_before() -> None:
    place = Place(endpoint("blue"), endpoint("green"))
    place.serve("blue", "green")
    assert place.ask() == "blue"
    place.write(endpoint("green"))
    place.name.changed(place.resource)
    place.seconds = 29.9
    assert place.ask() == "blue"
    place.seconds = 30.1
    assert place.ask() == "green"
    assert place.name.lookups == ["blue", "green"]


class Opened:
    """A client's connection."""


def test_a_connection_leads_where_it_was_opened_to_until_that_ends() -> None:
    place, kept = Place(endpoint("blue"), endpoint("green")), Opened()
    place.serve("blue", "green")
    assert place.ask(kept) == "blue"
    place.write(endpoint("green"))
    place.name.changed(place.resource)
    place.seconds = 300.0
    assert (place.ask(), place.ask(kept)) == ("green", "blue")
    place.down = {"blue"}
    with pytest.raises(DropConnection):
        place.ask(kept)
    assert place.ask(Opened()) == "green"


def test_what_is_disabled_or_fails_its_probes_is_not_answered_unless_all_fail() -> None:
    off = endpoint("blue", endpointStatus="Disabled")
    place = Place(off, endpoint("green"), endpoint("third"))
    place.serve("blue", "green", "third")
    assert place.ask() == "green"
    place.down = {"green"}
    place.seconds += 31
    with pytest.raises(Unreachable):  # one failure is tolerated
        place.ask()
    place.seconds += 31
    assert place.ask() == "third"
    assert place.name.states() == {"blue": "Disabled", "green": DEGRADED, "third": "Online"}
    place.down = {"green", "third"}
    for _ in range(3):
        place.seconds += 31
        with pytest.raises(Unreachable):
            place.ask()
    assert place.name.lookups[-1] == "green"
    place.write(off)
    place.seconds += 31
    with pytest.raises(Unreachable, match="no endpoint is enabled"):
        place.ask()
