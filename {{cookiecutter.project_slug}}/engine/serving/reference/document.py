"""``reference.json`` of a model package: how the values of each column were distributed.

It holds counts of bins and no rows. No bin has fewer than `LEAST_ROWS` rows, the edges of bins are
rounded, and rare categories are counted together, so that no row can be read from it.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.serving.errors import PackageError

REFERENCE: Final = "reference.json"
LEAST_ROWS: Final = 10
# Rows without which a reference says nothing.
FEWEST_ROWS: Final = 100
MOST_COLUMNS: Final = 64
MOST_BINS: Final = 50
# Of a column, beside its bins: missing values, and those that are in no bin.
BESIDE: Final = 2
MOST_BYTES: Final = 1024 * 1024

Side = Literal["input", "output"]
Measure = Literal["value", "mean", "deviation", "norm", "length", "confidence"]


class Column(BaseModel):
    """The distribution of one number or category of each row.

    Args:
        name: how metrics call it.
        side: whether it is of the inputs or of the outputs.
        tensor: name of the tensor.
        place: index in the second dimension of the tensor; None for all values of a row.
        measure: what is taken of a row: the value itself, the mean, standard deviation or Euclidean
            norm of its values, the number of characters of a text, or the largest of its values,
            which is a classifier's confidence.
        edges: of the bins of a number, rising; bin i holds ``edges[i] <= value < edges[i + 1]``,
            the first one also what is below and the last one what is above.
        categories: each is a bin, instead of ``edges``.
        counts: rows of each bin.
        missing: rows without a value.
        other: rows with a category that is none of these.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=200)
    side: Side
    tensor: str = Field(min_length=1)
    place: int | None = Field(None, ge=0)
    measure: Measure = "value"
    edges: tuple[float, ...] = Field((), max_length=MOST_BINS + 1)
    categories: tuple[float | str, ...] = Field((), max_length=MOST_BINS)
    counts: tuple[int, ...] = Field(max_length=MOST_BINS)
    missing: int = Field(0, ge=0)
    other: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Column:
        if self.edges and self.categories:
            raise ValueError(f"{self.name}: has edges and categories; one of both makes bins")
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError(f"{self.name}: edges must rise")
        bins = len(self.edges) - 1 if self.edges else len(self.categories)
        if bins != len(self.counts):
            raise ValueError(f"{self.name}: has {len(self.counts)} counts for {bins} bins")
        if any(0 < count < LEAST_ROWS for count in self.counts):
            raise ValueError(f"{self.name}: a bin has fewer than {LEAST_ROWS} rows")
        return self

    @property
    def size(self) -> int:
        """How many numbers count its values: one for each bin, missing values, and no bin."""
        return len(self.counts) + BESIDE

    @property
    def bins(self) -> list[str]:
        """The bins in words: categories, or ranges such as "0.5 to 1"."""
        return [str(each) for each in self.categories] or [
            f"{low:g} to {high:g}" for low, high in pairwise(self.edges)
        ]


class Reference(BaseModel):
    """All columns of one model. ``rows`` is the number of rows that were counted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reference_version: Literal[1] = 1
    rows: int = Field(ge=FEWEST_ROWS)
    columns: tuple[Column, ...] = Field(min_length=1, max_length=MOST_COLUMNS)

    @model_validator(mode="after")
    def _names_differ(self) -> Reference:
        names = [(column.side, column.name) for column in self.columns]
        if len(set(names)) != len(names):
            raise ValueError("two columns have the same name")
        return self

    @property
    def size(self) -> int:
        """How many numbers count the values of all columns."""
        return sum(column.size for column in self.columns)


MOST_NUMBERS: Final = MOST_COLUMNS * (MOST_BINS + BESIDE)


def read_reference(directory: Path) -> Reference:
    """Read and check the reference of one package.

    Raises:
        PackageError: it is no such document.
    """
    path = directory / REFERENCE
    try:
        content = path.read_bytes()
        if len(content) > MOST_BYTES:
            raise PackageError(f"{path}: has {len(content)} bytes; at most {MOST_BYTES} are read")
        return Reference.model_validate_json(content)
    except OSError as error:
        raise PackageError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise PackageError(
            f"{path}: {place or 'document'}: {reason}; make it again with `make reference`"
        ) from None
