"""Pages of other origins: which may ask, as CORS_ORIGINS says.

The rules are those of the Fetch standard, https://fetch.spec.whatwg.org/#http-cors-protocol. The
middleware answers preflights and everything but inference, whose answers get the same headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from engine.serving.answer import Answer, Header

ANY: Final = "*"
# What a page may send beside a simple request, and what it may read of an answer.
SENT: Final = (
    "Authorization",
    "Content-Type",
    "Inference-Header-Content-Length",
    "Traceparent",
    "Tracestate",
    "X-API-Key",
    "X-Request-Id",
)
READ: Final = ("Inference-Header-Content-Length", "Retry-After", "Traceparent", "X-Request-Id")
PREFLIGHT: Final = b"access-control-request-method"


class Origins:
    """The origins that may ask.

    Args:
        allowed: such as ``https://app.example``, or ``*`` for all.
    """

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self.allowed = allowed
        self._encoded = {each.encode() for each in allowed}

    def __bool__(self) -> bool:
        return bool(self.allowed)

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application that answers preflights, too."""
        if not self.allowed:
            return app
        return CORSMiddleware(
            app,
            allow_origins=self.allowed,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=SENT,
            expose_headers=READ,
        )

    def answer(self, answer: Answer, asked: Mapping[bytes, bytes]) -> Answer:
        """The answer to a request with these headers, readable by its page."""
        origin = asked.get(b"origin")
        if origin is None or (ANY not in self.allowed and origin not in self._encoded):
            return answer
        status, headers, chunks = answer
        exposed: Header = (b"access-control-expose-headers", ", ".join(READ).encode())
        if ANY in self.allowed:
            added: tuple[Header, ...] = ((b"access-control-allow-origin", b"*"), exposed)
        else:
            allowed: Header = (b"access-control-allow-origin", origin)
            added = (allowed, exposed, (b"vary", b"Origin"))
        return status, (*headers, *added), chunks
