"""What a service must keep to be called healthy, and how gently it is asked."""

from __future__ import annotations

from dataclasses import dataclass

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Times end in their unit; requests stay below ``rows`` and ``request_bytes``.

    ``ready_seconds`` is how long the service may take until it is ready, ``request_seconds`` how
    long one answer may take. The burst sends ``burst_requests`` single rows, ``burst_clients`` at
    a time (0: none); 95 of 100 answers must come within ``burst_p95_ms``, the way over the network
    included.
    """

    ready_seconds: float = 300.0
    request_seconds: float = 30.0
    rows: int = 256
    request_bytes: int = 4 * MEBIBYTE
    burst_requests: int = 200
    burst_clients: int = 4
    burst_p95_ms: float = 500.0
