"""Requests that came through one Azure Front Door, and the refusal of all others.

Front Door names itself in a header. Azure docs: secure traffic to origins.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Final

from starlette.types import Receive, Scope, Send

from engine.serving.answer import Header
from engine.serving.errors import Forbidden
from engine.serving.http.answers import CLOSE, error_answer
from engine.serving.http.routes import PROBES

HEADER: Final = b"x-azure-fdid"


class FrontDoor:
    """Looks at the head of a request; as an ASGI application it answers those that are refused.

    Args:
        identifier: of the Front Door, in lower-case letters; None: all requests may pass.
    """

    def __init__(self, identifier: str | None) -> None:
        self._wanted = identifier.encode() if identifier else None

    def refuses(self, path: str, headers: Sequence[Header]) -> bool:
        """Whether a request is answered by this application and by no other."""
        if self._wanted is None or path in PROBES:
            return False
        # Front Door sets the header once; twice, one of them is a client's.
        given = [value for name, value in headers if name == HEADER]
        return len(given) != 1 or not hmac.compare_digest(given[0].lower(), self._wanted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403; the body is not read, so the connection ends."""
        status, headers, chunks = error_answer(
            Forbidden(
                "requests are answered through Azure Front Door only; use its address",
                field="X-Azure-FDID",
                rule="the id of one Front Door (TRUSTED_FRONT_DOOR_ID)",
            )
        )
        start = {"type": "http.response.start", "status": status, "headers": [*headers, CLOSE]}
        await send(start)
        await send({"type": "http.response.body", "body": b"".join(chunks)})
