"""One comparison: a file of rows with right answers, and two sides that are asked for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.comparing.answers import answers_for
from engine.comparing.metrics import Compared, compare
from engine.comparing.sides import Side
from engine.scoring.errors import ScoringError
from engine.scoring.files import Row, RowFile, open_rows
from engine.scoring.scorer import Refusal, Scorer
from engine.serving.inference.model import Model

# Rows of a run of the models, and of a comparison: what is kept of a row has up to 100 bytes.
RUN_ROWS = 1024
MOST_ROWS = 100_000
PROGRESS_ROWS = 20_000

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Job:
    """What to compare, and by what.

    Args:
        data: a file of rows.
        label: the column of right answers.
        model: its name; None where there is one.
        metric: what decides; None: the first one that fits the model.
        margin: the loss of it that is accepted, in its units.
        seed: of the resampling, and of the choice of rows where there are too many.
    """

    data: Path
    label: str = "label"
    model: str | None = None
    metric: str | None = None
    margin: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it. The first of ``compared`` decides; ``notes`` say what was left out.

    ``rows`` were compared, and there are ``all_rows`` in the file.
    """

    job: Job
    model: str
    rows: int
    all_rows: int
    compared: tuple[Compared, ...]
    notes: tuple[str, ...] = ()

    @property
    def decides(self) -> Compared:
        """The metric that decides."""
        return self.compared[0]


@dataclass(slots=True)
class _Refused:
    """Rows that a side refuses: how many, and the first of them."""

    count: int = 0
    first: str = ""
    alone: int = 0
    first_alone: str = ""

    def add(self, refused: Sequence[Refusal], numbers: Sequence[int], others: set[int]) -> None:
        for each in refused:
            told = f"row {numbers[each.row]}: {each.message}"
            self.first = self.first or told
            self.count += 1
            if each.row not in others:
                self.first_alone = self.first_alone or told
                self.alone += 1


def run(job: Job, candidate: Side, other: Side, say: Say) -> Result:
    """Ask both sides for every row, and compare.

    Raises:
        ScoringError: they cannot be compared; the message says why, and what to do.
        PackageError: a package is not right.
    """
    rows = open_rows(job.data)
    if job.label not in rows.columns:
        raise ScoringError(
            f"{job.data}: there is no column {job.label!r} for the right answers, but "
            f"{', '.join(map(repr, rows.columns))}; name theirs with LABEL="
        )
    models = [candidate.model(job.model)]
    models.append(other.model(models[0].name))
    columns = tuple(name for name in rows.columns if name != job.label)
    sides = (candidate, other)
    scorers = [
        _scorer(model, side, rows, columns, job) for model, side in zip(models, sides, strict=True)
    ]
    answers = answers_for(job.metric, models[0].manifest, models[1].manifest)
    total = sum(len(block.rows) for block in rows.blocks(RUN_ROWS, 0))
    refused = (_Refused(), _Refused())
    count, told = 0, 0
    for chosen, numbers in _chosen(rows, total, job.seed):
        truth = [_truth(row, number, job) for row, number in zip(chosen, numbers, strict=True)]
        first, second = (each.score(chosen) for each in scorers)
        lost = [{each.row for each in scored.refused} for scored in (first, second)]
        refused[0].add(first.refused, numbers, lost[1])
        refused[1].add(second.refused, numbers, lost[0])
        both = [at for at in range(len(chosen)) if at not in lost[0] | lost[1]]
        if both:
            outputs = [
                {
                    name: array[np.searchsorted(scored.accepted, both)]
                    for name, array in scored.outputs.items()
                }
                for scored in (first, second)
            ]
            answers.add([truth[at] for at in both], *outputs)
            count += len(both)
        if count - told >= PROGRESS_ROWS:
            say(f"{count:,} rows")
            told = count
    _require_answers(job, refused, count, sides)
    notes = _notes(job, refused, count, total, sides)
    pairs = answers.pairs()
    metric = job.metric or next(iter(pairs))
    if metric not in pairs:
        raise ScoringError(
            f"{metric} cannot be computed for model {models[0].name!r}: log_loss and roc_auc need "
            "probabilities of the same classes from both, and roc_auc two classes; choose "
            f"{' or '.join(pairs)}"
        )
    ordered = {metric: pairs[metric], **pairs}
    say(f"{count:,} rows answered by both; resampling")
    found = compare(ordered, count, {metric: job.margin}, job.seed)
    return Result(job, models[0].name, count, total, tuple(found), notes)


def _scorer(model: Model, side: Side, rows: RowFile, columns: Sequence[str], job: Job) -> Scorer:
    try:
        return Scorer(model, model.manifest.outputs, None, columns, texts=rows.texts, raw=True)
    except ScoringError as error:
        raise ScoringError(
            f"{job.data}: {error}; this is what {side.title} asks for, and the file needs the "
            "columns of both"
        ) from None


def _chosen(rows: RowFile, total: int, seed: int) -> Iterator[tuple[list[Row], list[int]]]:
    """All rows with their numbers, which count from 1; of too many, as many as are compared,
    chosen by chance.
    """
    random = np.random.default_rng(seed)
    start = 1
    for block in rows.blocks(RUN_ROWS, 0):
        numbers = range(start, start + len(block.rows))
        start += len(block.rows)
        if total <= MOST_ROWS:
            yield list(block.rows), list(numbers)
            continue
        picked = np.flatnonzero(random.random(len(block.rows)) < MOST_ROWS / total).tolist()
        if picked:
            yield [block.rows[at] for at in picked], [numbers[at] for at in picked]


def _truth(row: Row, number: int, job: Job) -> Any:
    if isinstance(row, str):
        raise ScoringError(f"{job.data}: row {number}: {row}; correct the row")
    value = row.get(job.label)
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        raise ScoringError(
            f"{job.data}: row {number}: {job.label!r} is empty, and every row needs its right "
            "answer; fill it in, or remove the row"
        )
    return value


def _require_answers(
    job: Job, refused: Sequence[_Refused], count: int, sides: Sequence[Side]
) -> None:
    """Rows that only the candidate refuses are answers that clients would lose."""
    if refused[0].alone:
        raise ScoringError(
            f"{job.data}: {sides[0].title} refuses {refused[0].alone:,} rows that "
            f"{sides[1].title} answers; {refused[0].first_alone}; correct the model, or remove "
            "these rows if they are to be refused from now on"
        )
    if count == 0:
        first = next((f"; {each.first}" for each in refused if each.first), "")
        raise ScoringError(f"{job.data}: has no row that both answer{first}")


def _notes(
    job: Job, refused: Sequence[_Refused], count: int, total: int, sides: Sequence[Side]
) -> tuple[str, ...]:
    notes = []
    if total > MOST_ROWS:
        notes.append(f"{count:,} of {total:,} rows were chosen by chance, seed {job.seed}")
    for each, side in zip(refused, sides, strict=True):
        if each.count:
            notes.append(f"{side.title} refuses {each.count:,} rows, left out; {each.first}")
    return tuple(notes)
