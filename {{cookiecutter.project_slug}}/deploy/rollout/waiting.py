"""Wait for a release to come up, tell how it goes, and give signs of life to other deploys."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from deploy.az import AzError
from deploy.config import names
from deploy.diagnosis.words import complaints
from deploy.errors import DeployError
from deploy.rollout import marks
from deploy.rollout.site import NotUp, Site, TakenOver
from deploy.targets.base import Live

FIRST_POLL_SECONDS = 0.5
POLL_SECONDS = 3.0
BEAT_SECONDS = 15.0
TELL_SECONDS = 10.0
HOPELESS_LOOKS = 2
LISTEN_SECONDS = 8.0
GAVE_UP = "not ready: "
"""How the service's log says that a model did not pass its checks: see app/inference/host.py."""

T = TypeVar("T")


def wait_until_settled(site: Site) -> Live | None:
    """Wait while Azure still changes something; what is there then, or None.

    Raises:
        NotUp: it did not come to rest in time.
    """
    give_up = site.clock.monotonic() + site.limits.start_seconds
    teller = _Teller(site)
    while (live := site.target.read()) is not None and not live.settled:
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
    teller, pulse = _Teller(site), Pulse(site, rollout_id) if rollout_id else None
    listener = _Listener(site)
    pause = FIRST_POLL_SECONDS
    hopeless = 0
    while True:
        live = require_ours(site, rollout_id) if rollout_id else require_there(site)
        # The first look after a change may still show the containers that were there before.
        hopeless = hopeless + 1 if live.failure else 0
        if hopeless >= HOPELESS_LOOKS:
            raise NotUp(f"{site.target.what}: {live.failure}", "read its log and its events")
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


def require_ours(site: Site, rollout_id: str) -> Live:
    """What is live, which must belong to this rollout and still be under way.

    Raises:
        TakenOver: it does not, or is not.
        NotUp: there is nothing.
    """
    live = require_there(site)
    found = marks.rollout(live.tags)
    if found != rollout_id or marks.state(live.tags) == marks.KEPT:
        raise TakenOver(
            f"{site.target.what} belongs to the rollout {found} now, not to {rollout_id}",
            "look at what serves now: `python -m deploy status`",
        )
    return live


def require_there(site: Site) -> Live:
    """What is live.

    Raises:
        NotUp: there is nothing.
    """
    live = site.target.read()
    if live is None:
        raise NotUp(f"there is no {site.target.what}", "deploy it: `python -m deploy up ENV`")
    return live


class Pulse:
    """Writes the time into a tag, so that other deploys see that this one is alive."""

    def __init__(self, site: Site, rollout_id: str) -> None:
        self._site = site
        self._rollout = rollout_id
        self._last = site.clock.monotonic()

    def beat(self) -> None:
        """Look whose it is, and write the time.

        Raises:
            TakenOver: it is another's.
        """
        self._write(require_ours(self._site, self._rollout))

    def beat_if_due(self, live: Live) -> None:
        """Write the time if the last sign is old, given what was just read."""
        if self._site.clock.monotonic() >= self._last + BEAT_SECONDS:
            self._write(live)

    def _write(self, live: Live) -> None:
        self._last = self._site.clock.monotonic()
        try:
            self._site.target.mark({**live.tags, names.TAG_HEARTBEAT: self._site.now()})
        except AzError as error:
            # A missed sign of life is no reason to give up a release.
            self._site.say.detail(f"no sign of life could be written: {error.code}")


def attended(site: Site, work: Callable[[], T], rollout_id: str, seconds: float) -> T:
    """Do the work in a thread of its own, and give signs of life meanwhile.

    The signs come from the caller's thread and end with the work: none can overtake what the
    caller does next.

    Raises:
        NotUp: the work took too long.
        BaseException: whatever the work raised.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the other thread
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    give_up = time.monotonic() + seconds
    pulse = Pulse(site, rollout_id)
    while thread.is_alive():
        thread.join(min(BEAT_SECONDS, max(0.0, give_up - time.monotonic())))
        if thread.is_alive():
            if time.monotonic() >= give_up:
                raise NotUp(
                    f"verifying took longer than {seconds:.0f} s",
                    "the service answers too slowly, or raise rollout.verify_seconds",
                )
            pulse.beat()
    if failed:
        raise failed[0]
    return done[0]


class _Listener:
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
        except DeployError:
            return
        final = next((text for text in said if text.startswith(GAVE_UP)), None)
        if final is not None:
            raise NotUp(
                f"{self._site.target.what} gave up: {final}",
                "mend what it says, build and deploy again; `make check` looks at the models",
            )


class _Teller:
    """One line when something changes, and every ten seconds."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._line = ""
        self._told = 0.0

    def tell(self, line: str) -> None:
        now = self._site.clock.monotonic()
        if line != self._line or now >= self._told + TELL_SECONDS:
            self._site.say.step(line)
            self._line, self._told = line, now


def _obstacle(site: Site, live: Live) -> str | None:
    """Why it is not up yet; None when it is."""
    if not live.settled or not live.running:
        return live.state
    address = site.target.candidate_address()
    if address is None:
        return f"{live.state}, without an address yet"
    reason = site.checks.ready(address)
    return None if reason is None else f"{live.state}; {reason}"


def as_deploy_error(error: BaseException) -> DeployError:
    """Any failure as one that can be told; a fault of this program says so."""
    if isinstance(error, DeployError):
        return error
    return DeployError(f"{type(error).__name__}: {error}", "report this as a fault of deploy/")
