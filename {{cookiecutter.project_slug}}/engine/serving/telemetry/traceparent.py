"""The W3C header ``traceparent``: which trace a request belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass

TRACEPARENT = b"traceparent"
# https://www.w3.org/TR/trace-context/#traceparent-header: lower-case digits, ids that are not zero,
# the version ff is forbidden. Versions that do not exist yet may add fields after another dash.
_FORM = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?",
)
SAMPLED = 0x01


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The caller's place in its trace.

    Attributes:
        trace_id: of the whole trace, 32 hexadecimal digits.
        span_id: of the caller's span, 16 hexadecimal digits.
        sampled: whether the caller records its part.
    """

    trace_id: str
    span_id: str
    sampled: bool


def parse(header: bytes) -> TraceContext | None:
    """What a ``traceparent`` says; None when it breaks the standard, which says to ignore it."""
    found = _FORM.fullmatch(header)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == b"00" and more is not None:
        return None
    return TraceContext(trace_id.decode(), span_id.decode(), bool(int(flags, 16) & SAMPLED))


def write(context: TraceContext) -> bytes:
    """The header that says so."""
    flags = SAMPLED if context.sampled else 0
    return f"00-{context.trace_id}-{context.span_id}-{flags:02x}".encode()
