"""Errors as registries answer them."""

from __future__ import annotations

from ..wire import Response, json_response

HELP = "visit https://aka.ms/acr/authorization for more information."


def unauthorized(detail: str, challenge: str = "") -> Response:
    """401; with a challenge the client knows where to get a token."""
    error = {
        "code": "UNAUTHORIZED",
        "message": f"authentication required, {HELP}",
        "detail": detail,
    }
    headers = {"www-authenticate": challenge} if challenge else {}
    return json_response(401, {"errors": [error]}, headers)


def unknown(what: str) -> Response:
    """404."""
    return json_response(
        404, {"errors": [{"code": "NAME_UNKNOWN", "message": f"{what} not found"}]}
    )


def not_modelled(what: str) -> Response:
    """501: what the double does not know, it refuses aloud."""
    message = f"the Azure double does not model {what}"
    return json_response(501, {"errors": [{"code": "UNSUPPORTED", "message": message}]})
