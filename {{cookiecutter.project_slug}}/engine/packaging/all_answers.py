"""Answers to the rows of a table that no golden record keeps, compared with those of the package.

The record has about 64 rows, so that each start can answer them. A file of samples may have more,
and a wrong answer may be in any of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.packaging.given_answers import close, shown
from engine.packaging.options import Options
from engine.packaging.samples import MOST_ROWS, OUTPUT, parted
from engine.scoring.errors import ScoringError
from engine.scoring.files import open_rows
from engine.scoring.scorer import Scorer
from engine.serving.errors import PackageError
from engine.serving.inference.model import Model
from engine.serving.tensors.datatypes import Array

MOST_COMPARED: Final = 10_000
STEP: Final = 512
TABLES: Final = (".csv", ".jsonl", ".parquet")
Row = Mapping[str, Any]


def check_all(model: Model, options: Options) -> None:
    """Compare the answers to the first 10,000 rows of the samples.

    A row that the service would refuse is left out, and so is a file whose first rows, which were
    compared as the source of the model reads them, are read otherwise here.

    Raises:
        PackageError: the first answer that differs, with its row.
    """
    if options.samples is None:
        return
    texts, rows = _table(options.samples)
    if len(rows) <= MOST_ROWS:
        return
    given = [name for name in rows[0] if name.startswith(OUTPUT)]
    columns = [name for name in rows[0] if not name.startswith(OUTPUT)]
    known = {each.name for each in model.manifest.outputs}
    given = [name for name in given if name.removeprefix(OUTPUT) in known]
    if not given:
        return
    try:
        scorer = Scorer(model, model.manifest.outputs, None, columns, texts=texts, raw=True)
        for begin in range(0, len(rows), STEP):
            _check(scorer, rows[begin : begin + STEP], begin, given, options)
    except (ScoringError, _ReadOtherwise):
        return


class _ReadOtherwise(Exception):
    """The rows mean something else here than to the source of the model."""


def _check(
    scorer: Scorer, rows: Sequence[Row], begin: int, given: Sequence[str], options: Options
) -> None:
    scored = scorer.score(rows)
    for name in given:
        if not scored.accepted:
            return
        got = scored.outputs[name.removeprefix(OUTPUT)]
        got = got.reshape(len(got), -1)
        if got.shape[1] != 1:
            continue
        got = got[:, 0]
        cells = [rows[each].get(name) for each in scored.accepted]
        wanted = _wanted(cells, got)
        there = np.array([not _is_empty(each) for each in cells])
        wrong = np.flatnonzero(there & ~close(wanted, got, options))
        if not wrong.size:
            continue
        at, first = wrong[0], scored.accepted[wrong[0]]
        if begin == 0 and first < MOST_ROWS:
            raise _ReadOtherwise
        told = shown(wanted[at]) if got.dtype.kind == "O" else cells[at]
        raise PackageError(
            f"the samples' {name} at [{begin + first}] is {told}, and the "
            f"package gives {shown(got[at])}; correct the answer, or package the model that gave it"
        )


def _is_empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell)


def _wanted(cells: Sequence[Any], got: Array) -> Array:
    """Given answers in the datatype of the model's."""
    if got.dtype.kind == "O":
        return np.array(["" if each is None else str(each) for each in cells], dtype=np.object_)
    try:
        numbers = [np.nan if _is_empty(each) else float(each) for each in cells]
    except (TypeError, ValueError):
        raise _ReadOtherwise from None
    return np.array(numbers, dtype=np.float64)


def _table(path: Path) -> tuple[bool, list[Row]]:
    """The rows of a table, those that can be read, and whether their cells are text; none where it
    is no table of rows.
    """
    if path.suffix in TABLES:
        try:
            file = open_rows(path)
            rows = next(iter(file.blocks(MOST_COMPARED, 0))).rows
        except (ScoringError, StopIteration):
            return False, []
        return file.texts, [each for each in rows if isinstance(each, Mapping)]
    if path.suffix == ".json":
        return False, list(_records(json.loads(path.read_text(encoding="utf-8"))))[:MOST_COMPARED]
    return False, []


def _records(content: Any) -> Iterator[Row]:
    """The rows of a list of records or of a split table, with the answers beside it."""
    content, answers = parted(content)
    beside = {OUTPUT + name: each for name, each in answers.items() if isinstance(each, list)}
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        names = [str(name) for name in content.get("columns") or ()]
        # A row of another length lacks a column, and is left out like what the service refuses.
        content = [
            dict(zip(names, row, strict=False)) if isinstance(row, list) else {}
            for row in content["data"]
        ]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        return
    for at, row in enumerate(content):
        yield row | {name: each[at] for name, each in beside.items() if len(each) == len(content)}
