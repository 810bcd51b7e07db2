"""Everything that a rollout acts on and is bound by, and the ways in which it can end badly."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from engine.deploy.az import AzError
from engine.deploy.config.environment import Rollout as Limits
from engine.deploy.journal import Journal, Record
from engine.deploy.rollout.guard import Guard
from engine.deploy.say import Say
from engine.deploy.targets.base import Document, Live, Release, Target
from engine.deploy.verify import may_pass
from engine.errors import EngineError

FAULT_SECONDS = 180.0
FAULT_PAUSE_SECONDS = 5.0

T = TypeVar("T")


class Busy(EngineError):
    """Another deploy is at work; nothing was changed."""


class TakenOver(EngineError):
    """Another deploy finished what this one began; it must not touch anything any more."""


class NotUp(EngineError):
    """The release does not come up."""


class RolloutFailed(EngineError):
    """The new release was not kept. The message says what serves now; ``restored`` is false if the
    previous release could not be brought back.
    """

    def __init__(self, cause: str, fix: str, *, restored: bool) -> None:
        super().__init__(cause, fix)
        self.restored = restored


def as_deploy_error(error: BaseException) -> EngineError:
    """Any failure as one that can be told; a fault of this program says so."""
    if isinstance(error, EngineError):
        return error
    return EngineError(f"{type(error).__name__}: {error}", "report this as a fault of deploy/")


class Checks(Protocol):
    """Questions to the service itself, and about its failure."""

    def ready(
        self, address: str, headers: Mapping[str, str], authority: str | None = None
    ) -> str | None:
        """One look: None when it is ready, else why it is not; ``headers`` and ``authority`` as
        the target's ``candidate_headers`` and ``candidate_authority``.

        Raises:
            EngineError: it says that it never will be.
        """

    def verify(
        self,
        address: str,
        headers: Mapping[str, str],
        release: Release | None,
        authority: str | None = None,
    ) -> str:
        """Verify what answers; what was found, in Markdown. None: any release.

        Raises:
            EngineError: it must not be kept.
        """

    def explain(self, error: EngineError) -> EngineError:
        """The same failure with the cause and the fix that the evidence in Azure shows."""


class Clock(Protocol):
    """Time, so that tests need not wait."""

    def now(self) -> datetime:
        """UTC."""

    def monotonic(self) -> float:
        """Seconds."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The real time."""

    def now(self) -> datetime:
        """See ``Clock``."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """See ``Clock``."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """See ``Clock``."""
        time.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Site:
    """One environment, and one run that works on it.

    ``secrets`` holds the values of all secrets that this run was given. ``by`` says for people who
    runs, ``process`` where (see ``engine.deploy.rollout.signs``), and ``owner`` tells this run from
    all others.
    """

    service: str
    target: Target
    journal: Journal
    checks: Checks
    limits: Limits
    say: Say
    guard: Guard
    by: str
    process: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)
    clock: Clock = field(default_factory=SystemClock)
    owner: str = field(default_factory=lambda: secrets.token_hex(8))

    def now(self) -> str:
        """The time, as tags and records have it."""
        return self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def read(self) -> Live | None:
        """What is live; see ``asked``."""
        return self.asked(self.target.read)

    def record(self, rollout: str) -> Record | None:
        """One record of the journal; see ``asked``."""
        return self.asked(lambda: self.journal.read(rollout))

    def patience(self) -> float:
        """The time until which Azure may refuse a change because of an earlier one."""
        return self.clock.monotonic() + self.target.busy_seconds

    def asked(self, act: Callable[[], T]) -> T:
        """The answer to a request that may be sent twice, again after a fault of Azure's or of the
        network, and while a role does not hold yet: nothing of this says anything about a release.

        Raises:
            AzError: Azure refused, or cannot be reached for some minutes.
        """
        give_up = self.clock.monotonic() + FAULT_SECONDS
        while True:
            try:
                return act()
            except AzError as error:
                passing = may_pass(error) or error.forbidden
                if not passing or self.clock.monotonic() >= give_up:
                    raise
                self.say.detail(f"Azure does not answer, asking again: {error.message}")
            self.clock.sleep(FAULT_PAUSE_SECONDS)

    def values(self, document: Document) -> dict[str, str]:
        """The values of the document's secrets, as far as they are known."""
        names = self.target.secret_names(document)
        return {name: self.secrets[name] for name in names if self.secrets.get(name)}
