"""Sample inputs: read from a file, or made up where nothing better was given."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import PackageError
from app.tensors.datatypes import Array, canonical

SEED = 20
MOST_ROWS = 64
KINDS = ".npz, .npy, .csv and .json"


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples as they were given.

    A file of named arrays fills ``arrays``, and ``outputs`` where it holds the training
    framework's answers as ``output/<name>``. One array without a name is ``arrays[""]``. A table
    with named columns fills ``columns``.
    """

    arrays: Mapping[str, Array] = field(default_factory=dict)
    outputs: Mapping[str, Array] = field(default_factory=dict)
    columns: Mapping[str, Array] = field(default_factory=dict)


def read_samples(path: Path) -> Samples:
    """Read samples; at most 64 rows of a table are kept.

    Raises:
        PackageError: missing, of another kind, or unreadable.
    """
    readers = {".npz": _npz, ".npy": _npy, ".csv": _csv, ".json": _json}
    reader = readers.get(path.suffix)
    if reader is None:
        raise PackageError(f"{path}: samples are read from {KINDS} files")
    try:
        return reader(path)
    except OSError as error:
        raise PackageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, zipfile.BadZipFile, csv.Error) as error:
        raise PackageError(f"{path}: cannot be read as samples: {error}") from None


def _npz(path: Path) -> Samples:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: canonical(archive[name]) for name in archive.files}
    outputs = {n.removeprefix("output/"): a for n, a in arrays.items() if n.startswith("output/")}
    inputs = {n.removeprefix("input/"): a for n, a in arrays.items() if not n.startswith("output/")}
    return Samples(arrays=inputs, outputs=outputs)


def _npy(path: Path) -> Samples:
    return Samples(arrays={"": canonical(np.load(path, allow_pickle=False))})


def _csv(path: Path) -> Samples:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *rows = list(csv.reader(file))
    rows = rows[:MOST_ROWS]
    if not rows or any(len(row) != len(header) for row in rows):
        raise ValueError("it needs a header line and rows of the same length")
    return Samples(
        columns={name: column([row[i] for row in rows]) for i, name in enumerate(header)}
    )


def _json(path: Path) -> Samples:
    """MLflow's ways to write an input example: a split table, records, or plain nested lists."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(content, dict):
        for key in ("dataframe_split", "inputs", "instances", "data"):
            if key in content and "columns" not in content:
                content = content[key]
                break
    if isinstance(content, dict) and "columns" in content:
        rows = content["data"][:MOST_ROWS]
        names = [str(name) for name in content["columns"]]
        return Samples(columns={n: column([row[i] for row in rows]) for i, n in enumerate(names)})
    if isinstance(content, list) and content and isinstance(content[0], dict):
        names = [str(name) for name in content[0]]
        rows = content[:MOST_ROWS]
        return Samples(columns={name: column([row.get(name) for row in rows]) for name in names})
    if isinstance(content, dict):
        return Samples(arrays={str(name): _array(value) for name, value in content.items()})
    return Samples(arrays={"": _array(content)})


def _array(value: Any) -> Array:
    array = np.array(value)
    if array.dtype.kind == "O":
        raise ValueError("lists of one level differ in length")
    return canonical(array)


def column(values: list[Any]) -> Array:
    """One column: whole numbers, numbers (NaN where missing), booleans, or text ("" likewise)."""
    present = [value for value in values if value is not None and value != ""]
    if present and all(isinstance(value, bool) for value in present) and present == values:
        return np.array(values, dtype=np.bool_)
    for kind, dtype in ((int, np.int64), (float, np.float64)):
        try:
            numbers = [kind(value) for value in present if _is_number(value, kind)]
        except ValueError:
            continue
        if len(numbers) != len(present) or (kind is int and len(present) != len(values)):
            continue
        filled = iter(numbers)
        whole = [next(filled) if v is not None and v != "" else np.nan for v in values]
        return np.array(whole, dtype=dtype)
    return np.array(["" if value is None else str(value) for value in values], dtype=np.object_)


def _is_number(value: Any, kind: type) -> bool:
    if isinstance(value, str):
        kind(value)
        return True
    return isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)


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
