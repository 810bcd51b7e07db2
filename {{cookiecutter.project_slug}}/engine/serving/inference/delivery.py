"""How a request gets its answer: once, and whatever raises on the way."""

from __future__ import annotations

import logging
from typing import Any

from engine.serving.errors import InferenceFailed
from engine.serving.fault import fault_of
from engine.serving.request import Request

log = logging.getLogger(__name__)


def deliver(request: Request, outcome: Any) -> None:
    """Answer a request that was neither answered nor given up before. Never raises.

    An outcome that cannot be delivered becomes an ``InferenceFailed``.

    Args:
        outcome: the answer, or a ``RequestError``.
    """
    if request.over:
        return
    request.over = True
    try:
        request.settle(request, outcome)
        return
    except Exception as error:  # noqa: BLE001 - answered
        failure = failed(error, request)
    try:
        request.settle(request, failure)
    except Exception as error:  # noqa: BLE001 - logged
        request_id, cause = request.request_id, fault_of(error).text()
        fields = {"request_id": request_id, "exception": cause}
        log.error("a request could not be answered, id %s", request_id, extra={"fields": fields})


def failed(error: BaseException, request: Request) -> InferenceFailed:
    """The answer to a request that an unexpected error broke, with what the log needs of it."""
    incident = request.request_id
    return InferenceFailed(
        f"the model failed on this request; the log has the cause under {incident}",
        incident=incident,
        fault=fault_of(error),
    )
