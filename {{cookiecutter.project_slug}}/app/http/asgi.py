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


async def read_body(
    receive: Receive, declared: bytes | None, limit: int, timeout: float
) -> bytes:
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
    message = await _next(receive, timeout)
    first: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(first) > limit:
            raise _too_large(len(first), limit)
        return first
    try:
        async with asyncio.timeout(timeout):
            return await _rest(receive, first, limit)
    except TimeoutError:
        raise _too_slow(timeout) from None


async def _rest(receive: Receive, first: bytes, limit: int) -> bytes:
    chunks, size, more = [first], len(first), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise _too_large(size, limit)
        more = message.get("more_body", False)
    return b"".join(chunks)


async def _next(receive: Receive, timeout: float) -> dict[str, object]:  # type: ignore[misc]
    try:
        async with asyncio.timeout(timeout):
            message = await receive()
    except TimeoutError:
        raise _too_slow(timeout) from None
    if message["type"] == "http.disconnect":
        raise ClientGone
    return dict(message)


def _too_large(size: int, limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the body has {size} bytes or more; at most {limit} are read",
        rule=f"at most {limit} bytes (MAX_BODY_BYTES)",
    )


def _too_slow(timeout: float) -> RequestTimeout:
    return RequestTimeout(
        f"the body did not arrive within {timeout:g} s", rule="REQUEST_TIMEOUT_SECONDS"
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
