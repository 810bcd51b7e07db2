"""Answers as ASGI messages."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from starlette.types import Send

from engine.serving.errors import RequestError

Header = tuple[bytes, bytes]
JSON: Header = (b"content-type", b"application/json")
# Where an endpoint leaves its task in the ASGI scope, so that it ends with its connection.
TASK = "app.task"


async def send_answer(
    send: Send, status: int, headers: list[Header], chunks: Sequence[bytes | memoryview]
) -> None:
    """Send a whole answer with its length."""
    size = sum(len(chunk) for chunk in chunks)
    headers.append((b"content-length", b"%d" % size))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if len(chunks) == 1:
        await send({"type": "http.response.body", "body": chunks[0], "more_body": False})
        return
    last = len(chunks) - 1
    for position, chunk in enumerate(chunks):
        await send({"type": "http.response.body", "body": chunk, "more_body": position < last})


def error_answer(error: RequestError) -> tuple[int, list[Header], bytes]:
    """Status, headers and body for an error."""
    headers = [JSON]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after))
    if error.status == 405:
        headers.append((b"allow", b"POST"))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return error.status, headers, orjson.dumps(error.body())
