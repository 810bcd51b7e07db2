"""Files of rows: CSV, JSON lines and Parquet, read in blocks and written in parts."""

from __future__ import annotations

import csv
import importlib
import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson

from engine.scoring.errors import ScoringError
from engine.serving.tensors.datatypes import Array

Row = Mapping[str, Any] | str
"""The cells of a row by column, or why it cannot be read."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that follow each other in a file.

    ``raw`` is what the file's kind needs to write them again.
    """

    rows: Sequence[Row]
    raw: Any


class RowFile(Protocol):
    """A file of rows, and files of the same kind."""

    columns: tuple[str, ...]
    """The names of its columns; of JSON lines, the keys of the first line."""
    texts: bool
    """Whether cells have no types."""

    def blocks(self, size: int, skip: int) -> Iterator[Block]:
        """All rows but the first ``skip``, in blocks of ``size``; the last one may have fewer."""

    def write(
        self, path: Path, block: Block, chosen: Sequence[int], outputs: Mapping[str, Array]
    ) -> None:
        """Write the chosen rows of a block, each with its outputs beside it.

        Args:
            outputs: arrays with one element or row for each chosen row.
        """

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Make one file of what ``write`` wrote."""


def open_rows(path: Path) -> RowFile:
    """A file of rows of the kind that its name says.

    Raises:
        ScoringError: it is missing, of another kind, empty, or no such file.
    """
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise ScoringError(f"{path}: rows are read from {', '.join(KINDS)} files")
    if not path.is_file():
        raise ScoringError(f"{path}: there is no such file")
    return kind(path)


class CsvFile:
    """CSV with a header line."""

    texts = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self.columns = tuple(next(self._lines(), ()))
        if not self.columns:
            raise ScoringError(f"{path}: it is empty; it needs a line with the names of columns")
        twice = [name for i, name in enumerate(self.columns) if name in self.columns[:i]]
        if twice:
            raise ScoringError(f"{path}: two columns are called {twice[0]!r}; names must differ")

    def blocks(self, size: int, skip: int) -> Iterator[Block]:
        """See ``RowFile``."""
        for raw in _grouped(itertools.islice(self._lines(), 1 + skip, None), size):
            yield Block([self._row(cells) for cells in raw], raw)

    def write(
        self, path: Path, block: Block, chosen: Sequence[int], outputs: Mapping[str, Array]
    ) -> None:
        """See ``RowFile``."""
        added = [list(map(_cell, values)) for values in outputs.values()]
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow([*self.columns, *outputs])
            for row, *cells in zip(chosen, *added, strict=True):
                rows.writerow([*block.raw[row], *cells])

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """See ``RowFile``."""
        # A part without rows knows no outputs.
        header = max((next(_csv(part)) for part in parts), key=len)
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(header)
            for part in parts:
                rows.writerows(itertools.islice(_csv(part), 1, None))

    def _lines(self) -> Iterator[list[str]]:
        try:
            with self._path.open(newline="", encoding="utf-8-sig") as file:
                # As pandas does: empty lines are no rows.
                yield from filter(None, csv.reader(file))
        except UnicodeDecodeError as error:
            raise ScoringError(
                f"{self._path}: holds the byte {error.object[error.start]:#04x}, which is no "
                "UTF-8; save the file as UTF-8"
            ) from None
        except csv.Error as error:
            raise ScoringError(f"{self._path}: is no CSV: {error}") from None

    def _row(self, cells: list[str]) -> Row:
        if len(cells) != len(self.columns):
            return f"it has {len(cells)} cells, and the header has {len(self.columns)}"
        return dict(zip(self.columns, cells, strict=True))


class JsonLinesFile:
    """JSON lines: an object on each line."""

    texts = False

    def __init__(self, path: Path) -> None:
        self._path = path
        first = next(self._lines(), None)
        if first is None:
            raise ScoringError(f"{path}: it is empty; it needs a JSON object on each line")
        row = _object(first)
        if isinstance(row, str):
            raise ScoringError(f"{path}: the first line is none of JSON lines: {row}")
        self.columns = tuple(row)

    def blocks(self, size: int, skip: int) -> Iterator[Block]:
        """See ``RowFile``."""
        for raw in _grouped(itertools.islice(self._lines(), skip, None), size):
            rows = [_object(line) for line in raw]
            yield Block(rows, rows)

    def write(
        self, path: Path, block: Block, chosen: Sequence[int], outputs: Mapping[str, Array]
    ) -> None:
        """See ``RowFile``."""
        arrays = {name: _json_cells(values) for name, values in outputs.items()}
        with path.open("wb") as file:
            for at, row in enumerate(chosen):
                answer = {name: values[at] for name, values in arrays.items()}
                line = {**block.raw[row], **answer}
                file.write(orjson.dumps(line, option=JSON_OPTIONS))

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """See ``RowFile``."""
        with path.open("wb") as file:
            for part in parts:
                with part.open("rb") as each:
                    shutil.copyfileobj(each, file)

    def _lines(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            yield from (line for line in file if line.strip())


class ParquetFile:
    """Parquet, by pyarrow."""

    texts = False

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._arrow: Any = importlib.import_module("pyarrow")
            self._parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise ScoringError(
                f"{path}: Parquet is read with pyarrow, which is not installed: add it to "
                "requirements/train.in, and run `make lock`"
            ) from None
        try:
            self.columns = tuple(self._parquet.ParquetFile(path).schema_arrow.names)
        except (self._arrow.ArrowException, OSError) as error:
            raise ScoringError(f"{path}: cannot be read as Parquet: {error}") from None

    def blocks(self, size: int, skip: int) -> Iterator[Block]:
        """See ``RowFile``."""
        # Batches end where a row group does.
        for batch in self._batches(size, skip):
            yield Block(batch.to_pylist(), batch)

    def write(
        self, path: Path, block: Block, chosen: Sequence[int], outputs: Mapping[str, Array]
    ) -> None:
        """See ``RowFile``."""
        right = set(chosen)
        table = block.raw.filter([row in right for row in range(block.raw.num_rows)])
        for name, values in outputs.items():
            flat = values if values.ndim == 1 else values.tolist()
            table = table.append_column(name, self._arrow.array(flat))
        self._parquet.write_table(table, path)

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """See ``RowFile``."""
        # Nothing but the rows tells the types of outputs.
        read = self._parquet.read_table
        filled = next((each for each in parts if read(each).num_rows), parts[0])
        with self._parquet.ParquetWriter(path, read(filled).schema) as file:
            for part in parts:
                table = read(part)
                if table.num_rows:
                    file.write_table(table)

    def _batches(self, size: int, skip: int) -> Iterator[Any]:
        table: Any = None
        for batch in self._parquet.ParquetFile(self._path).iter_batches(batch_size=size):
            start = min(skip, batch.num_rows)
            skip -= start
            more = self._arrow.Table.from_batches([batch.slice(start)])
            table = more if table is None else self._arrow.concat_tables([table, more])
            while table.num_rows >= size:
                yield table.slice(0, size)
                table = table.slice(size)
        if table is not None and table.num_rows:
            yield table


KINDS: dict[str, type[CsvFile] | type[JsonLinesFile] | type[ParquetFile]] = {
    ".csv": CsvFile,
    ".jsonl": JsonLinesFile,
    ".ndjson": JsonLinesFile,
    ".parquet": ParquetFile,
}
JSON_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE


def _grouped(each: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while group := list(itertools.islice(each, size)):
        yield group


def _csv(path: Path) -> Iterator[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.reader(file)


def _object(line: bytes) -> Row:
    try:
        found = orjson.loads(line)
    except ValueError as error:
        return f"it is not JSON: {error}"
    return found if isinstance(found, dict) else "it is no JSON object"


def _json_cells(values: Array) -> Any:
    """What orjson writes: numbers of Python, but floats of 32 bits, which have fewer digits."""
    return np.ascontiguousarray(values) if values.dtype == np.float32 else values.tolist()


def _cell(value: Any) -> str:
    """A number with the digits of its own type; what has dimensions, as JSON."""
    if isinstance(value, np.ndarray):
        return orjson.dumps(np.ascontiguousarray(value), option=JSON_OPTIONS).decode().strip()
    return str(value)
