"""The FastAPI application: probes, metadata, metrics, documentation and the page."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from http import HTTPMethod
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from engine.serving.capture.sample import Capture
from engine.serving.errors import MethodNotAllowed, NotFound, RequestError, RouteFailed
from engine.serving.extension import Extension
from engine.serving.http.auth import KeyGuard
from engine.serving.http.bodies import Bodies
from engine.serving.http.own_routes import Gate, add_own_routes, error_response
from engine.serving.inference.hooked import HookedModel
from engine.serving.inference.host import ModelHost
from engine.serving.inference.model import Model
from engine.serving.lifecycle import Lifecycle
from engine.serving.metrics.service import Metrics
from engine.serving.package.answers import written
from engine.serving.package.manifest import InputTensor, OutputTensor
from engine.serving.pages.captured import add_captured
from engine.serving.pages.drift import add_drift
from engine.serving.pages.feedback import add_feedback
from engine.serving.pages.openapi import document
from engine.serving.pages.page import add_pages
from engine.serving.release import Release
from engine.serving.settings import Settings
from engine.serving.transports import tutorial

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
EXTENSIONS = ["binary_tensor_data"]
PLATFORMS = {"onnx": "onnxruntime_onnx", "joblib": "sklearn_joblib"}


def create_api(
    release: Callable[[], Release],
    host: ModelHost,
    lifecycle: Lifecycle,
    metrics: Metrics,
    settings: Settings,
    lifespan: Lifespan,
    extension: Extension,
    bodies: Bodies,
    capture: Capture | None = None,
) -> FastAPI:
    """Build the application.

    Args:
        release: gives the release; its model digest is known once the models are read.
        settings: whether inference asks for an API key, and whether there is a page.
        extension: the routes of `service.py`, and whether it has hooks.
        capture: whose sample can be read; None: there is none.
    """
    facts = release()
    app = FastAPI(
        title=facts.title,
        description=facts.description,
        version=facts.version,
        lifespan=lifespan,
        # FastAPI's own pages load their scripts from another host; see engine.serving.pages.page.
        docs_url=None,
        redoc_url=None,
        # A slash too many means nothing on the engine's routes; see http.routes.
        redirect_slashes=False,
        # engine.serving.telemetry does that, for the requests that matter. FastAPI's own telemetry
        # could be switched on by environment variables, and then records bodies of refused
        # requests.
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    _add_health(app, lifecycle, host)
    _add_metadata(app, release, host, lifecycle)
    _add_metrics(app, metrics)
    with_keys = bool(settings.api_keys)
    add_pages(app, with_keys, settings.page)
    guard = KeyGuard(settings.api_keys)
    if extension.has_hooks:
        _add_answers(app, host, guard)
    add_drift(
        app,
        lambda name: metrics.observer(host.get(name).model.name).recorder,
        guard,
        wanted=settings.drift,
    )
    if capture is not None:
        add_captured(app, host, capture.store, settings.api_keys)
    if settings.feedback:
        add_feedback(app, host, with_keys=with_keys)
    gate = Gate(settings, lifecycle, bodies)
    add_own_routes(app, extension.routes, extension.open_routes, gate, with_keys=with_keys)
    _add_errors(app)

    def openapi() -> dict[str, Any]:
        return document(app, host, with_keys)

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _add_health(app: FastAPI, lifecycle: Lifecycle, host: ModelHost) -> None:
    @app.get("/v2/health/live", tags=["health"])
    @app.get("/healthz", tags=["health"])
    async def live() -> Response:
        """Live: the process answers; 503 with the reason when only a new one helps."""
        report = lifecycle.liveness()
        return _json(report, 200 if report["live"] else 503)

    @app.get("/v2/health/ready", tags=["health"])
    @app.get("/readyz", tags=["health"])
    @app.get("/ping", tags=["health"])
    @app.get("/health", tags=["health"])
    async def ready() -> Response:
        """Ready: every model is loaded, warm and verified; else 503 with the reason."""
        report = lifecycle.report()
        return _json(report, 200 if report["ready"] else 503)

    @app.get("/v2/models/{name}/ready", tags=["health"])
    @app.get("/v2/models/{name}/versions/{version}/ready", tags=["health"])
    async def model_ready(name: str, version: str | None = None) -> Response:
        """Readiness of one model."""
        host.get(name, version)
        report = {"name": name} | lifecycle.report()
        return _json(report, 200 if report["ready"] else 503)


def _add_metadata(
    app: FastAPI, release: Callable[[], Release], host: ModelHost, lifecycle: Lifecycle
) -> None:
    @app.get("/v2", tags=["metadata"])
    async def server() -> Response:
        """The release: name, version, revision, digest of the models; and whether it is ready."""
        facts = release()
        return _json(
            {
                "name": facts.name,
                "title": facts.title,
                "version": facts.version,
                "extensions": EXTENSIONS,
                "revision": facts.revision,
                "model_digest": facts.model_digest,
                "models": sorted(host.models),
            }
            | lifecycle.report()
        )

    @app.get("/v2/models", tags=["metadata"])
    async def models() -> Response:
        """All models."""
        return _json({"models": [_describe(each.model) for each in host.models.values()]})

    @app.get("/v2/models/{name}", tags=["metadata"])
    @app.get("/v2/models/{name}/versions/{version}", tags=["metadata"])
    async def model(name: str, version: str | None = None) -> Response:
        """One model: signature, version, digest, execution provider in use."""
        return _json(_describe(host.get(name, version).model))

    @app.get("/version", tags=["metadata"], response_class=PlainTextResponse)
    async def version() -> Response:
        """The version of the service, as text; MLflow's clients ask for it."""
        return PlainTextResponse(release().version)

    @app.get("/v1/models", tags=["metadata"])
    async def names() -> Response:
        """Names of all models, as in KServe's V1 protocol."""
        return _json({"models": sorted(host.models)})

    @app.get("/v1/models/{name}", tags=["health"])
    async def model_v1(name: str) -> Response:
        """Readiness of one model, as in KServe's V1 protocol."""
        host.get(name)
        is_ready = lifecycle.report()["ready"]
        return _json({"name": name, "ready": is_ready}, 200 if is_ready else 503)

    @app.get("/v2/models/{name}/example", tags=["metadata"])
    async def example(name: str) -> Response:
        """A sample request: a body that works with `/predict`."""
        return Response(tutorial.example(host.get(name).model), media_type="application/json")


def _add_answers(app: FastAPI, host: ModelHost, guard: KeyGuard) -> None:
    @app.get("/v2/models/{name}/answers", tags=["metadata"])
    async def answers(request: Request, name: str) -> Response:
        """The answers to the sample requests after the hooks of `service.py`, as an npz file."""
        guard.check(dict(request.scope["headers"]))
        served = host.get(name)
        content = written(served.answers) if isinstance(served, HookedModel) else b""
        return Response(content, media_type="application/octet-stream")


def _add_metrics(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/metrics", tags=["health"], response_class=PlainTextResponse)
    async def prometheus() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestError)
    async def known(_: Request, error: RequestError) -> Response:
        return error_response(error)

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, __: Exception) -> Response:
        # It is raised again after this answer, and the connection logs it.
        return error_response(RouteFailed("unexpected error; the log has the cause"))

    @app.exception_handler(HTTPException)
    async def routing(request: Request, error: HTTPException) -> Response:
        if error.status_code == MethodNotAllowed.status:
            allowed = _allowed(app, request)
            fault: RequestError = MethodNotAllowed(
                f"{request.method} is not answered on {request.url.path}; use {allowed}",
                allow=allowed,
            )
        else:
            fault = NotFound(f"there is no route {request.url.path}; see /docs")
        return error_response(fault)


def _allowed(app: FastAPI, request: Request) -> str:
    """The methods that the path of a request has."""
    # Routers within the application, such as that of `service.py`, list no methods.
    methods: set[str] = {
        method
        for method in HTTPMethod
        for route in app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))


class HeadAsGet:
    """Answers HEAD where GET is answered; the connection leaves the body out."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["method"] == "HEAD" and not self._has_own(scope):
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)

    def _has_own(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is Match.FULL for route in self._app.routes)


def _exclusive(output: OutputTensor) -> dict[str, bool]:
    return {"exclusive": True} if output.exclusive else {}


def _describe(model: Model) -> dict[str, Any]:
    manifest = model.manifest
    return {
        "name": manifest.name,
        "versions": [manifest.version],
        "platform": PLATFORMS[manifest.format],
        "inputs": [
            {"name": each.name, "datatype": each.datatype, "shape": each.shape} | _parameters(each)
            for each in manifest.inputs
        ],
        "outputs": [
            {"name": each.name, "datatype": each.datatype, "shape": each.shape}
            | ({"parameters": {"labels": each.labels} | _exclusive(each)} if each.labels else {})
            for each in manifest.outputs
        ],
        "parameters": {
            "description": manifest.description,
            "execution_provider": model.provider,
            "digest": model.package.digest,
        },
    }


def _parameters(each: InputTensor) -> dict[str, Any]:
    """What a form for people needs beside name and datatype."""
    nullable = each.allow_nan or each.missing is not None
    values = () if each.features else each.choices()
    facts = {"features": each.features, "values": values, "nullable": nullable}
    known = {key: value for key, value in facts.items() if value}
    return {"parameters": known} if known else {}


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
