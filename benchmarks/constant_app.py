"""The limit of the HTTP layer: reads the body, computes nothing, answers what CONSTANT_ANSWER holds.

An ASGI application without a framework; uvicorn serves it with httptools and uvloop.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]

ANSWER = Path(os.environ["CONSTANT_ANSWER"]).read_bytes()
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(ANSWER)).encode()),
    ],
}
BODY = {"type": "http.response.body", "body": ANSWER}


async def app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Answer every request with the same bytes."""
    while (await receive()).get("more_body", False):
        pass
    await send(START)
    await send(BODY)
