"""Wait for what Azure was asked for, and tell how it goes."""

from __future__ import annotations

from deploy.rollout.ownership import require_ours, require_there
from deploy.rollout.pulse import Pulse
from deploy.rollout.site import NotUp, Site
from deploy.rollout.telling import Listener, Teller
from deploy.targets.base import Live

FIRST_POLL_SECONDS = 0.5
POLL_SECONDS = 3.0
HOPELESS_LOOKS = 2


def wait_until_settled(site: Site) -> Live | None:
    """Wait while Azure still changes something; what is there then, or None.

    What cannot come up is not waited for: Azure goes on trying for half an hour.

    Raises:
        NotUp: it did not come to rest in time.
    """
    give_up = site.clock.monotonic() + site.limits.start_seconds
    teller = Teller(site)
    hopeless = 0
    while (live := site.target.read()) is not None and not live.settled:
        hopeless = hopeless + 1 if live.failure else 0
        if hopeless >= HOPELESS_LOOKS:
            break
        if site.clock.monotonic() >= give_up:
            raise NotUp(
                f"{site.target.what} does not come to rest: {live.state}",
                "Azure is still changing it; wait, or delete it in the portal, and run this again",
            )
        teller.tell(live.state)
        site.clock.sleep(POLL_SECONDS)
    return live


def wait_until_ready(site: Site, rollout_id: str | None) -> Live:
    """Wait until Azure is done, the service runs and says that it is ready.

    Args:
        rollout_id: whose it must be while it is under way; None: whoever's, nothing is under way.

    Raises:
        NotUp: it cannot come up, or did not in time.
        DeployError: the service says that it never will be ready.
        TakenOver: what is there belongs to another rollout.
    """
    give_up = site.clock.monotonic() + site.limits.start_seconds
    teller, pulse = Teller(site), Pulse(site, rollout_id) if rollout_id else None
    listener = Listener(site)
    pause = FIRST_POLL_SECONDS
    hopeless = 0
    while True:
        live = require_ours(site, rollout_id) if rollout_id else require_there(site)
        # The first look after a change may still show the containers that were there before.
        hopeless = hopeless + 1 if live.failure else 0
        if hopeless >= HOPELESS_LOOKS:
            raise NotUp(
                f"{site.target.what}: {live.failure}",
                "its log says why; `make run-image` starts the same image here",
            )
        obstacle = _obstacle(site, live)
        if obstacle is None:
            return live
        if site.clock.monotonic() >= give_up:
            raise NotUp(
                f"{site.target.what} is not ready after {site.limits.start_seconds} s: {obstacle}",
                "read its log; a large model may need a longer rollout.start_seconds",
            )
        teller.tell(obstacle)
        if live.settled:
            if pulse is not None:
                pulse.beat_if_due(live)
            listener.listen_if_due()
        site.clock.sleep(pause)
        pause = min(pause * 2, POLL_SECONDS)


def wait_until_stopped(site: Site) -> None:
    """Wait until Azure has ended what it was asked to stop: until then it bills.

    Raises:
        NotUp: it still runs, or it is gone.
    """
    give_up = site.clock.monotonic() + site.limits.start_seconds
    while not (live := require_there(site)).stopped:
        if site.clock.monotonic() >= give_up:
            raise NotUp(f"{site.target.what} does not stop: {live.state}", "stop it in the portal")
        site.clock.sleep(POLL_SECONDS)


def _obstacle(site: Site, live: Live) -> str | None:
    """Why it is not up yet; None when it is."""
    if not live.settled or not live.running:
        return live.state
    address = site.target.candidate_address()
    if address is None:
        return f"{live.state}, without an address yet"
    reason = site.checks.ready(address)
    return None if reason is None else f"{live.state}; {reason}"
