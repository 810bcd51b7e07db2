"""Inference requests to answers: which route, which model, decode, submit, encode.

Both ways into the service use it: the ASGI endpoint below, and the shortcut of a connection.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import NamedTuple, cast
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

from engine.serving.errors import (
    DeadlineExceeded,
    InferenceFailed,
    MethodNotAllowed,
    NotFound,
    RequestError,
    UnsupportedMediaType,
    quoted,
)
from engine.serving.http.asgi import JSON, TASK, Header, error_answer, send_answer
from engine.serving.http.auth import KeyGuard
from engine.serving.http.body import ClientGone, read_body
from engine.serving.inference.host import ModelHost, ServedModel, shutting_down
from engine.serving.inference.job import Cut, Inputs
from engine.serving.inference.model import Model
from engine.serving.lifecycle import Lifecycle
from engine.serving.logs.fault import fault_of
from engine.serving.logs.requests import names_of
from engine.serving.settings import Settings
from engine.serving.telemetry.record import REQUEST_ID, Record
from engine.serving.telemetry.requests import RequestTelemetry
from engine.serving.telemetry.traceparent import TRACEPARENT
from engine.serving.tensors.datatypes import Array
from engine.serving.transports import oip, tutorial

log = logging.getLogger(__name__)

PREDICT = "/predict"
MODELS = "/v2/models/"
INFER = "/infer"
BINARY = b"application/octet-stream"
HEADER_LENGTH = b"inference-header-content-length"
# Decoding what is larger takes longer than handing it to a thread does, and up to seconds where
# elements have to be looked at one by one. The event loop answers probes meanwhile.
LARGE_BODY = 128 * 1024
# Paths that clients really use are shorter; others would fill the memory of routes with text.
LONGEST_KNOWN_PATH = 256

Answer = tuple[int, list[Header], list[bytes | memoryview]]
Outputs = dict[str, Array]


class Asked(NamedTuple):
    """A decoded request: for which model, its inputs, and what makes answers of outputs."""

    served: ServedModel
    inputs: Inputs
    cut: Cut


@dataclass(frozen=True, slots=True)
class Route:
    """An inference route, taken apart. ``kind`` is ``predict`` or ``infer``; ``name`` None asks
    the default model; ``fault`` is a path that only begins like one.
    """

    kind: str
    name: str | None = None
    version: str | None = None
    fault: str | None = None
    path: str = field(default="", compare=False)


def route_of(path: str) -> Route | None:
    """The inference route of a path, None if it is another one."""
    return _known_route(path) if len(path) <= LONGEST_KNOWN_PATH else _route_of(path)


def _route_of(path: str) -> Route | None:
    route = _taken_apart(path)
    return None if route is None else replace(route, path=path)


# Clients ask the same few routes again and again; a model is found anew for each request.
_known_route = lru_cache(maxsize=256)(_route_of)


def _taken_apart(path: str) -> Route | None:
    if path.startswith(PREDICT):
        rest = path[len(PREDICT) :]
        if rest and not rest.startswith("/"):
            return Route(
                "predict", fault=f"there is no route {path[:LONGEST_KNOWN_PATH]}; see /docs"
            )
        return Route("predict", unquote(rest[1:]) or None)
    if not (path.startswith(MODELS) and path.endswith(INFER)):
        return None
    name, *rest_of = path[len(MODELS) : -len(INFER)].split("/")
    version = unquote(rest_of[1]) if len(rest_of) == 2 and rest_of[0] == "versions" else None
    if rest_of and version is None:
        # Not a route; as a name it cannot exist, and the answer will list those that do.
        return Route("infer", "/".join([name, *rest_of]))
    return Route("infer", unquote(name), version)


class Inference:
    """Begins requests: everything up to the model, which answers at once or when its turn comes."""

    def __init__(self, settings: Settings, host: ModelHost) -> None:
        self._host = host
        self._guard = KeyGuard(settings.api_keys)
        self._contracts: dict[Model, Contract] = {}
        self._max_rows = settings.max_queue_rows
        self._timeout = settings.request_timeout_seconds
        # One thread: decoding holds Python's lock, so more would not decode more, and the memory
        # of parsing is that of one body.
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="decode")
        # Bodies wait here and not in the executor, which would keep those of clients that left.
        self._decoding = asyncio.Lock()

    def close(self) -> None:
        """Release the decoding thread."""
        self._decoder.shutdown(wait=False, cancel_futures=True)

    def authorise(self, headers: Mapping[bytes, bytes]) -> None:
        """Let a request pass whose body is not read yet.

        Raises:
            Unauthorized: no key, or a wrong one.
        """
        self._guard.check(headers)

    def begin(
        self, route: Route, headers: Mapping[bytes, bytes], body: bytes, record: Record
    ) -> Asked:
        """Decode a request for its model.

        Raises:
            RequestError: it cannot be answered.
        """
        _check_content(headers)
        return self.begin_checked(route, headers, body, record)

    def begin_checked(
        self, route: Route, headers: Mapping[bytes, bytes], body: bytes, record: Record
    ) -> Asked:
        """``begin`` for headers that passed its check before."""
        served = self._served(route, headers, body, record)
        return self._decode(served, route, headers, body, record)

    async def begin_large(
        self, route: Route, headers: Mapping[bytes, bytes], body: bytes, record: Record
    ) -> Asked:
        """``begin`` for a large body, which is decoded on a thread of its own.

        Raises:
            RequestError: it cannot be answered.
        """
        _check_content(headers)
        served = self._served(route, headers, body, record)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                await self._decoding.acquire()
                try:
                    work = self._decoder.submit(self._decode, served, route, headers, body, record)
                except RuntimeError:
                    self._decoding.release()
                    raise
                # Also when the client has left: what runs cannot be stopped.
                work.add_done_callback(lambda _: loop.call_soon_threadsafe(self._decoding.release))
                return await asyncio.wrap_future(work)
        except TimeoutError:
            raise DeadlineExceeded(
                f"the body was not decoded within {self._timeout:g} s; try again later",
                rule="REQUEST_TIMEOUT_SECONDS",
                retry_after=1,
            ) from None

    def _served(
        self, route: Route, headers: Mapping[bytes, bytes], body: bytes, record: Record
    ) -> ServedModel:
        """The model that is asked, if its queue has room."""
        if route.fault is not None:
            raise NotFound(route.fault)
        served = self._host.get(route.name, route.version)
        model = served.model
        record.model, record.version = model.name, model.version
        served.refuse_if_full(None if HEADER_LENGTH in headers else body)
        return served

    def _decode(
        self,
        served: ServedModel,
        route: Route,
        headers: Mapping[bytes, bytes],
        body: bytes,
        record: Record,
    ) -> Asked:
        """Read the body; called on any thread."""
        model = served.model
        if route.kind == "predict":
            contract = self._contracts.get(model)
            if contract is None:
                contract = self._contracts[model] = Contract(model, self._max_rows)
            inputs = contract.decode(body)
            record.decoded = time.perf_counter()
            return Asked(served, inputs, contract.cut)
        request = oip.decode(body, headers.get(HEADER_LENGTH), model, self._max_rows)
        record.decoded = time.perf_counter()
        return Asked(served, request.inputs, partial(_protocol, model, request))


class Contract(tutorial.Contract):
    """The tutorials' contract, with HTTP around its answers."""

    def __init__(self, model: Model, max_rows: int) -> None:
        super().__init__(model, max_rows)
        # One object, by which a batch sees that all of it wants the same.
        self.cut: Cut = self._answers

    def _answers(self, outputs: Outputs, sizes: Sequence[int]) -> list[Answer]:
        """The answers to requests that shared a run."""
        return [(200, [JSON], [body]) for body in self.encode_each(outputs, sizes)]


def failure(error: Exception, record: Record) -> Answer:
    """The answer for a request that failed; what nobody foresaw is logged."""
    if not isinstance(error, RequestError):
        incident = record.request_id
        error = InferenceFailed(
            f"unexpected error; the log has the cause under {incident}",
            incident=incident,
            fault=fault_of(error),
        )
    if isinstance(error, InferenceFailed) and error.fault is not None:
        cause = error.fault.text(with_messages=log.isEnabledFor(logging.DEBUG))
        fields = names_of(record) | {"model": record.model, "exception": cause}
        log.error(
            "a request failed with %s, id %s",
            error.fault.name,
            error.incident,
            extra={"fields": fields},
        )
    try:
        status, headers, body = error_answer(error)
    except Exception as unwritable:  # noqa: BLE001 - answered, and logged
        # Such as half of a surrogate pair, in a text of the model's own code.
        return failure(unwritable, record)
    # It remembers where it was raised, and there is the record: a circle for the collector.
    error.__traceback__ = error.__context__ = None
    record.error = error
    if status in (401, 408, 413):
        # The rest of the body may not have been read, so the connection cannot be used again.
        headers.append((b"connection", b"close"))
    return status, headers, [body]


class InferenceEndpoints:
    """Answers the inference routes as ASGI and passes everything else on.

    Args:
        rest: the application for all other routes.
    """

    def __init__(
        self,
        settings: Settings,
        inference: Inference,
        lifecycle: Lifecycle,
        telemetry: RequestTelemetry,
        rest: ASGIApp,
    ) -> None:
        self._settings = settings
        self._inference = inference
        self._lifecycle = lifecycle
        self._telemetry = telemetry
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        route = route_of(scope["path"]) if scope["type"] == "http" else None
        if route is None:
            await self._rest(scope, receive, send)
        else:
            await self._answer(scope, route, receive, send)

    async def _answer(self, scope: Scope, route: Route, receive: Receive, send: Send) -> None:
        fields = dict(scope["headers"])
        path = scope["path"]
        record = self._telemetry.begin(route.kind, path, fields)
        record.method = scope["method"]
        # For the connection: when its client goes away, this task has no purpose any more.
        scope[TASK] = asyncio.current_task()
        try:
            if record.method != "POST":
                raise MethodNotAllowed(f"{record.method} is not answered on {path}; use POST")
            status, headers, chunks = await self._infer(route, fields, receive, record)
        except (ClientGone, asyncio.CancelledError) as error:
            # Whatever waited in a queue has left it with the cancellation.
            if isinstance(error, ClientGone) or not self._lifecycle.drained:
                self._telemetry.end(record, 499)
                return
            status, headers, chunks = failure(shutting_down(), record)
        except Exception as error:  # noqa: BLE001 - answered, and logged unless foreseen
            status, headers, chunks = failure(error, record)
        if not self._lifecycle.ready:
            # Draining: tell the client now, instead of closing a connection it may be using.
            headers.append((b"connection", b"close"))
        headers.append((REQUEST_ID, record.request_id.encode()))
        if record.returned is not None:
            headers.append((TRACEPARENT, record.returned))
        try:
            await send_answer(send, status, headers, chunks)
        except asyncio.CancelledError:
            # The client went away while it was being answered.
            status = 499
        finally:
            self._telemetry.end(record, status)

    async def _infer(
        self, route: Route, headers: Mapping[bytes, bytes], receive: Receive, record: Record
    ) -> Answer:
        self._inference.authorise(headers)
        body = await read_body(
            receive,
            headers.get(b"content-length"),
            self._settings.max_body_bytes,
            self._settings.request_timeout_seconds,
        )
        if len(body) > LARGE_BODY:
            asked = await self._inference.begin_large(route, headers, body, record)
        else:
            asked = self._inference.begin(route, headers, body, record)
        del body  # else it stays while the request waits
        answer = asked.served.submit(asked.inputs, record, asked.cut)
        return cast(Answer, await answer if isinstance(answer, asyncio.Future) else answer)


def _protocol(
    model: Model, request: oip.OipRequest, outputs: Outputs, sizes: Sequence[int]
) -> list[Answer]:
    """A ``Cut`` for one request; each has its own wishes, so there is never a second one."""
    chunks, json_length = oip.encode(outputs, request, model)
    if json_length is None:
        return [(200, [JSON], chunks)]
    headers = [(b"content-type", BINARY), (HEADER_LENGTH, b"%d" % json_length)]
    return [(200, headers, chunks)]


def _check_content(headers: Mapping[bytes, bytes]) -> None:
    if headers.get(b"content-type") == JSON[1] and b"content-encoding" not in headers:
        return
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding != b"identity":
        raise UnsupportedMediaType(
            f"Content-Encoding {quoted(encoding.decode('latin-1'))} is not read; send the body as "
            "it is",
            field="Content-Encoding",
            rule="no content encoding",
        )
    # `curl -d` without a header says form-urlencoded: the refusal tells which header to send.
    kind = headers.get(b"content-type", b"application/json").split(b";")[0].strip().lower()
    accepted = (b"application/json", BINARY) if HEADER_LENGTH in headers else (b"application/json",)
    if kind not in accepted:
        raise UnsupportedMediaType(
            f"Content-Type is {quoted(kind.decode('latin-1'))}; send application/json",
            field="Content-Type",
            rule="application/json, or application/octet-stream with "
            "Inference-Header-Content-Length",
        )
