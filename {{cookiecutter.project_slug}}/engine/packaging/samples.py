"""Sample inputs: read from a file, or made up where nothing better was given."""

from __future__ import annotations

import csv
import itertools
import json
import re
import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np

from engine.packaging.record import is_date, table_columns
from engine.serving.errors import PackageError
from engine.serving.reasons import reason_of
from engine.serving.tensors.datatypes import NUMPY, Array, canonical

SEED = 20
MOST_ROWS = 64
OUTPUT = "output/"
# Under these keys JSON holds a table or arrays, the first of them that is there.
# Of a captured row, the answer; see engine.serving.capture.rows.
CAPTURED = "captured"
WRAPPERS = ("dataframe_split", "dataframe_records", "inputs", "instances", "data")
KINDS = ".npz, .npy, .csv, .json, .jsonl and .parquet"

# "number" is whole where all cells are, "float" never; "literal" is text in which nothing is
# missing, not even what pandas takes for that; "date" is a point in time without a time zone.
Kind = Literal["number", "float", "bool", "string", "literal", "date"]
TYPES: Final = get_args(Kind)
NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
WHOLE: Final = re.compile(r"[+-]?\d+")
# Digits that a program would not write for a number: they may be a code, as postal codes are.
CODE_LIKE: Final = re.compile(r"[+-]?0\d.*|\+.*|\s.*|.*\s", re.DOTALL)
DATE: Final = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?")
DATES: Final = np.dtype("datetime64[us]")
TABLE: Final = 2  # dimensions
INT64: Final = np.iinfo(np.int64)
# Source: pandas, "read_csv", na_values.
MISSING: Final = frozenset(
    ("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND",
     "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null")
)  # fmt: skip
BOOLEANS: Final = {word: word.lower() == "true" for word in
                   ("True", "TRUE", "true", "False", "FALSE", "false")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples as they were given.

    A file of named arrays fills ``arrays``, and ``outputs`` where it holds the training
    framework's answers as ``output/<name>``; so does a table with such columns. One array without a
    name is ``arrays[""]``. A table with named columns fills ``columns``; a missing text is None.
    CSV has no types, and JSON none for dates: ``readings`` holds, for a column that may be of
    several, the others by their name, the likeliest first, and ``texts`` what an answer is as text.
    ``exact`` are columns as pandas holds them, where numpy has no such type; ``order`` are the
    columns of training, where what the samples belong to tells them.
    """

    arrays: Mapping[str, Array] = field(default_factory=dict)
    outputs: Mapping[str, Array] = field(default_factory=dict)
    columns: Mapping[str, Array] = field(default_factory=dict)
    readings: Mapping[str, Mapping[Kind, Array]] = field(default_factory=dict)
    texts: Mapping[str, Array] = field(default_factory=dict)
    exact: Mapping[str, Any] = field(default_factory=dict)
    order: tuple[str, ...] = ()

    def answer(self, name: str, dtype: np.dtype[Any]) -> Array:
        """A given answer; the cells of a CSV file are text where the model answers with text."""
        return self.texts[name] if dtype.kind == "O" and name in self.texts else self.outputs[name]


def read_samples(path: Path, types: Mapping[str, str] | None = None) -> Samples:
    """Read samples; about 64 rows of a table are kept.

    Args:
        path: the file.
        types: of columns of a CSV file, where the person says them.

    Raises:
        PackageError: missing, of another kind, or unreadable.
    """
    readers = {
        ".npz": _npz, ".npy": _npy, ".csv": _csv, ".json": _json, ".jsonl": _json_lines,
        ".parquet": _parquet,
    }  # fmt: skip
    reader = readers.get(path.suffix)
    if reader is None:
        raise PackageError(f"{path}: samples are read from {KINDS} files")
    try:
        given = _with_answers(_with_types(reader(path), types or {}, path), path)
    except OSError as error:
        raise PackageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, zipfile.BadZipFile, csv.Error) as error:
        # numpy's sentence names an option that would unpickle them.
        objects = "it holds Python objects, which are not unpickled; write text with astype(str)"
        reason = objects if "allow_pickle" in str(error) else reason_of(error)
        raise PackageError(f"{path}: cannot be read as samples: {reason}") from None
    except (TypeError, AttributeError, IndexError):
        raise PackageError(
            f"{path}: holds neither a table nor arrays; write a list of records, or an object with "
            '"columns" and "data", as DataFrame.to_json(orient="split") does'
        ) from None
    if not any(each.size for each in (*given.arrays.values(), *given.columns.values())):
        raise PackageError(f"{path}: holds no rows; give a few inputs of the model")
    return given


def _npz(path: Path) -> Samples:
    with np.load(path, allow_pickle=False) as archive:
        return _named({name: archive[name] for name in archive.files})


def _named(arrays: Mapping[str, Any]) -> Samples:
    typed = {name: _array(value, name) for name, value in arrays.items()}
    outputs = {n.removeprefix(OUTPUT): a for n, a in typed.items() if n.startswith(OUTPUT)}
    inputs = {n.removeprefix("input/"): a for n, a in typed.items() if not n.startswith(OUTPUT)}
    return Samples(arrays=inputs, outputs=outputs)


def _npy(path: Path) -> Samples:
    return Samples(arrays={"": _array(np.load(path, allow_pickle=False), path.name)})


def _csv(path: Path) -> Samples:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [*csv.reader(file)] or [[]]
    except UnicodeDecodeError as error:
        byte = f"byte {error.start} is {error.object[error.start]:#04x}"
        raise ValueError(f"{byte}, which is no UTF-8; save the file as UTF-8") from None
    rows = [row for row in rows if row]  # pandas skips empty lines
    if not rows or any(len(row) != len(header) for row in rows):
        raise ValueError("it needs a header line and rows of the same length")
    _refuse_twice(header)
    # All cells say what a column may be, and those kept hold one of each kind that is doubtful.
    kept = _telling(rows)
    found = {
        name: {kind: each[kept] for kind, each in readings([row[i] for row in rows]).items()}
        for i, name in enumerate(header)
    }
    return Samples(
        columns={name: next(iter(each.values())) for name, each in found.items()}, readings=found
    )


def _refuse_twice(names: list[str]) -> None:
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise ValueError(f"two columns are called {twice[0]!r}; names must differ")


def _telling(rows: list[list[str]]) -> list[int]:
    """The first rows, and for each column the first with each kind of gap and with a code."""
    doubtful: dict[tuple[int, str], int] = {}
    for place, row in enumerate(rows):
        for i, cell in enumerate(row):
            if cell in MISSING or CODE_LIKE.fullmatch(cell):
                doubtful.setdefault((i, cell if cell in MISSING else "code"), place)
    needed = set(doubtful.values())
    others = (place for place in range(len(rows)) if place not in needed)
    return sorted(needed.union(itertools.islice(others, max(MOST_ROWS - len(needed), 0))))


def _json(path: Path) -> Samples:
    """MLflow's ways to write an input example: a split table, records, or plain nested lists."""
    return _given(json.loads(path.read_text(encoding="utf-8")))


def _json_lines(path: Path) -> Samples:
    """A record on each line, such as captured requests, whose answers are left out."""
    lines = filter(str.strip, path.read_text(encoding="utf-8").splitlines())
    records = [json.loads(line) for line in lines]
    rows = [{k: v for k, v in each.items() if k != CAPTURED} for each in records]
    if rows and any(isinstance(value, list) for value in rows[0].values()):
        # No table: each line has a row of each input.
        return _given({"inputs": {name: [row[name] for row in rows] for name in rows[0]}})
    return _given(rows)


def _given(content: Any) -> Samples:
    content, answers = parted(content)
    given = _inputs(content)
    rows = content.get("data", ()) if isinstance(content, dict) else content
    for name, each in answers.items():
        # Only the first rows of a table are kept, and so are their answers.
        cut = given.columns and isinstance(each, list) and len(each) == len(rows)
        answers[name] = _array(each[:MOST_ROWS] if cut else each, name)
    return replace(given, outputs={**given.outputs, **answers})


def _parquet(path: Path) -> Samples:
    """A table whose columns have types; pandas reads it, with a library that it names."""
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except ImportError:
        raise PackageError(
            f"{path}: pandas reads Parquet with pyarrow, which is not installed: add it to "
            "requirements/train.in, and run `make lock`"
        ) from None
    frame = frame[:MOST_ROWS].reset_index(drop=True)
    dates = {str(name) for name in frame if is_date(frame[name])}
    given = _table(table_columns(frame), dates)
    return replace(given, readings={}, exact={str(name): frame[name] for name in frame})


def parted(content: Any) -> tuple[Any, dict[str, Any]]:
    """Of a JSON document: what holds the inputs, and answers beside it, by the names of outputs."""
    wrapped = isinstance(content, dict) and {*WRAPPERS, "columns"} & content.keys()
    if not wrapped or _is_of_pandas(content):
        return content, {}
    answers = {n.removeprefix(OUTPUT): each for n, each in content.items() if n.startswith(OUTPUT)}
    beside = content.get("outputs") or {}
    if not isinstance(beside, dict):
        raise ValueError('"outputs" holds no names; write {"outputs": {"NAME": [...]}}')
    answers |= {name.removeprefix(OUTPUT): each for name, each in beside.items()}
    if "columns" not in content:
        content = next(content[key] for key in WRAPPERS if key in content)
    return content, answers


def _is_of_pandas(content: Mapping[str, Any]) -> bool:
    """Whether these are columns of cells by the numbers of their rows, whatever their names."""
    return all(
        isinstance(each, dict)
        and each
        and all(row.isdigit() and not isinstance(cell, (list, dict)) for row, cell in each.items())
        for each in content.values()
    )


def _inputs(content: Any) -> Samples:
    if isinstance(content, dict) and "columns" in content and not _is_of_pandas(content):
        rows = content["data"][:MOST_ROWS]
        names = [str(name) for name in content["columns"]]
        _refuse_twice(names)
        if any(len(row) != len(names) for row in rows):
            raise ValueError(f"each row of data needs {len(names)} cells, as there are columns")
        types: Mapping[str, Any] = content.get("types") or {}
        dates = {name for name, kind in types.items() if kind == "date"}
        return _table({n: [row[i] for row in rows] for i, n in enumerate(names)}, dates)
    if isinstance(content, list) and content and isinstance(content[0], dict):
        names = list(dict.fromkeys(name for row in content for name in row))
        rows = content[:MOST_ROWS]
        return _table({name: [row.get(name) for row in rows] for name in names})
    if isinstance(content, dict) and content and all(isinstance(v, dict) for v in content.values()):
        return _of_pandas(content)
    if isinstance(content, dict):
        return _named({str(name): value for name, value in content.items()})
    return Samples(arrays={"": _array(content)})


def _of_pandas(content: Mapping[str, Mapping[str, Any]]) -> Samples:
    """What ``DataFrame.to_json()`` writes: by column and row, or with ``orient="index"`` by row."""
    first = next(iter(content.values()))
    if all(key.isdigit() for key in content) and not all(key.isdigit() for key in first):
        return _inputs(list(content.values()))
    rows = list(first)[:MOST_ROWS]
    return _table({name: [each.get(row) for row in rows] for name, each in content.items()})


def _table(columns: Mapping[str, list[Any]], dates: Collection[str] = ()) -> Samples:
    """A table of values that have types; ``dates`` are columns that are known to hold them."""
    found: dict[str, Array] = {}
    open_types: dict[str, Mapping[Kind, Array]] = {}
    exact: dict[str, Any] = {}
    for name, values in columns.items():
        found[name] = column(values, name)
        times = _dates(values)
        if times is not None and name in dates:
            found[name] = times
        elif times is not None and found[name].dtype.kind == "O":
            open_types[name] = {"string": found[name], "date": times}
        if None in values and all(type(each) is int for each in values if each is not None):
            import pandas as pd

            exact[name] = pd.Series(pd.array(values, dtype="Int64"))
    return Samples(columns=found, readings=open_types, exact=exact)


def _dates(values: list[Any]) -> Array | None:
    """Points in time, NaT where one is missing; None where the values are not all written so."""
    present = [each for each in values if each is not None]
    if not all(isinstance(each, str) and DATE.fullmatch(each) for each in present):
        return None
    try:
        return np.array(["NaT" if each is None else each for each in values], dtype=DATES)
    except ValueError:  # no such day
        return None


def _array(value: Any, name: str = "") -> Array:
    """An array of a datatype that can be carried, or of objects where columns differ in type."""
    if isinstance(value, list):
        kinds = {_kind(cell) for cell in _cells(value)}
        if not any(isinstance(each, list) for each in value):
            return column(value, name)
        if kinds == {"numbers", "null"}:
            value = np.array(value, dtype=np.float64)
        elif len(kinds) > 1:
            mixed: Array = np.array(value, dtype=np.object_)
            if mixed.ndim == TABLE:
                return mixed
    array = canonical(np.asarray(value))
    if array.dtype not in NUMPY.values() or (array.dtype.kind == "O" and not _is_text(array)):
        raise ValueError(
            f"{name or 'the array'} holds {array.dtype}, or lists that differ in length; numbers, "
            "booleans and text of one shape can be carried"
        )
    return array


def _cells(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value:
            yield from _cells(each)
    else:
        yield value


def _is_text(array: Array) -> bool:
    return all(isinstance(each, str) for each in array.reshape(-1))


def _kind(value: Any) -> str:
    """What a value of JSON is called."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true and false"
    if isinstance(value, (int, float)):
        return "numbers"
    return "text" if isinstance(value, str) else "lists"


def column(values: list[Any], name: str) -> Array:
    """One column of values that have types: numbers (NaN where null), booleans, or text.

    Raises:
        ValueError: values of several types, or lists.
    """
    kinds = {_kind(value) for value in values}
    gaps = "null" in kinds
    kinds -= {"null"}
    if len(kinds) > 1 or "lists" in kinds or (gaps and "true and false" in kinds):
        mixed = ", ".join(sorted(kinds | ({"null"} if gaps else set())))
        raise ValueError(
            f"column {name!r} holds {mixed}, and one type can be carried; write all of its values "
            "as numbers or as text"
        )
    if kinds == {"text"}:
        return np.array(values, dtype=np.object_)
    if kinds == {"true and false"}:
        return np.array(values, dtype=np.bool_)
    if not gaps and all(isinstance(value, int) for value in values):
        if any(not INT64.min <= value <= INT64.max for value in values):
            raise ValueError(f"column {name!r} holds whole numbers beyond 64 bits; write text")
        return np.array(values, dtype=np.int64)
    return np.array([np.nan if each is None else each for each in values], dtype=np.float64)


def readings(cells: list[str]) -> dict[Kind, Array]:
    """What the cells of a CSV column may be, as pandas would read them first."""
    missing = [cell in MISSING for cell in cells]
    present = [cell.strip() for cell, gap in zip(cells, missing, strict=True) if not gap]
    found: dict[Kind, Array] = {}
    if present and all(cell in BOOLEANS for cell in present) and not any(missing):
        found["bool"] = np.array([BOOLEANS[cell.strip()] for cell in cells])
    elif all(NUMBER.fullmatch(cell) for cell in present):
        whole = all(WHOLE.fullmatch(cell) for cell in present) and not any(missing)
        fits = all(INT64.min <= int(cell) <= INT64.max for cell in present) if whole else True
        filled = iter(present)
        numbers = ["nan" if gap else next(filled) for gap in missing]
        if whole and fits:
            found["number"] = np.array([int(each) for each in numbers], dtype=np.int64)
            found["float"] = found["number"].astype(np.float64)
        elif fits:
            found["number"] = np.array([float(each) for each in numbers], dtype=np.float64)
    found["string"] = np.array(
        [None if gap else cell for cell, gap in zip(cells, missing, strict=True)], dtype=np.object_
    )
    if any(missing):
        found["literal"] = np.array(cells, dtype=np.object_)
    times = _dates(found["string"].tolist()) if present else None
    if times is not None:
        found["date"] = times
    return found


def _with_types(given: Samples, types: Mapping[str, str], path: Path) -> Samples:
    """The samples with columns of the types that the person says."""
    columns, kept = dict(given.columns), dict(given.readings)
    for name, kind in types.items():
        if kind not in TYPES:
            raise PackageError(f"--types {name}={kind}: a type is one of {', '.join(TYPES)}")
        if name not in given.readings:
            raise PackageError(
                f"--types {name}={kind}: {path} has no column {name!r} whose type is open; columns "
                "of a CSV file and dates can be named, all others have the type of their values"
            )
        found = kept.pop(name)
        if kind not in found and kind != "literal":
            raise PackageError(f"--types {name}={kind}: {path} holds {_example(found)} there")
        columns[name] = found[kind] if kind in found else found["string"]  # type: ignore[index]
    return replace(given, columns=columns, readings=kept)


def _with_answers(given: Samples, path: Path) -> Samples:
    """The samples with columns of answers among the outputs.

    Raises:
        PackageError: answers to no inputs.
    """
    columns, kept = dict(given.columns), dict(given.readings)
    outputs, texts = dict(given.outputs), dict[str, Array]()
    for name in given.columns:
        if name.startswith(OUTPUT):
            answer = name.removeprefix(OUTPUT)
            outputs[answer] = columns.pop(name)
            found = kept.pop(name, {})
            if found:
                texts[answer] = found["literal"] if "literal" in found else found["string"]
    if outputs and not given.arrays and not columns:
        raise PackageError(
            f"{path}: holds {OUTPUT}{next(iter(outputs))} and no inputs; give the inputs that are "
            "answered so, as arrays or columns"
        )
    return replace(given, outputs=outputs, columns=columns, readings=kept, texts=texts)


def _example(found: Mapping[Kind, Array]) -> str:
    return repr(found["literal" if "literal" in found else "string"][0])


def settled(given: Samples) -> Mapping[str, Array]:
    """The columns, where nothing but their cells tells the types.

    Raises:
        PackageError: digits that may be a code.
    """
    for name, found in given.readings.items():
        cells = [str(each) for each in found["string"] if each is not None]
        code = next((cell for cell in cells if CODE_LIKE.fullmatch(cell)), None)
        if "number" in found and code is not None:
            raise PackageError(
                f"column {name!r} holds {code!r}, which can be a number or text; say "
                f"--types {name}=string or --types {name}=number, or give samples as JSON, whose "
                "values have types"
            )
    return given.columns


def text(array: Array, mark: str = "") -> Array:
    """Text with a mark where one is missing, dates among it; other arrays as they are."""
    if array.dtype.kind == "M":
        written = np.datetime_as_string(array, unit="auto").tolist()
        return np.array([mark if each == "NaT" else each for each in written], dtype=np.object_)
    if array.dtype.kind != "O":
        return array
    return np.array([mark if each is None else each for each in array], dtype=np.object_)


def made_up(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int = SEED) -> Array:
    """Random values of a dtype, the same ones every time."""
    random = np.random.default_rng(seed)
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(dtype)
    if dtype.kind == "O":
        return random.choice(np.array(["a", "b", "c"], dtype=np.object_), shape)
    return random.integers(0, 3, shape).astype(dtype)
