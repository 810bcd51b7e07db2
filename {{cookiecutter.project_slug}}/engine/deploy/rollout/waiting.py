"""Wait for what Azure was asked for, and tell how it goes and what the service's log says."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext

from engine.deploy.az import AzError
from engine.deploy.diagnosis.words import GAVE_UP, complaints
from engine.deploy.journal import Record
from engine.deploy.rollout.ownership import require_there, see
from engine.deploy.rollout.signs import Signs
from engine.deploy.rollout.site import FAULT_SECONDS, NotUp, Site
from engine.deploy.targets.base import Live
from engine.deploy.verify import may_pass
from engine.errors import EngineError

TELL_SECONDS = 10.0
LISTEN_SECONDS = 8.0


class Listener:
    """Reads the service's log now and then: Azure lets no request through to what is not ready."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._last = site.clock.monotonic()

    def listen_if_due(self) -> None:
        """Read it if that is some time ago.

        Raises:
            NotUp: the service says that it gave up.
        """
        now = self._site.clock.monotonic()
        if now < self._last + LISTEN_SECONDS:
            return
        self._last = now
        try:
            said = complaints(list(self._site.target.logs(follow=False)))
        except EngineError:
            return
        final = next((text for text in said if text.startswith(GAVE_UP)), None)
        if final is not None:
            raise NotUp(
                f"{self._site.target.what} gave up: {final}",
                "correct what it says, build and deploy again; `make check` looks at the models",
            )


class Teller:
    """One line when something changes, and every ten seconds."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._line = ""
        self._told = 0.0

    def tell(self, line: str) -> None:
        """Say the line, if it is new or was said some time ago."""
        now = self._site.clock.monotonic()
        if line != self._line or now >= self._told + TELL_SECONDS:
            self._site.say.step(line)
            self._line, self._told = line, now


FIRST_POLL_SECONDS = 0.5
POLL_SECONDS = 3.0
LONGEST_POLL_SECONDS = 15.0
HOPELESS_LOOKS = 2
VISIBLE_SECONDS = 120.0
"""How long Azure may show what was there before a change that it has accepted. It documents no
time; this is far more than has been reported."""


def wait_until_settled(site: Site) -> Live | None:
    """Wait while Azure still changes something; what is there then, or None.

    What cannot come up is not waited for: Azure goes on trying for half an hour.

    Raises:
        NotUp: Azure is not done in time.
    """
    give_up = site.clock.monotonic() + site.limits.start_seconds
    teller = Teller(site)
    hopeless = 0
    while (live := site.read()) is not None and not live.settled:
        hopeless = hopeless + 1 if live.failure else 0
        if hopeless >= HOPELESS_LOOKS:
            break
        if site.clock.monotonic() >= give_up:
            raise NotUp(
                f"Azure is still changing {site.target.what} after {site.limits.start_seconds} s: "
                f"{live.state}",
                "wait, or delete it in the portal, and run this again",
            )
        teller.tell(live.state)
        site.clock.sleep(POLL_SECONDS)
    return live


def wait_until_seen(site: Site, record: Record, state: str | None) -> Live:
    """Wait until Azure shows the change that this run has asked for; see ``see``.

    Raises:
        NotUp: it does not in time.
        TakenOver: what is there belongs to another rollout.
    """
    give_up = site.clock.monotonic() + VISIBLE_SECONDS
    teller = Teller(site)
    while (live := see(site, record, state)) is None:
        if site.clock.monotonic() >= give_up:
            raise NotUp(
                f"Azure took a change of {site.target.what} and does not show it after "
                f"{VISIBLE_SECONDS:.0f} s",
                "look at it in the portal: it may have been deleted; then run this again",
            )
        teller.tell(f"Azure does not show the change of {site.target.what} yet")
        site.clock.sleep(POLL_SECONDS)
    return live


def wait_until_ready(
    site: Site,
    record: Record | None = None,
    state: str | None = None,
    signs: Signs | None = None,
    before: Live | None = None,
    until: float = math.inf,
) -> Live:
    """Wait until Azure is done, the service runs and says that it is ready.

    Args:
        record: of the rollout it must belong to; None: no rollout is under way.
        state: see ``see``.
        signs: gives signs of life meanwhile.
        before: what was there before the change: its failure is not that of the new release.
        until: the time at which waiting ends at the latest.

    Raises:
        NotUp: it cannot come up, or did not in time.
        EngineError: the service says that it never will be ready.
        TakenOver: what is there belongs to another rollout.
    """
    give_up: float | None = None
    teller = Teller(site)
    listener = Listener(site)
    pause = FIRST_POLL_SECONDS
    hopeless = 0
    while True:
        live = wait_until_seen(site, record, state) if record else require_there(site)
        if give_up is None:
            give_up = min(until, site.clock.monotonic() + site.limits.start_seconds)
        # The first look after a change may still show the containers that were there before.
        hopeless = hopeless + 1 if live.failure and not _former(before, live) else 0
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
        if signs is not None:
            signs.beat_if_due()
        if live.settled:
            listener.listen_if_due()
        site.clock.sleep(pause)
        pause = min(pause * 2, POLL_SECONDS)


def patiently(
    site: Site,
    act: Callable[[], None],
    check: Callable[[], object],
    give_up: float,
    *,
    stoppable: bool = False,
) -> None:
    """Ask Azure for a change, again as long as it refuses because of an earlier one, and for some
    minutes after a fault of Azure's or of the network.

    ``check`` is called before each further try and raises to give up. ``give_up`` is the time at
    which there is no further try; see ``Site.patience``. ``stoppable``: the change is a new one. A
    signal ends the wait, never while an answer is outstanding, and a missing role is final; what
    puts a release back waits for a role that does not hold yet.

    Raises:
        AzError: Azure refused for another reason, or for too long.
    """
    teller, pause = Teller(site), POLL_SECONDS
    fault_ends = site.clock.monotonic() + FAULT_SECONDS
    while True:
        try:
            act()
        except AzError as error:
            now = site.clock.monotonic()
            fault = may_pass(error) or (error.forbidden and not stoppable)
            if now >= give_up or not (error.transitioning or (fault and now < fault_ends)):
                raise
            why = "the one before goes on" if error.transitioning else error.message
        else:
            return
        teller.tell(f"Azure takes no change of {site.target.what} yet: {why}")
        with site.guard.interruptible() if stoppable else nullcontext():
            site.clock.sleep(pause)
        pause = min(pause * 2, LONGEST_POLL_SECONDS)
        check()


def remove(
    site: Site,
    shown: Live | None,
    check: Callable[[], object],
    give_up: float,
    *,
    stoppable: bool = False,
) -> None:
    """Delete what is there, and wait until Azure shows it no more; see ``patiently``.

    ``shown`` is what was read before.
    """

    def delete() -> None:
        try:
            site.target.delete()
        except AzError as error:
            if not error.missing:
                raise

    patiently(site, delete, check, give_up, stoppable=stoppable)
    visible = site.clock.monotonic() + VISIBLE_SECONDS
    while (live := site.read()) is not None and site.clock.monotonic() < visible:
        if shown is not None and live.tags != shown.tags:
            return
        site.clock.sleep(POLL_SECONDS)


def _former(before: Live | None, live: Live) -> bool:
    """Whether the failing container is still the one of before, which may have failed once more."""
    if before is None or before.failure is None:
        return False
    return before.failure == live.failure or 0 < before.restarts <= live.restarts


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
    addresses = site.asked(site.target.candidate_addresses)
    if not addresses:
        return f"{live.state}, without an address yet"
    headers = site.asked(site.target.candidate_headers)
    authority = site.asked(site.target.candidate_authority)
    reasons = (site.checks.ready(address, headers, authority) for address in addresses)
    reason = next(filter(None, reasons), None)
    return None if reason is None else f"{live.state}; {reason}"
