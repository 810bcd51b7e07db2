"""The routes of `service.py`: refused where the engine has one, and answered like the others."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Coroutine, Iterable, Iterator
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer

from engine.serving.errors import InferenceFailed, InvalidInput, NotReady, RequestError
from engine.serving.http.asgi import error_answer
from engine.serving.http.auth import KeyGuard
from engine.serving.lifecycle import Lifecycle, State
from engine.serving.logs.fault import fault_of

log = logging.getLogger(__name__)

# What the paths of the engine's routes begin with; "" is the page.
RESERVED = ("", "docs", "healthz", "metrics", "openapi.json", "readyz", "v2")
# No route of FastAPI: every path that begins with it is an inference request.
PREDICT = "predict"

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class OwnRoute(APIRoute):
    """A route of `service.py`. Its errors have the form of the engine's."""

    def get_route_handler(self) -> Handler:
        """See FastAPI, "Custom Request and APIRoute class"."""
        handler = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handler(request)
            except RequestError as error:
                return error_response(error)
            except RequestValidationError as error:
                return error_response(_invalid(error))
            except HTTPException as error:
                code = HTTPStatus(error.status_code).name.lower()
                content = orjson.dumps({"error": str(error.detail), "code": code})
                headers = dict(error.headers or {})
                return Response(content, error.status_code, headers, "application/json")
            except Exception as error:  # noqa: BLE001 - answered and logged
                return error_response(_failed(request, error))

        return answered


def error_response(error: RequestError) -> Response:
    """The answer to a request that cannot be answered otherwise."""
    status, headers, body = error_answer(error)
    return Response(body, status, {key.decode(): value.decode() for key, value in headers})


def _invalid(error: RequestValidationError) -> InvalidInput:
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    return InvalidInput(f"{field}: {first['msg']}", field=field)


def _failed(request: Request, error: Exception) -> InferenceFailed:
    incident, fault = secrets.token_hex(8), fault_of(error)
    cause = fault.text(with_messages=log.isEnabledFor(logging.DEBUG))
    fields = {"request_id": incident, "path": request.url.path, "exception": cause}
    log.error("a request failed with %s, id %s", fault.name, incident, extra={"fields": fields})
    return InferenceFailed(
        f"unexpected error; the log has the cause under {incident}", incident=incident
    )


def route_faults(routers: Iterable[APIRouter]) -> Iterator[str]:
    """One sentence for each route that the engine has, or would answer instead."""
    for router in routers:
        for route in router.routes:
            path = str(getattr(route, "path", "/"))
            first = path.removeprefix("/").split("/")[0]
            if first in RESERVED or first.startswith(PREDICT) or "{" in first:
                names = ", ".join(f"/{each}" for each in (*RESERVED, PREDICT))
                yield (
                    f"the route {path} may be one of the engine's; begin it with a fixed word, and "
                    f"with none of {names}"
                )


def add_own_routes(
    app: FastAPI, guarded: APIRouter, free: APIRouter, keys: tuple[str, ...], lifecycle: Lifecycle
) -> None:
    """Add the routes to the application.

    Args:
        guarded: routes that ask for one of the keys, if there are any.
        free: routes that ask for none.
        keys: the API keys of the service.
        lifecycle: the routes are answered once the service is ready.
    """
    guard = KeyGuard(keys)

    async def authorised(request: Request) -> None:
        guard.check(dict(request.scope["headers"]))

    async def begun() -> None:
        if lifecycle.state in (State.STARTING, State.FAILED):
            raise NotReady(
                f"the service is {lifecycle.state.value}: {lifecycle.reason}", retry_after=1
            )

    documented = [
        # They say so in /docs; `authorised` decides.
        Security(APIKeyHeader(name="X-API-Key", scheme_name="ApiKey", auto_error=False)),
        Security(HTTPBearer(scheme_name="Bearer", auto_error=False)),
    ]
    needed = [Depends(authorised), *documented] if keys else []
    app.include_router(guarded, dependencies=[*needed, Depends(begun)])
    app.include_router(free, dependencies=[Depends(begun)])
