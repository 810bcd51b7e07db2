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
class Compared:
    """A column, what was counted of it, and how far that is from the training."""

    column: Column
    counts: Counts
    found: Shift

    def bars(self) -> Iterator[tuple[str, float, float]]:
        """Of each bin its name, and the share of rows in training and now, in [0, 1]."""
        names = self.column.bins
        then, now = sum(self.column.counts) or 1, float(self.counts[: len(names)].sum()) or 1.0
        for name, before, after in zip(names, self.column.counts, self.counts, strict=False):
            yield name, before / then, float(after) / now


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a comparison: a title, its columns, and text for a terminal."""

    title: str
    columns: tuple[Compared, ...]

    @property
    def drifted(self) -> bool:
        """Whether a column has drifted."""
        return any(each.found.shifted for each in self.columns)

    @property
    def text(self) -> str:
        """All columns, and both distributions of those that have drifted."""
        lines = [self.title, "", HEADER]
        for each in self.columns:
            lines += _lines(each)
        names = [each.column.name for each in self.columns if each.found.shifted]
        return "\n".join([*lines, "", _verdict(names)])


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
    parts = zip(reference.columns, split(reference.columns, counted[0]), strict=True)
    return Report(
        f"{path} beside {reference.rows:,} rows of the training:",
        tuple(Compared(column, counts, shift(column, counts)) for column, counts in parts),
    )


def _reference(package: Package) -> Reference:
    if package.reference is None:
        raise ScoringError(
            f"{package.directory}: has no reference; make it of the training data, with `make "
            "reference FILE=train.csv`"
        )
    return package.reference


def _lines(each: Compared) -> Iterator[str]:
    found = each.found
    mark = "  DRIFTED" if found.shifted else ""
    yield (
        f"{each.column.name:<32} {found.index:>7.3f} {found.limit:>7.3f} {found.missing:>8.1%} "
        f"{found.unseen:>8.1%}{mark}"
    )
    if found.shifted:
        for name, old, new in each.bars():
            then, now = "#" * round(BAR * old), "#" * round(BAR * new)
            yield f"    {name:<26.26} {then:<{BAR}} {now:<{BAR}}"


def _verdict(names: list[str]) -> str:
    if not names:
        return "no column has drifted"
    return f"drifted: {', '.join(names)} (left: training, right: this file)"
