"""Ways to call an estimator with samples, and what it answers to each."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.packaging.record import methods_of
from engine.packaging.samples import text
from engine.serving.errors import PackageError
from engine.serving.package.manifest import InputTensor, TableForm
from engine.serving.reasons import reason_of
from engine.serving.runtimes.tables import table_maker
from engine.serving.tensors.datatypes import Array, datatype_of

INPUT = "features"
TEXTS = "texts"
# Marks of a missing text, of which one that is no text of the samples or the model is taken.
MARKS = ("", "NULL", "\\N")
# A single row would hide that an estimator goes through the names of the columns, not the rows.
FEWEST_ROWS = 2
RELATIVE = 1e-9
# A model that was fitted on float32 computes in float32 when it is given such; the service gives it
# float64.
RELATIVE_SINGLE = 1e-4
# In what scikit-learn says when a DataFrame or an array comes where the other was fitted.
WRONG_FORM = "feature names"


@dataclass(frozen=True, slots=True)
class Table:
    """Inputs of the manifest, samples for them, and how the estimator wants them."""

    form: TableForm
    tensors: list[dict[str, Any]]
    arrays: dict[str, Array] = field(repr=False)

    def call(self, function: Any) -> Array:
        """Call an estimator's method on the samples, in float64 as it was trained."""
        return np.asarray(function(self.made()))

    def made(self) -> Any:
        """The table that the service makes of the samples."""
        inputs = tuple(InputTensor.model_validate(each) for each in self.tensors)
        make = table_maker(inputs, self.form)
        return make({name: _exact(value) for name, value in self.arrays.items()})


def _exact(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype == np.float32 else array


@dataclass(frozen=True, slots=True)
class Answers:
    """What an estimator gave for a table, method by method.

    ``misnamed`` is True where scikit-learn missed names of columns, or expected none.
    """

    values: list[Array]
    misnamed: bool

    def same_as(self, other: Answers) -> bool:
        """Whether all values are equal, numbers up to rounding."""
        return len(self.values) == len(other.values) and all(
            _same(one, another) for one, another in zip(self.values, other.values, strict=True)
        )


def _same(one: Array, other: Array) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind == "f" and other.dtype.kind == "f":
        single = min(one.dtype.itemsize, other.dtype.itemsize) < np.dtype(np.float64).itemsize
        limit = RELATIVE_SINGLE if single else RELATIVE
        return bool(np.allclose(one, other, rtol=limit, atol=limit, equal_nan=True))
    return bool(np.all(one == other))


def ask(estimator: Any, table: Any) -> Answers:
    """Call the estimator's methods.

    Raises:
        ValueError: the answer has another number of rows.
        Exception: whatever the estimator raises.
    """
    values: list[Array] = []
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        for method in methods_of(estimator).values():
            answer = getattr(estimator, method)(table)
            parts = answer if isinstance(answer, (list, tuple)) else [answer]
            values += [np.asarray(p.toarray() if hasattr(p, "toarray") else p) for p in parts]
    rows = {value.shape[:1] for value in values} - {(len(table),)}
    if rows:
        raise ValueError(f"{len(table)} rows were given, and the answer has shape {rows.pop()}")
    return Answers(values, any(WRONG_FORM in str(each.message) for each in noted))


@dataclass(frozen=True, slots=True)
class Way:
    """A form of the table, its columns in their order, and which are of pandas' type category.

    ``flat`` is one text for each row, as vectorizers take them. ``apart`` gives each column an
    input of its own. ``taken`` are values of a column that the model knows, so that none of them
    can be the mark of a gap, ``values`` those of columns whose values it knows all, and ``only``
    those of columns of which it takes no others.
    """

    form: TableForm
    names: tuple[str, ...]
    categorical: frozenset[str] = frozenset()
    flat: bool = False
    apart: bool = False
    taken: Mapping[str, frozenset[Any]] = field(default_factory=dict)
    values: Mapping[str, list[Any]] = field(default_factory=dict)
    only: Mapping[str, list[Any]] = field(default_factory=dict)

    def original(self, columns: Mapping[str, Any]) -> Any:
        """The table as Python holds it before anything of the service has touched it.

        Args:
            columns: arrays, or columns of pandas.
        """
        values = [_rows(columns[name]) for name in self.names]
        if self.form == "array":
            if self.flat:
                return np.array(_objects(values[0]), dtype=np.object_)
            if any(value.dtype.kind == "O" for value in values):
                return np.array(list(zip(*map(_objects, values), strict=True)), dtype=np.object_)
            return np.column_stack(values)
        import pandas as pd

        frame = pd.DataFrame(
            {n: pd.Series(_objects(v)) if isinstance(v, np.ndarray) and v.dtype.kind == "O" else v
             for n, v in zip(self.names, values, strict=True)}
        )  # fmt: skip
        return frame.astype({name: "category" for name in self.names if name in self.categorical})

    def tables(
        self, columns: Mapping[str, Array], number: type[np.floating[Any]], *, to_onnx: bool
    ) -> Iterator[Table]:
        """Inputs that may carry it: one for all numbers where that is enough, or one each."""
        values = {name: columns[name] for name in self.names}
        kinds = {value.dtype.kind for value in values.values()}
        if self.flat:
            ((name, array),) = values.items()
            mark = self._mark(name, array)
            tensor = _tensor(name, array, mark) | {"shape": [-1]}
            yield Table(self.form, [tensor], {name: text(array, mark)})
            return
        # The converter to ONNX joins no inputs of several types.
        one = kinds <= set("iuf") or (to_onnx and kinds <= set("iufb"))
        if one and not self.categorical and not self.apart:
            array = np.column_stack([value.astype(number) for value in values.values()])
            tensor = _tensor(INPUT, array, "") | {"shape": [-1, array.shape[1]]}
            tensor |= {"features": list(values)}
            only = {at: self.only[name] for at, name in enumerate(values) if name in self.only}
            yield Table(self.form, [tensor | ({"only": only} if only else {})], {INPUT: array})
        tensors, arrays = [], {}
        for name, value in values.items():
            typed = value.astype(number) if value.dtype.kind == "f" else value
            mark = self._mark(name, typed)
            tensor = _tensor(name, typed, mark) | {"shape": [-1, 1]}
            more: dict[str, Any] = {"categorical": name in self.categorical,
                                    "date": typed.dtype.kind == "M"}  # fmt: skip
            if name in self.only:
                more["only"] = {0: self.only[name]}
            else:
                more["values"] = self.values.get(name)
            tensors.append(tensor | {key: value for key, value in more.items() if value})
            arrays[name] = text(typed, mark).reshape(-1, 1)
        yield Table(self.form, tensors, arrays)

    def _mark(self, name: str, array: Array) -> str:
        if array.dtype.kind != "O":
            return ""
        known = set(array) | self.taken.get(name, frozenset())
        longer = (MARKS[-1] * times for times in itertools.count(2))
        return next(mark for mark in itertools.chain(MARKS, longer) if mark not in known)


def _rows(column: Any) -> Any:
    """The column, and at least two rows of it, as numpy or pandas holds it."""
    if len(column) >= FEWEST_ROWS:
        return column
    more = column.repeat(FEWEST_ROWS)
    return more if isinstance(more, np.ndarray) else more.reset_index(drop=True)


def _objects(array: Array) -> list[Any]:
    return [np.nan if each is None else each for each in array.tolist()]


def _tensor(name: str, array: Array, mark: str) -> dict[str, Any]:
    is_date = array.dtype.kind == "M"
    tensor: dict[str, Any] = {"name": name, "datatype": "BYTES" if is_date else datatype_of(array)}
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        tensor["allow_nan"] = True
    if (is_date and np.isnat(array).any()) or (
        array.dtype.kind == "O" and any(each is None for each in array)
    ):
        tensor["missing"] = mark
    return tensor


def fitting(
    estimator: Any, way: Way, columns: Mapping[str, Array], expected: Answers, *, to_onnx: bool
) -> Table:
    """Inputs whose table the estimator answers as it answers the original.

    Raises:
        PackageError: there are none.
    """
    fault = ""
    number = np.float32 if to_onnx else np.float64
    exact = way.tables(columns, np.float64, to_onnx=to_onnx)
    carried = way.tables(columns, number, to_onnx=to_onnx)
    for table, result in zip(exact, carried, strict=True):
        try:
            again = ask(estimator, _long(table).made())
        except Exception as error:  # noqa: BLE001 - estimators raise anything
            fault = f": {reason_of(error)}"
            continue
        if again.same_as(expected):
            return result
    raise PackageError(
        f"{type(estimator).__name__} answers the samples differently once they are carried as "
        f"inputs of the service{fault}; convert types inside the pipeline"
    )


def _long(table: Table) -> Table:
    arrays = {
        name: np.resize(each, (max(len(each), FEWEST_ROWS), *each.shape[1:]))
        for name, each in table.arrays.items()
    }
    return Table(table.form, table.tensors, arrays)
