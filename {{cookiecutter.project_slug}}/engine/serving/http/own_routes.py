"""The routes of `service.py`: refused where the engine has one, and answered like the others."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.types import Message

from engine.serving.errors import (
    InvalidInput,
    NotReady,
    RequestError,
    RequestTimeout,
    RouteFailed,
)
from engine.serving.fault import fault_of
from engine.serving.http.answers import error_answer
from engine.serving.http.auth import KeyGuard
from engine.serving.http.bodies import Bodies
from engine.serving.http.routes import PREDICT, RESERVED
from engine.serving.lifecycle import Lifecycle, State
from engine.serving.settings import Settings
from engine.serving.transports.bounds import check_json

log = logging.getLogger(__name__)

# The body may not have been read then, so the connection cannot be used again.
UNREAD = (401, 408, 413)


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Body:
    """What was received of a body."""

    def __init__(self) -> None:
        self.body: bytes | bytearray = b""
        self.held = 0


class Gate:
    """What a request passes before code of `service.py` sees it: nothing of it is unbounded."""

    def __init__(self, settings: Settings, lifecycle: Lifecycle, bodies: Bodies) -> None:
        self._guard = KeyGuard(settings.api_keys)
        self._lifecycle = lifecycle
        self._bodies = bodies
        self._timeout = settings.request_timeout_seconds
        self._max_values = settings.max_json_values

    async def let_in(self, request: Request, *, needs_key: bool) -> Request:
        """The request with its body read.

        Raises:
            RequestError: no key, not ready, or a body that is too large or too slow.
            ClientGone: the client went away.
        """
        headers = dict(request.scope["headers"])
        if needs_key:
            self._guard.check(headers)
        state = self._lifecycle.state
        if state in (State.STARTING, State.FAILED):
            raise NotReady(f"the service is {state.value}: {self._lifecycle.reason}", retry_after=1)
        self._bodies.check_length(headers.get(b"content-length"))
        body = await self._read(request)
        check_json(body, self._max_values)
        unread: list[Message] = [{"type": "http.request", "body": body}]

        async def receive() -> Message:
            return unread.pop() if unread else await request.receive()

        return Request(request.scope, receive)

    async def _read(self, request: Request) -> bytes:
        held = Body()
        try:
            async with asyncio.timeout(self._timeout):
                more = True
                while more:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    self._bodies.add(held, message.get("body", b""))
                    more = message.get("more_body", False)
            return bytes(held.body)
        except TimeoutError:
            raise RequestTimeout(
                f"the body did not arrive within {self._timeout:g} s",
                rule="REQUEST_TIMEOUT_SECONDS",
            ) from None
        finally:
            self._bodies.release(held)


class OwnRoute(APIRoute):
    """A route of `service.py`. Its errors have the form of the engine's."""

    needs_key = True

    def get_route_handler(self) -> Handler:
        """See FastAPI, "Custom Request and APIRoute class"."""
        handler = super().get_route_handler()

        async def answered(request: Request) -> Response:
            gate: Gate = request.app.state.gate
            try:
                request = await gate.let_in(request, needs_key=self.needs_key)
                return await handler(request)
            except ClientGone:
                return Response(status_code=499)
            except RequestError as error:
                response = error_response(error)
                if error.status in UNREAD:
                    response.headers["connection"] = "close"
                return response
            except RequestValidationError as error:
                return error_response(_invalid(error))
            except HTTPException as error:
                answer = {"error": str(error.detail), "code": f"http_{error.status_code}"}
                headers = dict(error.headers or {})
                return Response(
                    orjson.dumps(answer), error.status_code, headers, "application/json"
                )
            except Exception as error:  # noqa: BLE001 - answered and logged
                return error_response(_failed(request, error))

        return answered


class OpenRoute(OwnRoute):
    """A route of `service.py` that asks for no key."""

    needs_key = False


def error_response(error: RequestError) -> Response:
    """The answer to a request that cannot be answered otherwise."""
    status, headers, chunks = error_answer(error)
    fields = {key.decode(): value.decode() for key, value in headers}
    return Response(b"".join(chunks), status, fields)


def _invalid(error: RequestValidationError) -> InvalidInput:
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    return InvalidInput(f"{field}: {first['msg']}", field=field)


def _failed(request: Request, error: Exception) -> RouteFailed:
    incident, fault = secrets.token_hex(8), fault_of(error)
    cause = fault.text(with_messages=log.isEnabledFor(logging.DEBUG))
    fields = {"request_id": incident, "path": request.url.path, "exception": cause}
    log.error("a request failed with %s, id %s", fault.name, incident, extra={"fields": fields})
    return RouteFailed(
        f"unexpected error; the log has the cause under {incident}", incident=incident
    )


def route_faults(routers: Iterable[APIRouter]) -> Iterator[str]:
    """One sentence for each route that the engine has, or that nobody would ever reach."""
    seen: set[tuple[str, str]] = set()
    for router in routers:
        for route in router.routes:
            path = str(getattr(route, "path", "/"))
            if not isinstance(route, APIRoute):
                yield f"{path} is a {type(route).__name__}; the service has routes of HTTP only"
                continue
            if not path.startswith("/"):
                yield f"the route {path!r} has to begin with /"
            asked = {(method, path) for method in route.methods or ()}
            if again := sorted(asked & seen):
                yield f"{again[0][0]} {path} is there twice, and the second is never asked"
            seen |= asked
            first = path.removeprefix("/").split("/")[0]
            if first in RESERVED or first.startswith(PREDICT[1:]) or "{" in first:
                names = ", ".join(f"/{each}" for each in (*RESERVED, PREDICT[1:]))
                yield (
                    f"the route {path} may be one of the engine's; begin it with a fixed word, and "
                    f"with none of {names}"
                )


def add_own_routes(
    app: FastAPI, guarded: APIRouter, free: APIRouter, gate: Gate, *, with_keys: bool
) -> None:
    """Add the routes to the application; they are answered once the service is ready.

    Args:
        guarded: routes that ask for an API key, if there are any.
        free: routes that ask for none.
    """
    app.state.gate = gate
    # So /docs says it; the gate decides.
    documented = [
        Security(APIKeyHeader(name="X-API-Key", scheme_name="ApiKey", auto_error=False)),
        Security(HTTPBearer(scheme_name="Bearer", auto_error=False)),
    ]
    app.include_router(guarded, dependencies=documented if with_keys else [])
    app.include_router(free)
