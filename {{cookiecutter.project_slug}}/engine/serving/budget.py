"""A bound on what is done in a second, for what must not grow with the requests."""

from __future__ import annotations


class Budget:
    """So many in a second, counted anew each second.

    Args:
        limit: the most in a second.
    """

    __slots__ = ("_began", "_limit", "_used")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._began = float("-inf")
        self._used = 0

    @property
    def ends(self) -> float:
        """When the second ends that is counted now."""
        return self._began + 1.0

    def take(self, now: float) -> bool:
        """Whether there is one left in this second; takes it.

        Args:
            now: seconds of a clock that never goes back.
        """
        if now - self._began >= 1.0:
            self._began, self._used = now, 0
        self._used += 1
        return self._used <= self._limit
