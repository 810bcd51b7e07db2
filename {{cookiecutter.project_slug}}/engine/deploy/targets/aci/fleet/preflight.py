"""What only Azure knows about a fleet, asked before anything is changed."""

from __future__ import annotations

from typing import Any

from engine.deploy.az import Az, AzError
from engine.deploy.finding import Finding
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.aci.fleet.groups import Groups
from engine.deploy.targets.aci.fleet.profile import Profile, endpoints_of, shared_host
from engine.deploy.targets.aci.preflight import cores, quota
from engine.deploy.targets.base import Places


def findings(
    az: Az,
    environment: GroupEnvironment,
    places: Places,
    profile: Profile,
    shown: dict[str, Any] | None,
    groups: Groups,
) -> list[Finding]:
    """Is the shared name free, and is there room for a second colour beside the one that serves?

    Args:
        shown: the profile that is there now.
    """
    served = endpoints_of(shown) if shown else {}
    idle = [name for found in groups.coloured().values() for name in found if name not in served]
    wanted = environment.copies * cores(environment)
    room = quota(az, environment, places, wanted, len(idle) * cores(environment))
    return [*_name(environment, profile, shown), *room]


def _name(
    environment: GroupEnvironment, profile: Profile, shown: dict[str, Any] | None
) -> list[Finding]:
    if shown is not None:
        return []
    try:
        if profile.is_free():
            return []
    except AzError as error:
        if error.status in (403, 404):
            # Not every login may ask; then the first deploy finds out.
            return []
        raise
    return [
        Finding(
            "label-taken",
            f"the address {shared_host(environment)} is somebody else's",
            "choose another dns.label: with switch: beside it must be the only one in Azure",
        )
    ]
