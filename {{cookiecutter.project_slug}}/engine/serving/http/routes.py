"""The inference routes: `/predict`, `/predict/{model}`, and those of the protocols."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

PREDICT: Final = "/predict"
MODELS: Final = "/v2/models/"
INFER: Final = "/infer"
INVOCATIONS: Final = "/invocations"
MODELS_V1: Final = "/v1/models/"
PREDICT_V1: Final = ":predict"
SCORING: Final = "scoring"
# What the paths of the engine's other routes begin with; "" is the page.
RESERVED: Final = (
    "", "docs", "feedback", "health", "healthz", "invocations", "metrics", "openapi.json", "ping",
    "readyz", "v1", "v2", "version",
)  # fmt: skip
# Paths that clients really use are shorter; others would fill the memory of routes with text.
LONGEST_KNOWN_PATH: Final = 256
PROBES: Final = frozenset(("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"))
"""What a platform, and what ends HTTPS beside the service, asks by itself."""


@dataclass(frozen=True, slots=True)
class Route:
    """An inference route, taken apart. ``kind`` is ``predict`` or ``infer``; ``name`` None asks
    the default model; ``fault`` is a path that only begins like one; ``form`` is ``scoring`` where
    the body is that of MLflow or KServe's V1 protocol.
    """

    kind: str
    name: str | None = None
    version: str | None = None
    fault: str | None = None
    form: str = ""
    path: str = field(default="", compare=False)


def without_slash(path: str) -> str:
    """The path without a slash at its end, where it is one of the engine's: it means the same."""
    if len(path) > 1 and path.endswith("/"):
        first = path[1:].split("/")[0]
        if first and (first.startswith(PREDICT[1:]) or first in RESERVED):
            return path[:-1]
    return path


def route_of(path: str) -> Route | None:
    """The inference route of a decoded path, None if it is another one."""
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
        return Route("predict", rest[1:] or None)
    if path == INVOCATIONS:
        return Route("predict", form=SCORING)
    if path.startswith(MODELS_V1) and path.endswith(PREDICT_V1):
        return Route("predict", path[len(MODELS_V1) : -len(PREDICT_V1)], form=SCORING)
    if not (path.startswith(MODELS) and path.endswith(INFER)):
        return None
    name, *rest_of = path[len(MODELS) : -len(INFER)].split("/")
    version = rest_of[1] if len(rest_of) == 2 and rest_of[0] == "versions" else None
    if rest_of and version is None:
        # Not a route; as a name it cannot exist, and the answer will list those that do.
        return Route("infer", "/".join([name, *rest_of]))
    return Route("infer", name, version)
