"""Rows to answers, by the checks, the model and the hooks that a request meets."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import orjson

from engine.scoring.errors import ScoringError
from engine.scoring.files import Row
from engine.serving.errors import RequestError
from engine.serving.inference.model import Model
from engine.serving.inference.service_hooks import ServiceHooks
from engine.serving.package.manifest import OutputTensor
from engine.serving.tensors.datatypes import Array
from engine.serving.transports import tutorial
from engine.serving.transports.cells import value_of
from engine.serving.transports.classes import counts_classes
from engine.serving.transports.records import column_names

TABLE = 2
Watch = Callable[[Mapping[str, Array], Mapping[str, Array]], None]
# "data[0][2]" and "data.age[0]": where a request of one row has its fault.
PLACE = re.compile(r"data(?:\.(?P<name>.+?))?(?:\[0\](?:\[(?P<column>\d+)\])?)?(?:\[.*)?")


class Refusal(NamedTuple):
    """Why a row has no answer.

    Args:
        row: its position in the rows that were given.
        column: where the fault is; "" where it is the whole row.
        value: what is there.
        rule: what it breaks.
    """

    row: int
    column: str
    value: Any
    rule: str
    message: str


@dataclass(slots=True)
class Scored:
    """Answers, and the rows that have none.

    ``outputs`` have one element or row for each of the ``accepted`` rows, in their order.
    """

    accepted: list[int] = field(default_factory=list)
    outputs: dict[str, Array] = field(default_factory=dict)
    refused: list[Refusal] = field(default_factory=list)


class Scorer:
    """Answers rows with one model.

    Args:
        outputs: of the answer, those included that hooks add.
        hooks: of `service.py`; None where it has none.
        columns: of the file.
        texts: the cells of the file are text, as in CSV.
        watch: called with what the model is given and gives.
        raw: outputs keep their shape; otherwise each becomes columns.

    Raises:
        ScoringError: the file lacks a column, or the model takes no rows.
    """

    def __init__(
        self,
        model: Model,
        outputs: Sequence[OutputTensor],
        hooks: ServiceHooks | None,
        columns: Sequence[str],
        *,
        texts: bool,
        watch: Watch = lambda *_: None,
        raw: bool = False,
    ) -> None:
        specs = model.signature.inputs
        if any(spec.shape[:1] != (-1,) for spec in specs):
            raise ScoringError(
                f"model {model.name!r} takes {', '.join(map(str, specs))}, which has no dimension "
                "of rows, so a file of rows cannot be scored; ask the service"
            )
        self._model = model
        self._outputs = outputs
        self._hooks = hooks
        self._watch = watch
        self._raw = raw
        self._names = column_names(model) or tuple(spec.name for spec in specs)
        self._positions = False
        if not set(self._names) <= set(columns):
            self._names = self._by_position(tuple(columns))
        by_name = {spec.name: spec for spec in specs}
        self._readers: dict[str, Callable[[Any], Any]] = {
            name: partial(value_of, spec=by_name.get(name, specs[0])) if texts else _plain
            for name in self._names
        }
        # What is no table has its values under the names of inputs, row by row.
        self._records = bool(column_names(model))

    def score(self, rows: Sequence[Row]) -> Scored:
        """Answer as many of the rows as are right."""
        scored = Scored()
        readable: list[int] = []
        for at, row in enumerate(rows):
            if isinstance(row, str):
                scored.refused.append(Refusal(at, "", "", "a row of the file's columns", row))
            else:
                readable.append(at)
        parts: list[dict[str, Array]] = []
        step = len(readable) if self._model.signature.batched else 1
        for start in range(0, len(readable), step or 1):
            self._some(rows, readable[start : start + step], scored, parts)
        scored.refused.sort()
        if parts:
            names = parts[0]
            scored.outputs = {
                name: np.concatenate([part[name] for part in parts]) for name in names
            }
        return scored

    def _some(
        self, rows: Sequence[Row], chosen: list[int], scored: Scored, parts: list[dict[str, Array]]
    ) -> None:
        """Answer these rows together; where that fails, each half alone."""
        try:
            parts.append(self._answer([rows[at] for at in chosen]))
        except ScoringError:
            raise
        except Exception as error:  # noqa: BLE001 - models and hooks raise anything
            if len(chosen) == 1:
                scored.refused.append(self._refusal(chosen[0], rows[chosen[0]], error))
                return
            middle = len(chosen) // 2
            self._some(rows, chosen[:middle], scored, parts)
            self._some(rows, chosen[middle:], scored, parts)
            return
        scored.accepted += chosen

    def _answer(self, rows: Sequence[Any]) -> dict[str, Array]:
        inputs = tutorial.decode(self._body(rows), self._model)
        self._model.signature.check(inputs)
        if self._hooks is not None:
            inputs = dict(self._hooks.before(inputs))
        # Of several rows those at fault are found by halves, and one is asked for its reason.
        outputs = (self._model.answer if len(rows) == 1 else self._model.run)(inputs)
        self._watch(inputs, outputs)
        if self._hooks is not None:
            outputs = self._hooks.after(inputs, outputs)
        for name, array in outputs.items():
            if array.shape[:1] != (len(rows),):
                raise ScoringError(
                    f"output {name!r} has the shape {array.shape} for {len(rows)} rows; only a "
                    "model that answers each row can score a file"
                )
        if self._raw:
            return {each.name: outputs[each.name] for each in self._outputs}
        return {name: array for each in self._outputs for name, array in _columns(each, outputs)}

    def _body(self, rows: Sequence[Mapping[str, Any]]) -> bytes:
        """The request that asks for these rows; a key that a row lacks is not in it."""
        readers = self._readers.items()
        cells = [{name: read(row[name]) for name, read in readers if name in row} for row in rows]
        data: Any = cells
        if self._positions:
            data = [list(each.values()) for each in cells]
        elif not self._records:
            data = {name: [each[name] for each in cells] for name in self._names}
        return orjson.dumps({"data": data}, default=_jsonable)

    def _by_position(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """All columns, where the model takes a table whose columns have no names."""
        specs = self._model.signature.inputs
        if (
            len(specs) == 1
            and specs[0].shape == (-1, len(columns))
            and not column_names(self._model)
        ):
            self._positions = True
            return columns
        missing = [name for name in self._names if name not in columns]
        raise ScoringError(
            f"the file has no column {missing[0]!r}; model {self._model.name!r} takes "
            f"{', '.join(map(repr, self._names))}, and the file has {', '.join(map(repr, columns))}"
        )

    def _refusal(self, at: int, row: Any, error: Exception) -> Refusal:
        if not isinstance(error, RequestError):
            cause = error.__cause__ or error
            told = " ".join(f"{type(cause).__name__}: {cause}".split())
            return Refusal(at, "", "", "the model computes without an error", told)
        column, place = "", error.field or ""
        found = PLACE.fullmatch(place)
        if found is not None:
            column = found["name"] or ""
            if found["column"] is not None and int(found["column"]) < len(self._names):
                column = self._names[int(found["column"])]
        told = repr(column) if column else "the row"
        # A rule of the owner's has words of its own.
        here = place.startswith("data")
        message = error.message.replace(place, told) if here else error.message
        return Refusal(at, column, row.get(column, ""), error.rule or "", message)


def _plain(cell: Any) -> Any:
    """The cell. JSON has no infinity, and null would be a missing value."""
    return str(cell) if isinstance(cell, float) and math.isinf(cell) else cell


def _jsonable(value: Any) -> Any:
    """What Parquet holds beside what JSON has."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    raise TypeError(type(value).__name__)


def _columns(output: OutputTensor, outputs: Mapping[str, Array]) -> list[tuple[str, Array]]:
    """An output as columns: one for each class or position of a table, and the names of classes."""
    array = outputs[output.name]
    if array.ndim == TABLE and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == TABLE:
        labels = output.labels if len(output.labels) == array.shape[1] else range(array.shape[1])
        return [(f"{output.name}.{label}", array[:, at]) for at, label in enumerate(labels)]
    found = [(output.name, array)]
    if array.ndim == 1 and output.labels and counts_classes(output):
        names = dict(enumerate(output.labels))
        texts = [names.get(each, "") for each in array.tolist()]
        found.append((f"{output.name}.class", np.array(texts, dtype=np.object_)))
    return found
