"""`GET /v2/models/{name}/drift`: how columns were distributed in training, and how they are now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request, Response

from engine.serving.http.auth import KeyGuard
from engine.serving.reference.counting import Counts
from engine.serving.reference.document import Column
from engine.serving.reference.index import shift
from engine.serving.reference.recorder import WINDOWS, Recorder

NO_REFERENCE: Final = (
    "the package has no reference.json; `make reference FILE=train.csv` records what the training "
    "data was like"
)
SWITCHED_OFF: Final = "DRIFT=off: requests are not compared with the training"
DIGITS: Final = 4


def add_drift(
    app: FastAPI, recorder_of: Callable[[str], Recorder | None], guard: KeyGuard, *, wanted: bool
) -> None:
    """Answer the route. What is counted of requests is for those who may ask for predictions.

    Args:
        recorder_of: gives what counts for a model, by its name; raises ``NotFound``.
        wanted: the setting DRIFT.
    """

    @app.get("/v2/models/{name}/drift", tags=["metadata"])
    async def drift(request: Request, name: str) -> Response:
        """Distributions of the training, and of the last hour and day; see Drift in the guide."""
        guard.check(dict(request.scope["headers"]))
        found = distributions(recorder_of(name), wanted=wanted)
        return Response(orjson.dumps({"name": name} | found), media_type="application/json")


def distributions(recorder: Recorder | None, *, wanted: bool) -> dict[str, Any]:
    """Both distributions of each column, as shares of all rows.

    Args:
        recorder: None where the model has no reference, or nothing is compared.
        wanted: the setting DRIFT.
    """
    if recorder is None:
        return {"rows": 0, "columns": [], "reason": NO_REFERENCE if wanted else SWITCHED_OFF}
    counts = {window: recorder.counts(window) for window in WINDOWS}
    columns = [
        {"name": column.name, "side": column.side, "bins": [*column.bins, "missing", "other"]}
        | {"training": _shares(column, [*column.counts, column.missing, column.other])}
        | {window: _now(column, each[at]) for window, each in counts.items()}
        for at, column in enumerate(recorder.columns)
    ]
    return {"rows": recorder.reference_rows, "columns": columns}


def _now(column: Column, counts: Counts) -> dict[str, Any]:
    found = shift(column, counts)
    figures = {
        "index": found.index, "limit": found.limit, "missing": found.missing,
        "unseen": found.unseen,
    }  # fmt: skip
    rounded = {name: round(value, DIGITS) for name, value in figures.items()}
    shares = _shares(column, counts.tolist())
    return rounded | {"rows": found.rows, "drifted": found.shifted, "shares": shares}


def _shares(column: Column, counts: list[float]) -> list[float]:
    """Of bins, missing values and other categories; a number outside all bins is in the first or
    the last one.
    """
    if column.edges:
        counts = [*counts[:-1], 0.0]
    rows = sum(counts) or 1.0
    return [round(each / rows, DIGITS) for each in counts]
