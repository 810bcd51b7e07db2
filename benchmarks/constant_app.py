"""The limit of the HTTP layer: reads the body, computes nothing, answers from a file.

An ASGI application without a framework; uvicorn serves it with httptools and uvloop. The path
names the file in the folder CONSTANT_ANSWERS.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]


def _messages(answer: bytes) -> tuple[Message, Message]:
    length = str(len(answer)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    return (
        {"type": "http.response.start", "status": 200, "headers": headers},
        {"type": "http.response.body", "body": answer},
    )


ANSWERS = {
    f"/{path.name}": _messages(path.read_bytes())
    for path in Path(os.environ["CONSTANT_ANSWERS"]).glob("*.json")
}


async def app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Answer every request for a path with the same bytes."""
    start, body = ANSWERS[scope["path"]]
    while (await receive()).get("more_body", False):
        pass
    await send(start)
    await send(body)
