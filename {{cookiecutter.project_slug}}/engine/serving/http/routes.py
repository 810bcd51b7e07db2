"""The inference routes: `/predict`, `/predict/{model}` and those of the protocol."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

PREDICT: Final = "/predict"
MODELS: Final = "/v2/models/"
INFER: Final = "/infer"
# What the paths of the engine's other routes begin with; "" is the page.
RESERVED: Final = ("", "docs", "healthz", "metrics", "openapi.json", "readyz", "v2")
# Paths that clients really use are shorter; others would fill the memory of routes with text.
LONGEST_KNOWN_PATH: Final = 256


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
    if not (path.startswith(MODELS) and path.endswith(INFER)):
        return None
    name, *rest_of = path[len(MODELS) : -len(INFER)].split("/")
    version = rest_of[1] if len(rest_of) == 2 and rest_of[0] == "versions" else None
    if rest_of and version is None:
        # Not a route; as a name it cannot exist, and the answer will list those that do.
        return Route("infer", "/".join([name, *rest_of]))
    return Route("infer", name, version)
