"""How a deploy verifies: with which limits, and how often it asks where nothing is proved."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from engine.client.failures import VerifyError
from engine.client.readiness import Progress
from engine.client.service import Limits
from engine.client.verification import key_from, verify
from engine.deploy.az import AzError
from engine.deploy.az_error import TIMED_OUT
from engine.deploy.config.environment import Rollout
from engine.errors import EngineError

__all__ = ["ask_again", "key_from", "limits_of", "may_pass", "verify"]

AGAIN_SECONDS = (5.0, 15.0, 30.0)
"""Pauses before further tries: a lost connection, a gateway's error or a stale answer is over."""

T = TypeVar("T")


def limits_of(rollout: Rollout) -> Limits:
    """The limits that an environment is configured with."""
    return Limits(
        ready_seconds=rollout.verify_seconds,
        burst_requests=rollout.burst.requests,
        burst_p95_ms=rollout.burst.p95_ms,
    )


def ask_again(
    check: Callable[[], T],
    seconds: float,
    progress: Progress,
    *,
    also: tuple[type[VerifyError], ...] = (),
) -> T:
    """Call ``check`` again as long as it fails without proof, a few times.

    Args:
        check: raises ``VerifyError``, or ``AzError`` where Azure is asked.
        seconds: no further try begins after so many.
        progress: is called with the reason of each further try.
        also: failures that may be over in a moment although they are proof.

    Raises:
        EngineError: of the last try.
    """
    begun = time.monotonic()
    for pause in AGAIN_SECONDS:
        try:
            return check()
        except (VerifyError, AzError) as error:
            late = time.monotonic() - begun + pause > seconds
            if late or not (may_pass(error) or isinstance(error, also)):
                raise
            progress(f"asking again in {pause:.0f} s: {error.cause}")
            time.sleep(pause)
    return check()


def may_pass(error: EngineError) -> bool:
    """Whether the failure is no proof, and may be over in a moment."""
    if isinstance(error, AzError):
        return error.transient or error.code == TIMED_OUT
    return isinstance(error, VerifyError) and not error.proof and not error.final
