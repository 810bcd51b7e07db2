"""Asks a batcher, or a model behind one, as a connection does, and waits for the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from engine.serving.request import Encode, Inputs, Request


def requested(
    inputs: Inputs, rows: int = 0, timeout: float = 60.0, encode: Encode | None = None
) -> Request:
    """A request with checked inputs, which is answered through ``outcome_of``."""
    request = Request("predict", "t")
    request.inputs, request.rows, request.encode = inputs, rows, encode
    request.deadline = time.perf_counter() + timeout
    return request


async def outcome_of(post: Callable[[Request], None], request: Request) -> Any:
    """What a request is answered; raises the error that it gets instead.

    A caller that is cancelled has left.
    """
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def settle(_: Request, outcome: Any) -> None:
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    request.settle = settle
    post(request)
    try:
        return await future
    except asyncio.CancelledError:
        request.cancel()
        raise
