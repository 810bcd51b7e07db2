"""The two inference endpoints, as plain ASGI: no framework layer between socket and model."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import (
    InferenceFailed,
    MethodNotAllowed,
    NotFound,
    RequestError,
    UnsupportedMediaType,
)
from app.http.asgi import JSON, Header, error_answer, send_answer
from app.http.auth import KeyGuard
from app.http.body import ClientGone, read_body
from app.http.connection import TASK
from app.inference.host import ModelHost
from app.lifecycle import Lifecycle
from app.metrics.service import Metrics
from app.settings import Settings
from app.transports import oip, tutorial

log = logging.getLogger(__name__)

PREDICT = "/predict"
MODELS = "/v2/models/"
INFER = "/infer"
BINARY = b"application/octet-stream"
HEADER_LENGTH = b"inference-header-content-length"
Answer = tuple[int, list[Header], list[bytes | memoryview]]


class InferenceEndpoints:
    """Answers the inference routes itself and passes everything else on.

    Args:
        rest: the application for all other routes.
    """

    def __init__(
        self,
        settings: Settings,
        host: ModelHost,
        lifecycle: Lifecycle,
        metrics: Metrics,
        rest: ASGIApp,
    ) -> None:
        self._settings = settings
        self._host = host
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._guard = KeyGuard(settings.api_keys)
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            path: str = scope["path"]
            if path.startswith(PREDICT) or (path.startswith(MODELS) and path.endswith(INFER)):
                await self._answer(scope, path, receive, send)
                return
        await self._rest(scope, receive, send)

    async def _answer(self, scope: Scope, path: str, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        transport = "predict" if path.startswith(PREDICT) else "oip"
        # For the connection: when its client goes away, this task has no purpose any more.
        scope[TASK] = asyncio.current_task()
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed(f"{scope['method']} is not answered on {path}; use POST")
            status, answer_headers, chunks = await self._infer(path, headers, receive)
        except (ClientGone, asyncio.CancelledError):
            # Whatever waited in a queue has left it with the cancellation.
            self._metrics.request(transport, 499, time.perf_counter() - begun)
            return
        except RequestError as error:
            status, answer_headers, body = error_answer(error)
            chunks = [body]
            if status in (401, 408, 413):
                # The rest of the body was not read, so the connection cannot be used again.
                answer_headers.append((b"connection", b"close"))
        except Exception:
            log.exception("unexpected error on %s", path)
            status, answer_headers, body = error_answer(
                InferenceFailed("unexpected error; the log has the cause")
            )
            chunks = [body]
        if not self._lifecycle.ready:
            # Draining: tell the client now, instead of closing a connection it may be using.
            answer_headers.append((b"connection", b"close"))
        await send_answer(send, status, answer_headers, chunks)
        self._metrics.request(transport, status, time.perf_counter() - begun)

    async def _infer(self, path: str, headers: Mapping[bytes, bytes], receive: Receive) -> Answer:
        self._guard.check(headers)
        body = await read_body(
            receive,
            headers.get(b"content-length"),
            self._settings.max_body_bytes,
            self._settings.request_timeout_seconds,
        )
        _check_content(headers)
        if path.startswith(PREDICT):
            return await self._predict(path, body)
        return await self._oip(path, headers.get(HEADER_LENGTH), body)

    async def _predict(self, path: str, body: bytes) -> Answer:
        served = self._host.get(_name_of(path))
        served.refuse_if_full()
        outputs = await served.infer(tutorial.decode(body, served.model))
        return 200, [JSON], [tutorial.encode(outputs, served.model)]

    async def _oip(self, path: str, header_length: bytes | None, body: bytes) -> Answer:
        name, version = _model_of(path)
        served = self._host.get(name, version)
        served.refuse_if_full()
        request = oip.decode(body, header_length, served.model)
        outputs = await served.infer(request.inputs)
        chunks, json_length = oip.encode(outputs, request, served.model)
        if json_length is None:
            return 200, [JSON], chunks
        return (
            200,
            [(b"content-type", BINARY), (HEADER_LENGTH, b"%d" % json_length)],
            chunks,
        )


def _name_of(path: str) -> str | None:
    """`/predict` asks the default model, `/predict/{name}` the one of that name."""
    rest = path[len(PREDICT) :]
    if rest and not rest.startswith("/"):
        raise NotFound(f"there is no route {path}; see /docs")
    return unquote(rest[1:]) or None


def _model_of(path: str) -> tuple[str, str | None]:
    name, *rest = path[len(MODELS) : -len(INFER)].split("/")
    version = unquote(rest[1]) if len(rest) == 2 and rest[0] == "versions" else None
    if rest and version is None:
        # Not a route; as a name it cannot exist, and the answer will list those that do.
        return "/".join([name, *rest]), None
    return unquote(name), version


def _check_content(headers: Mapping[bytes, bytes]) -> None:
    if headers.get(b"content-type") == JSON[1] and b"content-encoding" not in headers:
        return
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding != b"identity":
        raise UnsupportedMediaType(
            f"Content-Encoding {encoding.decode('latin-1')!r} is not read; send the body as it is",
            field="Content-Encoding",
            rule="no content encoding",
        )
    # `curl -d` without a header says form-urlencoded: the refusal tells which header to send.
    kind = headers.get(b"content-type", b"application/json").split(b";")[0].strip().lower()
    accepted = (b"application/json", BINARY) if HEADER_LENGTH in headers else (b"application/json",)
    if kind not in accepted:
        raise UnsupportedMediaType(
            f"Content-Type is {kind.decode('latin-1')!r}; send application/json",
            field="Content-Type",
            rule="application/json, or application/octet-stream with "
            "Inference-Header-Content-Length",
        )
