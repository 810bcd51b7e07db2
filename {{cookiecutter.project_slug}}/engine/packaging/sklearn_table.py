"""The table that an estimator was trained on, as the inputs of a package.

One that was fitted on a DataFrame is called with a DataFrame of its columns, in its order; one that
was fitted on an array with an array. A type that CSV leaves open is taken from what the estimator
records. Where it records nothing, each reading is tried, and what is answered differently is
refused.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.packaging.options import Options
from engine.packaging.samples import (
    BOOLEANS,
    CODE_LIKE,
    MISSING,
    Kind,
    Samples,
    column,
)
from engine.packaging.sklearn_calls import TEXTS, Answers, Table, Way, ask, fitting
from engine.packaging.sklearn_closed import only_known
from engine.packaging.sklearn_columns import (
    Columns,
    Known,
    columns_of,
    count_of,
    formula_of,
    is_by_name,
    names_inside,
    names_of,
    writes_underscores,
)
from engine.serving.errors import PackageError
from engine.serving.reasons import reason_of
from engine.serving.tensors.datatypes import Array

TABLE = 2
MOST_EXAMPLES = 5
WORDS: Mapping[Kind, str] = {
    "number": "a number", "float": "a number", "bool": "true or false", "string": "text",
    "literal": "text", "date": "a date",
}  # fmt: skip
# What numpy calls values of these types; whole numbers, fractions and truth are equal to encoders.
KINDS: Mapping[Kind, str] = {"number": "iufb", "bool": "iufb", "string": "O", "date": "M"}
OF_LETTER: Mapping[str, Kind] = {"b": "bool", "O": "string", "M": "date"}
Readings = Mapping[str, Mapping[Kind, Array]]


def table_of(estimator: Any, given: Samples, options: Options) -> tuple[Table, list[str]]:
    """Find inputs that the estimator can be called with, and remarks for the person.

    Args:
        estimator: a fitted one.
        given: samples, as columns or as arrays.
        options: the order of the columns where it is not recorded, and whether the estimator will
            be converted to ONNX, so that numbers are carried as FP32, not as FP64.

    Raises:
        PackageError: columns are missing or of an open type, or the estimator cannot be called with
            the samples.
    """
    to_onnx = options.to == "onnx"
    names = names_of(estimator)
    order = _told_order(names, given, options)
    given, columns = _columns(estimator, given, names, order)
    ways = _ways(estimator, given, names, columns, told=bool(order))
    known = columns_of(estimator, ways[0].names)
    if known.fault:
        raise PackageError(known.fault)
    if known.categorical:
        ways = [
            Way(way.form, way.names, frozenset(known.categorical))
            for way in ways
            if way.form == "dataframe"
        ] or ways
    types = _Types(estimator, columns, given.readings, known)
    way, chosen, answers = types.settled(ways)
    _refuse_unlike(estimator, way, chosen, given.exact, answers)
    taken = {name: each.categories for name, each in known.known.items()}
    values = {name: each.values for name, each in known.known.items()}
    only = only_known(estimator, way, chosen, known.known)
    way = replace(
        way, taken=taken, values=values, only=only, apart=to_onnx and is_by_name(estimator)
    )
    table = fitting(estimator, way, chosen, answers, to_onnx=to_onnx)
    remarks = []
    recorded = order or formula_of(estimator) or _is_recorded(estimator, names, way)
    if given.columns and len(way.names) > 1 and not recorded:
        remarks.append(
            "the model does not record the names of its columns, so they are taken in the order of "
            f"the samples: {', '.join(way.names)}; --columns says another order"
        )
    return table, remarks


def _told_order(names: list[str] | None, given: Samples, options: Options) -> tuple[str, ...]:
    """The columns of training, where the model does not record them and somebody says them."""
    if not names:
        return options.columns or given.order
    if options.columns and list(options.columns) != names:
        raise PackageError(
            f"--columns {','.join(options.columns)}: the model records the columns "
            f"{','.join(names)}, and is called with those; leave --columns out"
        )
    return ()


def _columns(
    estimator: Any, given: Samples, names: list[str] | None, order: Sequence[str]
) -> tuple[Samples, dict[str, Array]]:
    """The columns that the model takes, and the samples with the same names."""
    inside = names_inside(estimator) if names is None else ()
    columns = _in_order_of_numbers(_named(given, names or list(order), inside))
    formula = formula_of(estimator)
    if formula:
        used = [name for name in columns if re.search(rf"\b{re.escape(name)}\b", formula)]
        columns = {name: columns[name] for name in used}
    wanted = names or list(order)
    if wanted and (given.columns or set(wanted) <= set(columns)):
        own = _own_names(estimator, wanted, list(columns))
        columns = {name: columns[own[name]] for name in own}
        given = replace(
            given,
            readings={n: given.readings[each] for n, each in own.items() if each in given.readings},
            exact={n: given.exact[each] for n, each in own.items() if each in given.exact},
        )
    if "" in columns:
        raise PackageError(
            "a column of the samples has no name, such as the index that to_csv() writes; leave it "
            "out (index=False), or name it as in training"
        )
    count = count_of(estimator)
    if count is not None and len(columns) != count:
        raise PackageError(
            f"the samples have {len(columns)} columns and the model was fitted on {count}; leave "
            "out what it does not take, such as the target"
        )
    readings = {n: each for n, each in given.readings.items() if n in columns}
    return replace(given, readings=readings), columns


def _in_order_of_numbers(columns: dict[str, Array]) -> dict[str, Array]:
    """Columns that are called by their positions, as pandas does where a file has no header."""
    numbers = [str(i) for i in range(len(columns))]
    return {n: columns[n] for n in numbers} if set(numbers) == set(columns) else columns


def _own_names(estimator: Any, names: Sequence[str], titles: list[str]) -> dict[str, str]:
    """The name that the model is called with for each of its columns, and that of the samples.

    Raises:
        PackageError: the samples lack columns.
    """
    plain = {_plain(title): title for title in titles}
    found = {n: n if n in titles else plain.get(_plain(n)) for n in names}
    used = [title for title in found.values() if title is not None]
    lacking = [n for n in names if (own := found[n]) is None or (own != n and used.count(own) > 1)]
    if lacking:
        others = [title for title in titles if title not in used]
        raise PackageError(
            f"the samples lack the columns {lacking} that the model was fitted on"
            + (f", and have {others} that it was not" if others else "")
            + "; name and give the columns as in training"
        )
    # LightGBM's own record has underscores, and it takes columns by their position.
    loose = writes_underscores(estimator)
    return {
        own if loose and " " not in name else name: own
        for name, own in found.items()
        if own is not None
    }


def _plain(name: str) -> str:
    """A name as LightGBM records it."""
    return name.replace(" ", "_")


def _named(given: Samples, names: list[str], inside: Sequence[list[str]]) -> dict[str, Array]:
    if given.columns:
        return dict(given.columns)
    arrays = {
        name: each
        for name, each in given.arrays.items()
        if each.ndim == 1 or each.shape[1:] == (1,)
    }
    if len(arrays) == len(given.arrays) and (len(arrays) > 1 or set(arrays) == set(names)):
        return {name: each.reshape(-1) for name, each in arrays.items()}
    if len(given.arrays) != 1:
        raise PackageError(
            f"the samples hold the arrays {sorted(given.arrays)}; a scikit-learn model takes "
            "one table, or an array for each of its columns"
        )
    (array,) = given.arrays.values()
    if array.ndim == 1 and array.dtype.kind == "O":
        return {(names or [TEXTS])[0]: array}
    if array.ndim != TABLE:
        raise PackageError(
            f"the samples have shape {list(array.shape)}; rows and columns are needed"
        )
    width = array.shape[1]
    titles = names or next(iter(inside), [])
    if len(titles) != width:
        titles = [f"x{i}" for i in range(width)]
    try:
        return {title: _typed(array[:, i], title) for i, title in enumerate(titles)}
    except ValueError as error:
        raise PackageError(f"the samples cannot be carried: {error}") from None


def _typed(array: Array, name: str) -> Array:
    return column(array.tolist(), name) if array.dtype.kind == "O" else array


def _ways(
    estimator: Any,
    given: Samples,
    names: list[str] | None,
    columns: Mapping[str, Array],
    *,
    told: bool,
) -> list[Way]:
    """Forms and orders to try, the likeliest first."""
    own = tuple(columns)
    if names:
        return [Way("dataframe", own)]
    orders = [own]
    if names is None and not told:
        # A first step of one's own records nothing, and a later one may tell what went through.
        orders = [order for order in _orders_inside(estimator, columns) if order != own] + orders
    ways = [Way("array", order) for order in orders]
    titled = told or own in _orders_inside(estimator, own)
    if names is None and (given.columns or len(given.arrays) > 1 or titled):
        ways = [Way("dataframe", order) for order in orders] + ways
    textual = columns[own[0]].dtype.kind == "O" or own[0] in given.readings
    if names is None and len(own) == 1 and textual:
        flat = Way("array", own, flat=True)
        ways = [*ways, flat] if given.columns else [flat, *ways]
    return ways


def _orders_inside(estimator: Any, columns: Iterable[str]) -> Iterator[tuple[str, ...]]:
    own = {_plain(name): name for name in columns} | {name: name for name in columns}
    for names in names_inside(estimator):
        if sorted(own.get(name, "") for name in names) == sorted(columns):
            yield tuple(own[name] for name in names)


def _is_recorded(estimator: Any, names: list[str] | None, way: Way) -> bool:
    return bool(names) or way.names in _orders_inside(estimator, way.names)


@dataclass(frozen=True, slots=True)
class _Types:
    """The types of columns that a CSV file leaves open."""

    estimator: Any
    columns: Mapping[str, Array]
    readings: Readings
    known: Columns

    def settled(self, ways: list[Way]) -> tuple[Way, dict[str, Array], Answers]:
        """A way that the estimator answers, the columns in types without doubt, the answers."""
        columns, kinds = self._likely()
        _refuse_gaps_that_are_none(self.known.none, columns)
        for name, array in columns.items():
            _refuse_contradiction(name, self.known.known.get(name), array)
        found, fault = _first(self.estimator, ways, columns)
        if found is None:
            # Text that looks like numbers, or dates, in as few of the open columns as will do.
            for names, turned in _few_first(kinds, self.readings):
                other = {name: self.readings[name][turned[name]] for name in names}
                found, _ = _first(self.estimator, ways, columns | other)
                if found is not None:
                    columns |= other
                    kinds |= {name: turned[name] for name in names}
                    break
        if found is None:
            raise PackageError(self._why_not(fault, kinds, columns))
        way, answers = found
        faults = {
            name: fault
            for name, kind in kinds.items()
            if (fault := self._open(name, kind, way, columns, answers))
        }
        if faults:
            first, *more = faults
            told = ",".join(f"{name}={kinds[name]}" for name in faults)
            also = f"; {more} are open in the same way: --types {told}, or other types"
            raise PackageError(faults[first] + (also if more else ""))
        return way, columns, answers

    def _likely(self) -> tuple[dict[str, Array], dict[str, Kind]]:
        """The likeliest type of each column, and the kinds of those that stay open."""
        columns, kinds = dict(self.columns), dict[str, Kind]()
        for name, found in self.readings.items():
            known = self.known.known.get(name)
            kind: Kind = next(iter(found))
            certain = known is not None and known.certain
            if known is not None and known.kind == "date" and "date" in found:
                kind = "date"
            elif known is not None and known.kind == "string" and certain:
                marks = {each for each in found.get("literal", ()) if each in MISSING}
                kind = "literal" if marks & known.categories else "string"
            elif kind == "string":
                _refuse_gaps_between_booleans(name, found)
            columns[name] = found[kind]
            if known is not None and kind == "literal":
                # What the encoder does not know as text is a missing value, as pandas reads it.
                gaps = MISSING - known.categories
                cells = [None if cell in gaps else cell for cell in found[kind]]
                columns[name] = np.array(cells, np.object_)
            if known is None and len(_alternatives(found, kind)) > 0:
                kinds[name] = kind
        return columns, kinds

    def _open(
        self, name: str, kind: Kind, way: Way, columns: Mapping[str, Array], answers: Answers
    ) -> str:
        """Why a column may be of another type than the one chosen; empty where it may not."""
        found = self.readings[name]
        for other in _alternatives(found, kind):
            if (kind, other) == ("number", "string") and _are_fractions(found["string"]):
                continue
            try:
                again = ask(self.estimator, way.original({**columns, name: found[other]}))
            except Exception:  # noqa: BLE001, S112 - estimators raise anything: it is not that
                continue
            cells = [str(each) for each in found.get("literal", found["string"])]
            code = next((cell for cell in cells if CODE_LIKE.fullmatch(cell)), None)
            if again.same_as(answers) and (code is None or "string" not in (kind, other)):
                continue
            odd = next((cell for cell in cells if cell in MISSING), cells[0])
            example = code or (odd if "literal" in (kind, other) else cells[0])
            return _open(name, example, kind, other)
        return ""

    def _why_not(self, fault: str, kinds: Mapping[str, Kind], columns: Mapping[str, Array]) -> str:
        """Why the samples cannot be answered: by a column where that shows, else in their words."""
        for name, array in columns.items():
            known = self.known.known.get(name)
            numeric = array.dtype.kind in "iufb"
            if known is not None and known.objects and numeric and names_of(self.estimator):
                return (
                    f"column {name!r} held {WORDS[known.kind]} as a Python object in training, and "
                    f"the service gives the model {array.dtype}, which it does not take; give the "
                    "column a type before fitting (frame.infer_objects(), or astype(str))"
                )
            category = name in self.known.categorical and "floating point" in fault
            if category and array.dtype.kind == "f" and np.isnan(array).any():
                return (
                    f"column {name!r} holds categories that are numbers, and missing values, so "
                    "that the service carries them as fractions, which the model does not take "
                    "there; make the categories text before fitting (rename_categories(str))"
                )
            if known is None or known.kind != "number":
                continue
            if array.dtype.kind == "O" and (cell := _no_number(array)) is not None:
                return (
                    f"column {name!r} holds {cell!r}, and the model computes with numbers there; "
                    "write numbers as in 1234.5, without separators and units, or encode text in "
                    "the pipeline"
                )
            gaps = np.flatnonzero(array != array)
            if len(gaps) and "NaN" in fault:
                return (
                    f"column {name!r} holds a missing value in row {int(gaps[0])}, and the model "
                    "takes none; fill it in, or impute it in the pipeline (SimpleImputer)"
                )
        open_types = ", ".join(f"{name} as {kind}" for name, kind in kinds.items())
        tried = f" ({open_types} where CSV leaves the type open)" if open_types else ""
        reason = fault
        return (
            f"{type(self.estimator).__name__} cannot be called with the samples{tried}: {reason}; "
            "give samples as the model was fitted on them: say types with --types, or write them "
            "in the notebook with record(model, X), see docs/models.md"
        )


def _few_first(
    kinds: Mapping[str, Kind], readings: Readings
) -> Iterator[tuple[Sequence[str], Mapping[str, Kind]]]:
    """Each name alone, then pairs, then all of them, with the type to try instead."""
    turned: dict[str, Kind] = {}
    for name, kind in kinds.items():
        others: tuple[Kind, ...] = ("date", "literal") if kind == "string" else ("string",)
        found = [other for other in others if other in readings[name]]
        if found:
            turned[name] = found[0]
    for size in sorted({1, 2, len(turned)}):
        for names in itertools.combinations(turned, size):
            yield names, turned


def _no_number(array: Array) -> str | None:
    """The first text that is no number."""
    for each in array:
        try:
            float(each if each is not None else "nan")
        except ValueError:
            return str(each)
    return None


def _are_fractions(cells: Array) -> bool:
    """Whether a column holds fractions, all as a program writes them: no codes, no versions."""
    present = [str(cell) for cell in cells if cell is not None]
    numbers = [repr(float(cell)).removesuffix(".0") for cell in present]
    written = numbers == [cell.removesuffix(".0") for cell in present]
    return written and any("." in cell for cell in present)


def _alternatives(found: Mapping[Kind, Array], kind: Kind) -> list[Kind]:
    """Other readings that are as good; an empty cell is a missing value to everybody."""
    others: list[Kind] = [each for each in found if each not in (kind, "literal")]
    literal = [cell for cell in found.get("literal", ()) if cell in MISSING and cell != ""]
    if kind == "string" and literal:
        others.append("literal")
    return others


def _open(name: str, example: str, kind: Kind, other: Kind) -> str:
    if other == "float":
        return (
            f"column {name!r} holds {example!r}, which can be a whole number or the fraction "
            f"{float(example)}, and the model answers them differently; say --types {name}=number "
            f"or --types {name}=float, or give samples as JSON or Parquet, whose values have types"
        )
    if "literal" in (kind, other):
        return (
            f"column {name!r} holds {example!r}, which can be text or a missing value, and the "
            f"model records neither; say --types {name}=literal or --types {name}=string (missing)"
        )
    return (
        f"column {name!r} holds {example!r}, which can be {WORDS[kind]} or {WORDS[other]}, and the "
        f"model does not record which; say --types {name}={kind} or --types {name}={other}, or "
        "give samples as JSON, whose values have types"
    )


def _refuse_gaps_that_are_none(known: Mapping[str, str], columns: Mapping[str, Array]) -> None:
    """The service fills gaps with NaN, which is another value than None to encoders."""
    for name in known:
        if any(each is None or each != each for each in columns[name]):
            raise PackageError(
                f"column {name!r} holds missing values, and the model was fitted on None there "
                f"({known[name]}), while the service fills gaps with NaN; replace None before "
                "fitting (frame.fillna(np.nan).infer_objects()), or fill in the gaps"
            )


def _refuse_contradiction(name: str, known: Known | None, array: Array) -> None:
    """Values of another type than in training, or none of those that the model knows."""
    if known is None or not known.certain:
        return
    if known.foreign is not None:
        raise PackageError(
            f"column {name!r} held {known.foreign!r} ({type(known.foreign).__name__}) in training, "
            "and the service carries numbers, booleans, text and dates without a time zone; turn "
            "it into one of these before fitting"
        )
    missing = np.array([each is None or each != each for each in array])
    present = array[~missing]
    if len(present) == 0:
        return
    told = ", ".join(sorted(map(repr, known.categories))[:MOST_EXAMPLES])
    like = f" (as {told})" if told else ""
    if array.dtype.kind not in KINDS[known.kind]:
        kind = OF_LETTER.get(array.dtype.kind, "number")
        raise PackageError(
            f"column {name!r} holds {present.tolist()[0]!r}, which is {WORDS[kind]}, and the model "
            f"was fitted on {WORDS[known.kind]} there{like}; give the values as in training"
            + (", a date as 2026-11-30 or 2026-11-30T10:15:00" if known.kind == "date" else "")
        )
    if known.complete and not known.categories.intersection(present.tolist()):
        raise PackageError(
            f"column {name!r} holds {present.tolist()[0]!r}, and the model knows none of the "
            f"values there, but {told}; give samples with values as in training"
        )


def _refuse_unlike(
    estimator: Any,
    way: Way,
    columns: Mapping[str, Array],
    exact: Mapping[str, Any],
    answers: Answers,
) -> None:
    """Columns of types that only pandas has, to which the model answers something else."""
    exact = {name: each for name, each in exact.items() if name in way.names}
    if way.form == "array" or not exact:
        return
    for name, each in [("", None), *exact.items()]:
        one = {name: each} if name else exact
        try:
            again = ask(estimator, way.original({**columns, **one}))
        except Exception:  # noqa: BLE001 - it was not fitted on that type either
            again = answers
        if not name and again.same_as(answers):
            return
        if name and not again.same_as(answers):
            raise PackageError(
                f"column {name!r} has pandas' type {each.dtype} in the samples, and the service "
                f"gives the model {columns[name].dtype} there, which it answers differently; "
                "convert it in the pipeline, or to that type before fitting (astype)"
            )
    raise PackageError(
        f"the columns {sorted(exact)} have types of pandas in the samples that the service does "
        "not carry, and the model answers differently without them; convert them in the pipeline"
    )


def _refuse_gaps_between_booleans(name: str, found: Mapping[Kind, Array]) -> None:
    values = found["string"].tolist()
    present = [value for value in values if value is not None]
    if present and len(present) < len(values) and all(value in BOOLEANS for value in present):
        raise PackageError(
            f"column {name!r} holds {present[0]!r} and missing values, and a BOOL cannot be "
            f"missing; fill them in, or say --types {name}=string if the model was fitted on text"
        )


def _first(
    estimator: Any, ways: list[Way], columns: Mapping[str, Array]
) -> tuple[tuple[Way, Answers] | None, str]:
    """The first way that the estimator answers as one that it was fitted with, or at all."""
    answered: list[tuple[Way, Answers]] = []
    fault = ""
    for way in ways:
        try:
            found = way, ask(estimator, way.original(columns))
        except Exception as error:  # noqa: BLE001 - estimators raise anything
            fault = fault or reason_of(error)
            continue
        _refuse_random(estimator, *found, columns)
        if not found[1].misnamed:
            return found, ""
        answered.append(found)
    return (answered[0] if answered else None), fault


def _refuse_random(
    estimator: Any, way: Way, answers: Answers, columns: Mapping[str, Array]
) -> None:
    if not ask(estimator, way.original(columns)).same_as(answers):
        raise PackageError(
            f"{type(estimator).__name__} answers the same rows differently each time; fix the "
            "random_state of the step that draws random numbers, or leave it out of the model"
        )
