"""How long a rollout can take, if each of its waits takes as long as it may."""

from __future__ import annotations

from engine.deploy.config.environment import Rollout as Limits
from engine.deploy.rollout.interrupted import APPEAR_SECONDS
from engine.deploy.rollout.ownership import GIVE_WAY_SECONDS
from engine.deploy.rollout.waiting import VISIBLE_SECONDS


def longest_seconds(limits: Limits, busy_seconds: float, *, interrupted: bool) -> float:
    """Seconds until a rollout has kept its release or restored the one before, at most.

    Not counted is the time of single requests, which is short.

    Args:
        limits: of the environment.
        busy_seconds: of its target.
        interrupted: whether it first has to finish and to undo one that was interrupted.
    """
    prove = VISIBLE_SECONDS + limits.start_seconds + limits.verify_seconds + VISIBLE_SECONDS
    change = busy_seconds + VISIBLE_SECONDS + prove
    begin: float = limits.start_seconds
    if interrupted:
        watch = 2 * limits.lease_seconds + limits.start_seconds
        appear = max(APPEAR_SECONDS, VISIBLE_SECONDS)
        begin = watch + appear + limits.start_seconds + prove + change
    # The change and its undoing.
    return begin + GIVE_WAY_SECONDS + 2 * change
