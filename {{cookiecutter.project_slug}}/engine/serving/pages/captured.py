"""`GET /v2/models/{name}/captured`: the captured requests of a folder, for those who have a key."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import FastAPI, Request, Response

from engine.serving.capture.stores import Store
from engine.serving.errors import NotFound, Unauthorized
from engine.serving.http.auth import KeyGuard
from engine.serving.inference.host import ModelHost

MOST_BYTES: Final = 8 * 1024 * 1024


def add_captured(app: FastAPI, host: ModelHost, store: Store, keys: tuple[str, ...]) -> None:
    """Answer the route. Without keys it is refused: it gives what clients have sent."""
    guard = KeyGuard(keys)
    # What is read is in memory twice.
    reading = asyncio.Lock()

    @app.get("/v2/models/{name}/captured", tags=["metadata"])
    async def captured(request: Request, name: str) -> Response:
        """The newest captured requests with their answers, at most 8 MiB of JSON lines."""
        if not keys:
            raise Unauthorized("captured requests are read with an API key; set API_KEYS")
        guard.check(dict(request.scope["headers"]))
        model = host.get(name).model.name
        async with reading:
            lines = await asyncio.to_thread(store.read, model, MOST_BYTES)
        if lines is None:
            raise NotFound("captured requests are in the container that CAPTURE names; read there")
        headers = {"Cache-Control": "no-store"}
        return Response(lines, media_type="application/x-ndjson", headers=headers)
