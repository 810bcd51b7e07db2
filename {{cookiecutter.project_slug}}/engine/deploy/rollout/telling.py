"""What is told of a release on its way up, and what it tells itself."""

from __future__ import annotations

from engine.deploy.diagnosis.words import GAVE_UP, complaints
from engine.deploy.rollout.site import NotUp, Site
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
