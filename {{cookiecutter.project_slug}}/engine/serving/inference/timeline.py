"""When a request waited and when its model ran, as the batcher writes it down.

All times are seconds of ``time.perf_counter``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a model; requests that shared it refer to the same object."""

    began: float
    ended: float
    rows: int


class Timeline:
    """What the batcher tells about one request.

    Args:
        request_id: names the request in logs and errors.
    """

    __slots__ = ("request_id", "rows", "runs", "taken")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.rows = 0
        # When its turn came; 0 until then.
        self.taken = 0.0
        # Several when the request was too large for one.
        self.runs: tuple[Run, ...] = ()
