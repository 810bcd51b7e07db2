"""The few pieces of ASGI that the inference endpoints need."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import orjson
from starlette.types import Receive, Send

from app.errors import BodyTooLarge, MalformedBody, RequestError, RequestTimeout

Header = tuple[bytes, bytes]
JSON: Header = (b"content-type", b"application/json")


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


async def read_body(receive: Receive, declared: bytes | None, limit: int, timeout: float) -> bytes:
    """Read a request body, refusing it as soon as it is known to be too large.

    Args:
        receive: the ASGI channel.
        declared: value of ``Content-Length``, where there is one.
        limit: most bytes allowed.
        timeout: seconds for the whole body.

    Raises:
        BodyTooLarge: it is, or says it is, larger than ``limit``.
        RequestTimeout: the client sends too slowly.
        ClientGone: the client went away.
    """
    if declared is not None:
        if not declared.isdigit():
            raise MalformedBody("Content-Length is not a number")
        if int(declared) > limit:
            raise _too_large(int(declared), limit)
    try:
        async with asyncio.timeout(timeout):
            return await _read(receive, limit)
    except TimeoutError:
        raise RequestTimeout(
            f"the body did not arrive within {timeout:g} s", rule="REQUEST_TIMEOUT_SECONDS"
        ) from None


async def _read(receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise _too_large(size, limit)
        more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(size: int, limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the body has {size} bytes or more; at most {limit} are read",
        rule=f"at most {limit} bytes (MAX_BODY_BYTES)",
    )


async def send(
    send: Send, status: int, headers: list[Header], chunks: Sequence[bytes | memoryview]
) -> None:
    """Send a whole answer with its length."""
    size = sum(len(chunk) for chunk in chunks)
    headers.append((b"content-length", b"%d" % size))
    await send({"type": "http.response.start", "status": status, "headers": headers})
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
