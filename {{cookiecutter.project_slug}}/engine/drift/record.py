"""Writes the reference of a model into its package."""

from __future__ import annotations

from pathlib import Path

from engine.drift.bins import binned
from engine.drift.columns import Values
from engine.packaging.amend import put_file
from engine.scoring.errors import ScoringError
from engine.scoring.files import open_rows
from engine.scoring.run import opened, score_block
from engine.serving.package.reader import Package
from engine.serving.reference.document import FEWEST_ROWS, REFERENCE, Reference

BLOCK_ROWS = 16_384


def record(path: Path, model_name: str | None) -> str:
    """Read the training data, and put the reference into the package.

    Returns:
        What was done, in a sentence.

    Raises:
        ScoringError: the file cannot be read by this model, or has too few rows.
        StartupError: the package is not right.
    """
    values, model = read_values(path, model_name)
    return put_reference(values, model.directory, str(path))


def put_reference(values: Values, directory: Path, source: str) -> str:
    """Put the reference made of these values into the package in ``directory``.

    Args:
        source: of the values, for messages.

    Returns:
        What was done, in a sentence.

    Raises:
        ScoringError: there are too few rows.
    """
    if values.rows < FEWEST_ROWS:
        raise ScoringError(
            f"{source}: has {values.rows} rows that the model takes; a reference needs at least "
            f"{FEWEST_ROWS}"
        )
    columns = [binned(*each) for each in zip(values.columns, values.all(), strict=True)]
    found = tuple(column for column in columns if column is not None)
    if not found:
        raise ScoringError(f"{source}: no column of it has values that occur often enough to count")
    reference = Reference(rows=values.rows, columns=found)
    text = reference.model_dump_json(exclude_defaults=True, indent=1)
    folder = put_file(directory, REFERENCE, f"{text}\n".encode())
    return f"{folder / REFERENCE}: {values.rows:,} rows, {len(found)} columns"


def read_values(path: Path, model_name: str | None) -> tuple[Values, Package]:
    """The values of all columns in a file, and the package of the model that was asked.

    Raises:
        ScoringError: the file cannot be read by this model.
        StartupError: the package is not right.
    """
    rows = open_rows(path)
    values: list[Values] = []
    with opened(rows, model_name, lambda *arrays: values[0].add(*arrays)) as (scorer, model, _):
        values.append(Values(model.package.manifest))
        for block in rows.blocks(BLOCK_ROWS, 0):
            scored = score_block(scorer, block)
            if not scored.accepted and not values[0].rows:
                raise ScoringError(f"{path}: its rows are refused; {scored.refused[0].message}")
        return values[0], model.package
