"""`POST /feedback`: somebody says which class was the right one, and it is counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
from fastapi import APIRouter, FastAPI, Request, Response

from engine.serving.errors import (
    BodyTooLarge,
    InvalidInput,
    MalformedBody,
    NotFound,
    Unauthorized,
    quoted,
)
from engine.serving.http.own_routes import OwnRoute
from engine.serving.inference.host import ModelHost
from engine.serving.reference.feedback import MOST_ROWS, Feedback

# More than the longest names of classes take.
MOST_BYTES: Final = 64 * 1024
EXAMPLE: Final = '{"request_id": "…", "label": "…"}'


def add_feedback(app: FastAPI, host: ModelHost, *, with_keys: bool) -> None:
    """Answer the route. Without keys it is refused: anybody could make the figures wrong."""
    router = APIRouter(route_class=OwnRoute)

    @router.post("/feedback", tags=["metadata"])
    async def feedback(request: Request) -> Response:
        """The right class of an answered request: `label`, or `labels` with one for each row."""
        if not with_keys:
            raise Unauthorized("feedback is taken with an API key; set API_KEYS")
        served = host.models.values()
        counted = count(await request.body(), [each.feedback for each in served if each.feedback])
        return Response(orjson.dumps({"counted": counted}), media_type="application/json")

    app.include_router(router)


def count(body: bytes, feedbacks: Iterable[Feedback]) -> int:
    """Count what a body says.

    Args:
        feedbacks: of all models; the request's id finds the right one.

    Returns:
        The number of rows that were counted.

    Raises:
        RequestError: it is not of this form, or the request is not remembered.
    """
    request_id, labels = _read(body)
    counted = 0
    for feedback in feedbacks:
        numbers = [None if each is None else feedback.number(each) for each in labels]
        for row, (label, number) in enumerate(zip(labels, numbers, strict=True)):
            if label is None:
                continue
            if number is None:
                if feedback.remembers(request_id, row):
                    raise InvalidInput(
                        f"label {quoted(str(label))} of row {row} is no class of the model; send "
                        f"one of {', '.join(map(quoted, feedback.labels[:MOST_ROWS]))}, or its "
                        "number",
                        field="label",
                        rule="a class of the model, by its name or number",
                    )
                continue
            counted += feedback.count(request_id, row, number)
    if not counted:
        raise NotFound(
            f"request {quoted(request_id)} is not remembered: it was answered by another copy, too "
            "long ago (FEEDBACK), or its label was counted before"
        )
    return counted


def _read(body: bytes) -> tuple[str, list[Any]]:
    if len(body) > MOST_BYTES:
        raise BodyTooLarge(
            f"the body has {len(body)} bytes; send at most {MOST_BYTES}, with the labels of one "
            "request",
            rule=f"at most {MOST_BYTES} bytes",
        )
    try:
        content = orjson.loads(body)
    except ValueError:
        raise MalformedBody("the body is not JSON", rule="a JSON object") from None
    request_id = content.get("request_id") if isinstance(content, Mapping) else None
    if not isinstance(request_id, str):
        raise InvalidInput(
            f'"request_id" is missing; send {EXAMPLE}', field="request_id", rule="the request's id"
        )
    labels = content.get("labels", [content["label"]] if "label" in content else None)
    if not isinstance(labels, list) or not 0 < len(labels) <= MOST_ROWS:
        raise InvalidInput(
            f'"label" is missing, or "labels" is no list of 1 to {MOST_ROWS}; send {EXAMPLE}',
            field="label",
            rule=f"a label, or up to {MOST_ROWS} labels",
        )
    for each in labels:
        if not isinstance(each, str | int | None):
            raise InvalidInput(
                f"label {quoted(str(each))} is neither text nor a whole number; send {EXAMPLE}",
                field="label",
                rule="the name or the number of a class",
            )
    return request_id, labels
