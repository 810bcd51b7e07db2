"""What a client saw: answers by status with their latencies, and everything that went wrong."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from benchmarks.open_loop import headers_of, percentile

REFUSALS = (429, 503)


@dataclass(frozen=True)
class Answer:
    """A complete answer: its status, its bytes, and what its headers say.

    `retry_after` is in seconds; None where it is not said.
    """

    status: int
    size: int
    retry_after: float | None
    closing: bool


def read_answer(received: bytes | bytearray) -> Answer | None:
    """The answer that these bytes begin with; None while it is not complete.

    Raises:
        ConnectionError: this is no answer, or it does not say its length.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    if not received.startswith(b"HTTP/1.1 "):
        raise ConnectionError(f"no answer: {bytes(received[:80])!r}")
    headers = headers_of(bytes(received[:end]))
    if b"content-length" not in headers:
        raise ConnectionError("an answer has no Content-Length")
    size = end + 4 + int(headers[b"content-length"])
    if len(received) < size:
        return None
    closing = headers.get(b"connection") == b"close"
    retry_after = headers.get(b"retry-after")
    seconds = None if retry_after is None else float(retry_after)
    return Answer(int(received[9:12]), size, seconds, closing)


@dataclass
class Latencies:
    """Seconds of the answers with one status, from the time each was due and from its sending."""

    from_due: array[float] = field(default_factory=lambda: array("d"))
    from_sent: array[float] = field(default_factory=lambda: array("d"))


@dataclass
class Tally:
    """Counts of one run.

    `faults` are what no client should meet: connections cut off, answers that did not come,
    unexpected statuses, refusals that do not say when to try again.
    """

    by_status: dict[int, Latencies] = field(default_factory=dict)
    by_kind: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def answered(
        self, name: str, expected: tuple[int, ...], answer: Answer, late: float, waited: float
    ) -> None:
        """Count an answer to a request of that name, with the seconds since it was due and sent."""
        latencies = self.by_status.setdefault(answer.status, Latencies())
        latencies.from_due.append(late)
        latencies.from_sent.append(waited)
        self.by_kind[name] += 1
        if answer.status not in expected:
            self.faults[f"{answer.status} for {name}"] += 1
        if answer.status in REFUSALS and answer.retry_after is None:
            self.faults[f"{answer.status} without Retry-After"] += 1

    def summary(self) -> dict[str, Any]:
        """What is passed on: no single latencies."""
        return {
            "statuses": {
                str(status): _summary(latencies)
                for status, latencies in sorted(self.by_status.items())
            },
            "kinds": dict(self.by_kind),
            "faults": dict(self.faults),
        }


def _summary(latencies: Latencies) -> dict[str, float]:
    from_due, from_sent = list(latencies.from_due), list(latencies.from_sent)
    return {
        "count": len(from_due),
        "p50_ms": percentile(from_due, 50) * 1e3,
        "p99_ms": percentile(from_due, 99) * 1e3,
        "max_ms": max(from_due) * 1e3,
        "sent_p99_ms": percentile(from_sent, 99) * 1e3,
        "sent_p999_ms": percentile(from_sent, 99.9) * 1e3,
        "sent_max_ms": max(from_sent) * 1e3,
    }
