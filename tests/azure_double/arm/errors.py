"""Errors in the shape of Azure Resource Manager."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ArmError(Exception):
    """What a provider raises to refuse a call or to fail an operation.

    Args:
        status: the HTTP status; inside a long-running operation it is not sent.
        code: Azure's code, for example ``ResourceNotFound``.
        message: Azure's sentence; `az` prints it as "(code) message".
        details: nested errors, each with ``code`` and ``message``.
        headers: further headers of the answer, for example ``Retry-After``.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: list[dict[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.details = details or []
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON document that Azure answers with."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details:
            error["details"] = self.details
        return {"error": error}


def not_modelled(what: str) -> ArmError:
    """What the double does not know, it refuses aloud: a wrong 200 would hide a wrong request."""
    return ArmError(501, "NotModelledByTheDouble", f"the Azure double does not model {what}")
