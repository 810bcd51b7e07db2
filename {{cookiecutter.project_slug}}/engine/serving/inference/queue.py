"""The queue in front of a model: bounded in rows, bytes and seconds; counted in rows."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from engine.serving.errors import BodyTooLarge, DeadlineExceeded, Overloaded
from engine.serving.fault import fault_of
from engine.serving.inference.delivery import deliver
from engine.serving.inference.profile import Profile
from engine.serving.request import Arrays, Request
from engine.serving.tensors.signature import Signature

log = logging.getLogger(__name__)

SLOWNESS_SMOOTHING = 0.1
LONGEST_RETRY_SECONDS = 60
# A burst fills the queue and is gone; what keeps it filled for longer than this share of the
# longest wait is more than the service can do. The idea is that of Nichols and Jacobson,
# "Controlling Queue Delay", ACM Queue 10(5), 2012.
BURST_SHARE = 0.1
# A run takes all that waits, and under any load the queue is empty for a moment then. It has kept
# up when it stays empty for as long as a run takes, and at least for this long.
REST_SECONDS = 0.01
# What may wait in a queue that does not keep up: one run, which the next free lane takes. Longer,
# it only adds its own length to every answer. Single rows come less evenly than whole batches: at
# 80 % load so many wait now and then.
STANDING_ROWS = 16
# Nobody notices so short a wait; small models with many clients always have one. Of an undisturbed
# machine: on one that others keep busy all takes longer, and that is no reason to refuse.
SHORT_SECONDS = 0.008
# A few clients that take turns with large requests are no overload: each may wait for as many times
# as long as its rows take in full runs.
TURNS = 3
# How much of a text is looked at to guess its rows.
GLANCE_BYTES = 1024


def observe(observer: Callable[..., None], *values: float) -> None:
    """Call an observer; a request is answered even where its metrics cannot be counted."""
    try:
        observer(*values)
    except Exception as error:  # noqa: BLE001 - logged
        log.error("not observed", extra={"fields": {"exception": fault_of(error).text()}})


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one queue: rows in one run; rows, bytes and seconds waiting; runs at a time; and
    seconds after which a run is stuck.
    """

    batch_rows: int
    queue_rows: int
    queue_bytes: int
    queue_seconds: float
    lanes: int
    stuck_seconds: float = math.inf


class RequestQueue:
    """What waits, in one line for each set of shapes that can share a run; lines take turns.

    Args:
        signature: tells whether rows can share a run, and which shapes can.
        profile: measured cost of a run.
    """

    def __init__(self, signature: Signature, limits: Limits, profile: Profile) -> None:
        self.batched = signature.batched
        most = min(limits.batch_rows, limits.queue_rows)
        self.batch_rows = min(most, profile.batch_rows)
        self.part_rows = min(most, profile.part_rows)
        self.rows = 0
        self._bytes = 0
        self._lines: dict[object, deque[Request]] = {}
        self._limits = limits
        self._profile = profile
        # Dimensions that are free count as one: the guess of a request's rows is too high then.
        self._row_numbers = max(
            1, sum(math.prod(map(abs, spec.shape[1:])) for spec in signature.inputs)
        )
        self._one_shape = all(-1 not in spec.shape[1:] for spec in signature.inputs)
        # How much longer runs take now than they did alone, while warming up.
        self.slowness = 1.0
        self._standing_rows = max(STANDING_ROWS, self.batch_rows)
        # Since when it has not kept up, and when it was last emptied.
        self._standing_since = self._emptied = float("-inf")

    def __bool__(self) -> bool:
        return bool(self._lines)

    def admit(self, rows: int, size: int) -> None:
        """Let a request of so many rows and bytes pass, or refuse it before it is computed.

        Raises:
            BodyTooLarge: more rows than the queue can ever hold.
            Overloaded: there is no room now, or the wait would be too long.
        """
        self._check_room(rows, size)
        if self._stands():
            self._check_turn(rows)

    def admit_unread(self, text: bytes | None) -> None:
        """Refuse a request before it is decoded, while that costs next to nothing.

        Args:
            text: its JSON, to guess its rows from; None: decoding costs next to nothing, too.

        Raises:
            Overloaded: there is no room for even one row, or the wait would be too long.
        """
        self._check_room(1, 1)
        if text is not None and self._stands():
            self._check_turn(self._rows_in(text))

    def _check_room(self, rows: int, size: int) -> None:
        limits = self._limits
        if rows > limits.queue_rows:
            raise BodyTooLarge(
                f"the request has {rows} rows; send at most {limits.queue_rows} at a time",
                rule=f"at most {limits.queue_rows} rows (MAX_QUEUE_ROWS)",
            )
        if self.rows + rows > limits.queue_rows:
            raise self._overloaded(
                f"the queue holds {self.rows} of {limits.queue_rows} rows",
                f"at most {limits.queue_rows} rows waiting (MAX_QUEUE_ROWS)",
                "rows",
            )
        # A single request may be larger than this limit; the limit on bodies has let it pass.
        if self._bytes and self._bytes + size > limits.queue_bytes:
            raise self._overloaded(
                f"the queue holds {self._bytes} of {limits.queue_bytes} bytes",
                f"at most {limits.queue_bytes} bytes waiting (MAX_QUEUE_BYTES)",
                "bytes",
            )
        # Less than a whole batch is taken by the next run, however long that is.
        if self.rows > self.batch_rows and self.wait_seconds() > limits.queue_seconds:
            raise self._overloaded(
                f"the request would wait for {self.wait_seconds():.2f} s",
                f"at most {limits.queue_seconds:g} s of waiting (MAX_QUEUE_SECONDS)",
                "seconds",
            )

    def _stands(self) -> bool:
        """Whether more waits than should in a queue that has not kept up for some time."""
        return (
            self.rows >= self._standing_rows
            and self._run_seconds(self.rows) > SHORT_SECONDS
            and self._behind_seconds() > BURST_SHARE * self._limits.queue_seconds
        )

    def _check_turn(self, rows: float) -> None:
        own = self._seconds_of(self.batch_rows) * rows / self.batch_rows
        if self.wait_seconds() > TURNS * own:
            raise self._overloaded(
                f"{self.rows} rows wait, and the queue has not kept up for "
                f"{self._behind_seconds():.1f} s",
                f"fewer than {self._standing_rows} rows waiting in a queue that has not kept "
                f"up for a tenth of MAX_QUEUE_SECONDS, or a wait of at most {TURNS} times what "
                "the request's own rows take",
                "seconds",
            )

    def _behind_seconds(self) -> float:
        return time.perf_counter() - self._standing_since

    def _rows_in(self, text: bytes) -> float:
        """About how many rows a request has, from the commas in its first part."""
        glance = text[:GLANCE_BYTES]
        numbers = (glance.count(b",") + 1) * len(text) / max(1, len(glance))
        return numbers / self._row_numbers

    def put(self, request: Request) -> None:
        """Add a request that was admitted."""
        if not self._lines and request.enqueued - self._emptied >= self._rest_seconds():
            self._standing_since = request.enqueued
        key = self._line_of(request)
        line = self._lines.get(key)
        if line is None:
            self._lines[key] = deque((request,))
        else:
            line.append(request)
        self.rows += request.rows
        self._bytes += request.size
        request.leave = self.remove

    def remove(self, request: Request) -> None:
        """Take out a request that waits; its rows and bytes are free at once."""
        key = self._line_of(request)
        line = self._lines[key]
        line.remove(request)
        self._count_out(request)
        if not line:
            del self._lines[key]
            self._check_emptied()

    def expire(self, now: float) -> float | None:
        """Answer what is past its deadline.

        Returns:
            The earliest deadline of what still waits; None where nothing does.
        """
        for request in self.requests():
            # The answer to one part of a request cancels the others.
            if now > request.deadline and not request.over:
                self.remove(request)
                deliver(request, self.too_late(request, now))
        return min((request.deadline for request in self.requests()), default=None)

    def requests(self) -> list[Request]:
        """All that waits."""
        return [request for line in self._lines.values() for request in line]

    def take(self, waited: Callable[[float], None]) -> list[Request]:
        """The requests of one run, out of the line whose turn it is; those too late are answered.

        Args:
            waited: called with the seconds that each request waited.
        """
        key = next(iter(self._lines))
        line = self._lines.pop(key)
        now = time.perf_counter()
        requests: list[Request] = []
        late: list[Request] = []
        rows = 0
        while line and (not requests or (self.batched and rows + line[0].rows <= self.batch_rows)):
            request = line.popleft()
            self._count_out(request)
            if now > request.deadline:
                late.append(request)
                continue
            (request.whole or request).taken = now
            requests.append(request)
            rows += request.rows
        if line:
            self._lines[key] = line
        self._check_emptied()
        for request in late:
            deliver(request, self.too_late(request, now))
        for request in requests:
            observe(waited, now - request.enqueued)
        return requests

    def _count_out(self, request: Request) -> None:
        self.rows -= request.rows
        self._bytes -= request.size
        request.leave = None

    def _check_emptied(self) -> None:
        if not self._lines:
            self._emptied = time.perf_counter()

    def learn(self, rows: int, seconds: float) -> None:
        """Take in how long a run really took."""
        slowness = seconds / max(self._profile.seconds(rows), 1e-6)
        self.slowness += SLOWNESS_SMOOTHING * (slowness - self.slowness)

    def wait_seconds(self) -> float:
        """Seconds until what waits now will have been taken, at the measured rate."""
        return self._seconds_of(self.rows)

    def _seconds_of(self, rows: int) -> float:
        return self.slowness * self._run_seconds(rows)

    def _run_seconds(self, rows: int) -> float:
        """Seconds of the runs for so many rows, as they were while warming up."""
        runs = math.ceil(rows / self.batch_rows)
        return runs * self._profile.seconds(min(rows, self.batch_rows)) / self._limits.lanes

    def _rest_seconds(self) -> float:
        return max(REST_SECONDS, self.slowness * self._profile.seconds(1))

    def _line_of(self, request: Request) -> object:
        if self._one_shape:
            return None
        # Lists of numbers are only made where there is one shape.
        return tuple(value.shape[1:] for value in cast(Arrays, request.inputs).values())

    def _retry_after(self) -> int:
        return max(1, min(math.ceil(self.wait_seconds()), LONGEST_RETRY_SECONDS))

    def _overloaded(self, message: str, rule: str, limit: str) -> Overloaded:
        retry_after = self._retry_after()
        message = f"{message}; try again later"
        return Overloaded(message, rule=rule, retry_after=retry_after, limit=limit)

    def too_late(self, request: Request, now: float) -> DeadlineExceeded:
        """The answer to a request whose deadline passed before its run began."""
        return DeadlineExceeded(
            f"the request waited {now - request.enqueued:.1f} s and was not computed; try again "
            "later",
            rule="REQUEST_TIMEOUT_SECONDS",
            retry_after=self._retry_after(),
        )

    def not_computed(self, request: Request, now: float) -> DeadlineExceeded:
        """The answer to a request whose run began and does not end."""
        return DeadlineExceeded(
            f"the model has not answered for {now - request.enqueued:.1f} s; try again later",
            rule="a run of the model must end",
            retry_after=self._retry_after(),
        )
