"""Read a request body, with a limit on its bytes and on the time it may take."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any

from starlette.types import Message, Receive

from engine.serving.errors import BodyTooLarge, MalformedBody, RequestTimeout

MOST_DIGITS = 18


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
        # Python does not read numbers of any length.
        if not declared.isdigit() or len(declared) > MOST_DIGITS:
            raise MalformedBody(
                "Content-Length is not a number of bytes", rule=f"at most {MOST_DIGITS} digits"
            )
        if int(declared) > limit:
            raise _too_large(int(declared), limit)
    # Most bodies have arrived with their headers. Then the first step of receive() returns the
    # message, and a timer, which costs more than all other work here, is not needed.
    first: Coroutine[Any, Any, Message] = receive()  # type: ignore[assignment]
    try:
        awaited = first.send(None)
    except StopIteration as done:
        message: Message = done.value
        if message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            if len(body) > limit:
                raise _too_large(len(body), limit) from None
            return body
        return await _read_within(timeout, receive, limit, _already(message))
    return await _read_within(timeout, receive, limit, _resume(first, awaited))


async def _read_within(
    timeout: float, receive: Receive, limit: int, first: Awaitable[Message]
) -> bytes:
    try:
        async with asyncio.timeout(timeout):
            return await _rest(receive, limit, await first)
    except TimeoutError:
        raise RequestTimeout(
            f"the body did not arrive within {timeout:g} s", rule="REQUEST_TIMEOUT_SECONDS"
        ) from None


async def _rest(receive: Receive, limit: int, message: Message) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise _too_large(size, limit)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        message = await receive()


async def _already(message: Message) -> Message:
    return message


@types.coroutine
def _resume(coroutine: Coroutine[Any, Any, Message], awaited: Any) -> Generator[Any, Any, Message]:
    """Go on awaiting a coroutine that was stepped once by hand and yielded ``awaited``."""
    try:
        while True:
            try:
                sent = yield awaited
            except BaseException as error:  # noqa: BLE001 - cancellation belongs to the coroutine
                awaited = coroutine.throw(error)
            else:
                awaited = coroutine.send(sent)
    except StopIteration as done:
        message: Message = done.value
        return message


def _too_large(size: int, limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the body has {size} bytes or more; at most {limit} are read",
        rule=f"at most {limit} bytes (MAX_BODY_BYTES)",
    )
