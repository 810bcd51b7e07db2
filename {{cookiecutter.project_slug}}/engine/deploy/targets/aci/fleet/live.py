"""What Azure says of the groups of one colour, as one ``Live``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.deploy.rollout import marks
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.aci.fleet.document import SINGLE, of_members
from engine.deploy.targets.aci.fleet.profile import OWN_TAGS, endpoints_of, shared_host
from engine.deploy.targets.aci.live import live_of
from engine.deploy.targets.base import Live

Json = dict[str, Any]


def fleet_live(
    environment: GroupEnvironment, profile: Json, slot: str, groups: Mapping[str, Json | None]
) -> Live:
    """The colour that was applied last. ``groups`` are those it has to have, by name; None: not
    there.
    """
    there = [group for group in groups.values() if group is not None]
    lives = {str(group["name"]): live_of(group) for group in there}
    tags = _tags(profile, slot, there)
    each = list(lives.values())
    stopped = bool(each) and all(live.stopped for live in each)
    broken = next((f"{name}: {live.failure}" for name, live in lives.items() if live.failure), None)
    starts = [live.since for live in each if live.since]
    return Live(
        document=of_members(environment, there, slot, tags),
        tags=tags,
        address=_address(environment),
        state=_state(profile, slot, groups, lives),
        settled=all(live.settled for live in each),
        running=len(there) == len(groups) > 0 and all(live.running for live in each),
        stopped=stopped,
        failure=broken,
        restarts=sum(live.restarts for live in each),
        since=max(starts, default=None),
        copies=tuple(lives),
    )


def _tags(profile: Json, slot: str, there: list[Json]) -> dict[str, str]:
    """Those of the last rollout: the profile's, unless the single group was deployed in place
    since.
    """
    shared = {key: tag for key, tag in (profile.get("tags") or {}).items() if key not in OWN_TAGS}
    own = dict(there[0].get("tags") or {}) if slot == SINGLE and there else {}
    return own if (marks.rollout(own) or "") > (marks.rollout(shared) or "") else shared


def _address(environment: GroupEnvironment) -> str:
    host = shared_host(environment)
    if environment.https:
        return f"https://{host}"
    return f"http://{host}" if environment.port == 80 else f"http://{host}:{environment.port}"


def _state(
    profile: Json, slot: str, groups: Mapping[str, Json | None], lives: Mapping[str, Live]
) -> str:
    if lives and all(live.stopped for live in lives.values()):
        return "stopped"
    what = "the single group" if slot == SINGLE else slot
    served = endpoints_of(profile).keys()
    part = "serves" if served and served <= groups.keys() else "does not serve yet"
    words = [
        f"{what} {part}",
        f"{sum(live.running for live in lives.values())} of {len(groups)} run",
    ]
    words += [f"{name}: {live.state}" for name, live in lives.items() if not live.running]
    return ", ".join(words)
