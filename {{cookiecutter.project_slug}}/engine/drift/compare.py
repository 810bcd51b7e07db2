"""Compares the rows of a file with the reference of a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.scoring.errors import ScoringError
from engine.scoring.files import open_rows
from engine.scoring.run import opened, score_block
from engine.serving.package.reader import Package
from engine.serving.reference.counting import Counter, Counts
from engine.serving.reference.document import Column, Reference
from engine.serving.reference.index import Shift, shift, split

BLOCK_ROWS = 16_384
BAR = 20
HEADER = f"{'column':<32} {'index':>7} {'limit':>7} {'missing':>8} {'unseen':>8}"


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a comparison: text for a terminal, and whether a column has drifted."""

    text: str
    drifted: bool


def compare(path: Path, model_name: str | None) -> Report:
    """Compare a file with the reference in the package of a model.

    Raises:
        ScoringError: the file cannot be read by this model, or its package has no reference.
        StartupError: the package is not right.
    """
    rows = open_rows(path)
    counted: list[Counts] = []
    counters: list[Counter] = []
    with opened(rows, model_name, lambda *arrays: counted.append(counters[0].count(*arrays))) as (
        scorer,
        model,
        _,
    ):
        reference = _reference(model.package)
        missing = {each.name: each.missing for each in model.package.manifest.inputs}
        counters.append(Counter(reference, missing))
        for block in rows.blocks(BLOCK_ROWS, 0):
            score_block(scorer, block)
            counted[:] = [sum(counted)] if counted else []  # type: ignore[list-item]
    if not counted:
        raise ScoringError(f"{path}: has no rows that the model takes")
    parts = list(zip(reference.columns, split(reference.columns, counted[0]), strict=True))
    shifts = [(column, counts, shift(column, counts)) for column, counts in parts]
    drifted = any(each.shifted for _, _, each in shifts)
    lines = [f"{path} beside {reference.rows:,} rows of the training:", "", HEADER]
    for column, counts, found in shifts:
        lines += _lines(column, counts, found)
    lines += ["", _verdict([column.name for column, _, found in shifts if found.shifted])]
    return Report("\n".join(lines), drifted)


def _reference(package: Package) -> Reference:
    if package.reference is None:
        raise ScoringError(
            f"{package.directory}: has no reference; make it of the training data, with `make "
            "reference FILE=train.csv`"
        )
    return package.reference


def _lines(column: Column, counts: Counts, found: Shift) -> Iterator[str]:
    mark = "  DRIFTED" if found.shifted else ""
    yield (
        f"{column.name:<32} {found.index:>7.3f} {found.limit:>7.3f} {found.missing:>8.1%} "
        f"{found.unseen:>8.1%}{mark}"
    )
    if found.shifted:
        yield from _bars(column, counts)


def _bars(column: Column, counts: Counts) -> Iterator[str]:
    """Both distributions, bin by bin."""
    names = [str(each) for each in column.categories] or [
        f"{low:g} to {high:g}" for low, high in zip(column.edges, column.edges[1:], strict=False)
    ]
    then, now = sum(column.counts) or 1, float(counts[: len(names)].sum()) or 1.0
    for name, before, after in zip(names, column.counts, counts, strict=False):
        old, new = before / then, after / now
        yield f"    {name:<26.26} {'#' * round(BAR * old):<{BAR}} {'#' * round(BAR * new):<{BAR}}"


def _verdict(names: list[str]) -> str:
    if not names:
        return "no column has drifted"
    return f"drifted: {', '.join(names)} (left: training, right: this file)"
