"""The Traffic Manager profile of a fleet: which colour serves, and the tags of its last rollout.

Traffic Manager answers questions of DNS: a client may go on asking a former answer for as long as
the TTL says. Azure docs: Traffic Manager endpoint monitoring; routing methods; the REST reference
of profiles.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.deploy.az import Az
from engine.deploy.targets.aci import edge
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.base import Places
from engine.errors import EngineError

API_VERSION = "2022-04-01"
DOMAIN = "trafficmanager.net"
TTL_SECONDS = 30
"""How long a resolver may keep an answer; Traffic Manager's own default."""
GRACE = timedelta(seconds=2 * TTL_SECONDS + 60)
"""How long the old colour serves after a switch: for resolvers that keep an answer for twice its
time, and a minute for requests on their way."""
SLOT, COPIES, SWITCHED = "fleet-slot", "fleet-copies", "fleet-switched"
"""Tags of the profile: the colour that was applied last, of how many groups, and when another
colour began to serve. They are no part of a release's document."""
OWN_TAGS = (SLOT, COPIES, SWITCHED)

_VISIBLE_SECONDS, _PAUSE_SECONDS = 120.0, 3.0
_EXTERNAL = "Microsoft.Network/trafficManagerProfiles/externalEndpoints"
Json = dict[str, Any]


def shared_host(environment: GroupEnvironment) -> str:
    """The shared name: the label, which is unique in all of Azure, and Traffic Manager's domain."""
    return f"{environment.dns_label}.{DOMAIN}"


class Profile:
    """Reads and writes one profile; what is written is read back before anything relies on it."""

    def __init__(
        self,
        az: Az,
        environment: GroupEnvironment,
        places: Places,
        sleep: Callable[[float], object],
    ) -> None:
        self._az = az
        self._environment = environment
        self._sleep = sleep
        self._url = (
            f"/subscriptions/{places.subscription}/resourceGroups/{environment.resource_group}"
            f"/providers/Microsoft.Network/trafficManagerProfiles/{environment.name}"
            f"?api-version={API_VERSION}"
        )

    def get(self) -> Json | None:
        """The profile as Azure shows it; None: there is none."""
        found: Json | None = self._az.find("rest", "--method", "get", "--url", self._url)
        return found

    def put(self, endpoints: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Write the whole profile in one request.

        Args:
            endpoints: host names by the names of their groups; exactly these serve afterwards.
            tags: exactly these.
        """
        self._write("put", document(self._environment, endpoints, tags), tags, endpoints)

    def patch(self, tags: Mapping[str, str]) -> None:
        """Write the tags, to exactly these; what serves is not touched."""
        self._write("patch", {"tags": dict(tags)}, tags, None)

    def delete(self) -> None:
        """Remove it; nothing if there is none."""
        if self.get() is not None:
            self._az.change("rest", "--method", "delete", "--url", self._url)

    def is_free(self) -> bool:
        """Whether nobody in Azure has the shared name."""
        url = (
            "/providers/Microsoft.Network/checkTrafficManagerNameAvailability"
            f"?api-version={API_VERSION}"
        )
        body = {"name": self._environment.dns_label, "type": _EXTERNAL.rpartition("/")[0]}
        ask = ("rest", "--method", "post", "--url", url, "--body", json.dumps(body))
        return bool(self._az.json(*ask)["nameAvailable"])

    def _write(
        self, method: str, body: Json, tags: Mapping[str, str], served: Mapping[str, str] | None
    ) -> None:
        request = ("rest", "--method", method, "--url", self._url, "--body", "@-")
        self._az.change(*request, stdin=json.dumps(body))
        waited = 0.0
        while not _shows(shown := self.get(), tags, served):
            if waited >= _VISIBLE_SECONDS:
                raise EngineError(
                    f"Azure took a change of the Traffic Manager profile {self._environment.name} "
                    f"and does not show it after {_VISIBLE_SECONDS:.0f} s: {_said(shown)}",
                    "look at it in the portal, then run this again",
                )
            self._sleep(_PAUSE_SECONDS)
            waited += _PAUSE_SECONDS


def document(
    environment: GroupEnvironment, endpoints: Mapping[str, str], tags: Mapping[str, str]
) -> Json:
    """The profile as Azure takes it. It probes readiness, so a group that is not ready is left."""
    return {
        "location": "global",
        "tags": dict(tags),
        "properties": {
            "profileStatus": "Enabled",
            "trafficRoutingMethod": "Weighted",
            "dnsConfig": {"relativeName": environment.dns_label, "ttl": TTL_SECONDS},
            "monitorConfig": {
                "protocol": "HTTP",
                # Its probes over HTTPS say no name, so no certificate could be chosen.
                "port": edge.HTTP if environment.https else environment.port,
                "path": environment.probes.readiness.path,
                "intervalInSeconds": 30,
                "timeoutInSeconds": 10,
                "toleratedNumberOfFailures": 1,
            },
            "endpoints": [
                {
                    "name": name,
                    "type": _EXTERNAL,
                    "properties": {"target": host, "endpointStatus": "Enabled", "weight": 1},
                }
                for name, host in endpoints.items()
            ],
        },
    }


def endpoints_of(profile: Json) -> dict[str, str]:
    """What a profile leads to: host names by the names of their groups."""
    listed = profile["properties"].get("endpoints") or []
    return {each["name"]: str(each["properties"]["target"]) for each in listed}


def grace_left(profile: Json, now: datetime) -> float:
    """Seconds until no client can have the address of what served before any more."""
    try:
        switched = datetime.fromisoformat(profile["tags"][SWITCHED])
    except (KeyError, TypeError, ValueError):
        return 0.0
    # A clock that was wrong makes nobody wait for longer than the whole time.
    return max(0.0, min(GRACE, switched + GRACE - now).total_seconds())


def moment(now: datetime) -> str:
    """A time in the format of the tag SWITCHED."""
    return now.astimezone(UTC).isoformat(timespec="seconds")


def _shows(profile: Json | None, tags: Mapping[str, str], served: Mapping[str, str] | None) -> bool:
    if profile is None or (profile.get("tags") or {}) != dict(tags):
        return False
    return served is None or endpoints_of(profile) == dict(served)


def _said(profile: Json | None) -> str:
    return "there is none" if profile is None else f"its tags are {profile.get('tags')}"
