"""What a fitted estimator records about the columns of its table: names, types, categories.

Sources: scikit-learn, "Developing scikit-learn estimators" (``feature_names_in_``,
``n_features_in_``), and what LightGBM, XGBoost and CatBoost keep in their models.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np

from engine.packaging.samples import Kind

# Fitted estimators that see the same columns as the one that holds them.
INNER = (
    "best_estimator_", "estimator_", "regressor_", "_preprocessor", "calibrated_classifiers_",
    "estimators_",
)  # fmt: skip
# Transformers of scikit-learn that pass every column on, under its position.
SAME_COLUMNS = ("SimpleImputer", "StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler")
# What scikit-learn does not convert to numbers.
ANY_TYPE = ("FunctionTransformer", "Vectorizer", "FeatureHasher", "Dummy", "TransformedTarget")
LIBRARIES = ("sklearn", "lightgbm", "xgboost", "catboost")
MOST_PARTS = 500
MOST_VALUES = 100


@dataclass(frozen=True, slots=True)
class Known:
    """What is recorded of one column.

    ``certain`` is False where a part merely computes with numbers and would convert text to them.
    ``complete`` says that ``categories`` are all values that the model knows, and ``foreign`` is
    one of a type that no client can send. ``objects`` says that numpy held numbers as objects.
    """

    kind: Kind
    certain: bool
    categories: frozenset[Any] = frozenset()
    complete: bool = False
    foreign: Any = None
    objects: bool = False

    @property
    def all_values(self) -> list[Any]:
        """All values that the model knows, in order; none where they are not recorded, or dates."""
        plain = [each.item() if isinstance(each, np.generic) else each for each in self.categories]
        return sorted(plain) if self.complete and self.kind in ("string", "number", "bool") else []

    @property
    def values(self) -> list[Any]:
        """The same where they are a choice for a person."""
        few = len(self.categories) <= MOST_VALUES and self.kind != "bool"
        return self.all_values if few else []


@dataclass(slots=True)
class Columns:
    """Records of all columns, by name; ``categorical`` are those of pandas' type category.

    ``none`` are those of which a part knows Python's None, which is another value than NaN.
    """

    known: dict[str, Known] = field(default_factory=dict)
    categorical: set[str] = field(default_factory=set)
    none: dict[str, str] = field(default_factory=dict)
    fault: str = ""

    def note(self, name: str | None, known: Known | None) -> None:
        """Keep a record; what is certain replaces what is not, and adds to what is."""
        if name is None or known is None:
            return
        before = self.known.get(name)
        if before is None or (known.certain and not before.certain):
            self.known[name] = known
        elif known.certain and known.kind == before.kind:
            # An imputer knows one of the values that the encoder after it knows.
            self.known[name] = replace(
                known,
                categories=before.categories | known.categories,
                complete=before.complete or known.complete,
            )


def names_of(estimator: Any) -> list[str] | None:
    """The columns of the table that the estimator was fitted on.

    Returns:
        Their names; an empty list where it was fitted on an array; None where nothing tells.
    """
    # scikit-learn and the wrappers of LightGBM and XGBoost; CatBoost; Boosters of both.
    for attribute in ("feature_names_in_", "feature_names_", "feature_name", "feature_names"):
        try:
            value = getattr(estimator, attribute)
            names = [str(name) for name in (value() if callable(value) else value)]
        except Exception:  # noqa: BLE001, S112 - properties raise AttributeError, NotFittedError, …
            continue
        if names:
            # LightGBM and CatBoost give the columns of an array such names.
            prefix = {"lightgbm": "Column_", "catboost": ""}.get(_library(estimator), "-")
            numbered = all(each == f"{prefix}{i}" for i, each in enumerate(names))
            return [] if numbered else names
    parts = _first_parts(estimator)
    if parts:
        return next((found for found in map(names_of, parts) if found is not None), None)
    if _library(estimator) == "statsmodels":
        return _statsmodels(estimator)
    # A class of one's own may count columns and have no use for their names.
    return [] if _library(estimator) in LIBRARIES and count_of(estimator) else None


def _library(part: Any) -> str:
    return type(part).__module__.split(".")[0]


def formula_of(estimator: Any) -> str:
    """What statsmodels' formula computes with; empty for all other models."""
    formula = getattr(getattr(estimator, "model", None), "formula", None)
    return formula.partition("~")[2] if isinstance(formula, str) else ""


def _statsmodels(results: Any) -> list[str] | None:
    """Columns of the table that results were fitted on; None for those of a formula."""
    model = getattr(results, "model", None)
    if model is None or formula_of(results):
        return None
    named = hasattr(getattr(model.data, "orig_exog", None), "columns")
    return [str(name) for name in model.exog_names] if named else []


def names_inside(estimator: Any) -> list[list[str]]:
    """Names of columns that any part was fitted on, for a table that nothing else orders."""
    found = [names_of(part) for part in itertools.islice(fitted_parts(estimator), MOST_PARTS)]
    return [names for names in found if names]


def count_of(estimator: Any) -> int | None:
    """The number of columns; None where nothing tells. CatBoost says 0 once it was pickled."""
    count = getattr(estimator, "n_features_in_", None)
    for method in ("num_features", "num_feature"):  # XGBoost's Booster, LightGBM's
        if not count and callable(getattr(estimator, method, None)):
            count = getattr(estimator, method)()
    return int(count) if count else len(getattr(estimator, "feature_names_", ())) or None


def is_by_name(estimator: Any) -> bool:
    """Whether the first step picks columns by their names."""
    return hasattr(next(iter(_first_parts(estimator)), estimator), "transformers_")


def writes_underscores(estimator: Any) -> bool:
    """Whether the names that it records are LightGBM's, with underscores for blanks.

    LightGBM takes the columns of a table by their position, whatever their names.
    """
    parts = itertools.islice(fitted_parts(estimator), MOST_PARTS)
    return any(_library(part) == "lightgbm" for part in parts)


def fitted_parts(estimator: Any) -> Iterator[Any]:
    """The estimator and the fitted ones in it."""
    yield estimator
    for inner in (*_first_parts(estimator), *_later_parts(estimator)):
        yield from fitted_parts(inner)


def _first_parts(estimator: Any) -> list[Any]:
    """Fitted estimators inside, which get the estimator's own input."""
    steps = [step for _, step in getattr(estimator, "steps", ()) if _is_part(step)]
    if steps:
        return steps[:1]
    union = [part for _, part in getattr(estimator, "transformer_list", ()) if _is_part(part)]
    if type(estimator).__name__ == "_CalibratedClassifier":
        return [estimator.estimator]
    inner = [part for name in INNER for part in _flat(getattr(estimator, name, None))]
    return union or [part for part in inner if not _is_tree(part)]


def _is_tree(part: Any) -> bool:
    """Trees say nothing that the forest does not."""
    return "sklearn.tree" in type(part).__module__


def _later_parts(estimator: Any) -> list[Any]:
    steps = [step for _, step in getattr(estimator, "steps", ()) if _is_part(step)]
    columns = [each[1] for each in getattr(estimator, "transformers_", ()) if _is_part(each[1])]
    return [*steps[1:], *columns]


def _is_part(value: Any) -> bool:
    return hasattr(value, "predict") or hasattr(value, "transform")


def _flat(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple, np.ndarray)):
        return [part for each in list(value) for part in _flat(each)]
    known = _is_part(value) or type(value).__name__ == "_CalibratedClassifier"
    return [value] if known else []


def columns_of(estimator: Any, names: Sequence[str]) -> Columns:
    """What the parts of the estimator record about the columns that it is called with.

    Args:
        estimator: a fitted one.
        names: of the columns, in the order of the table.
    """
    columns = Columns()
    _walk(estimator, list(names), columns)
    if formula_of(estimator):
        _formula(estimator, names, columns)
    return columns


def _formula(results: Any, names: Sequence[str], columns: Columns) -> None:
    """A formula knows the values of its categories, as in ``C(port)`` or ``port``."""
    factors = getattr(getattr(results.model.data, "model_spec", None), "factor_infos", {})
    for factor, info in factors.items():
        inner = re.fullmatch(r"(?:C\()?([^\W\d]\w*)(?:,.*)?\)?", factor.name())
        if info.type == "categorical" and inner is not None and inner[1] in names:
            columns.note(inner[1], _known(info.categories))


def _walk(part: Any, names: list[str | None], columns: Columns) -> list[str | None] | None:
    """Collect what a part records.

    Args:
        part: a fitted estimator.
        names: the column of the table that each of its input columns is.
        columns: collects.

    Returns:
        The column that each of its output columns is; None where that is not known.
    """
    steps = getattr(part, "steps", None)
    if steps is not None:
        after: list[str | None] | None = names
        for _, step in steps:
            after = _walk(step, after, columns) if after is not None and _is_part(step) else after
        return after
    if hasattr(part, "transformers_"):
        for _, inner, chosen in part.transformers_:
            if _is_part(inner):
                _walk(inner, _chosen(part, chosen, names), columns)
        return None
    if _is_booster(part):
        _booster(part, names, columns)
        return None
    inner_parts: list[tuple[Any, Sequence[int]]]
    inner_parts = [(inner, range(len(names))) for inner in _first_parts(part)]
    if hasattr(part, "estimators_features_"):  # bagging chooses columns
        chosen = zip(part.estimators_, part.estimators_features_, strict=True)
        inner_parts = [each for each in chosen if not _is_tree(each[0])]
    for inner, taken in inner_parts:
        _walk(inner, [names[i] for i in taken if i < len(names)], columns)
    if not inner_parts:
        _leaf(part, names, columns)
    return names if _keeps_columns(part) else None


def _keeps_columns(part: Any) -> bool:
    same = type(part).__module__.startswith("sklearn.") and type(part).__name__ in SAME_COLUMNS
    indicator = getattr(part, "indicator_", None) is not None
    dropped = getattr(part, "statistics_", None)
    # An imputer leaves out a column that had no value at all.
    gone = dropped is not None and any(each is None or each != each for each in dropped)
    return same and not indicator and not gone


def _chosen(part: Any, chosen: Any, names: list[str | None]) -> list[str | None]:
    """Columns that a ColumnTransformer gives to one of its transformers."""
    own = [str(name) for name in getattr(part, "feature_names_in_", ())]
    wanted = [chosen] if isinstance(chosen, (str, int)) else chosen
    if isinstance(wanted, slice) and not any(
        isinstance(end, str) for end in (wanted.start, wanted.stop)
    ):
        return list(names[wanted])
    if isinstance(wanted, slice):
        first = own.index(wanted.start) if wanted.start is not None else 0
        last = own.index(wanted.stop) + 1 if wanted.stop is not None else len(own)
        return list(names[first:last])
    listed = list(wanted)
    if listed and all(isinstance(each, (bool, np.bool_)) for each in listed):
        return [name for name, taken in zip(names, listed, strict=False) if taken]
    places = [own.index(each) if isinstance(each, str) else int(each) for each in listed]
    return [names[place] if place < len(names) else None for place in places]


def _leaf(part: Any, names: list[str | None], columns: Columns) -> None:
    """Encoders record the values that they know, imputers one of them; others take numbers."""
    values: Sequence[Any] | None = getattr(part, "categories_", None)
    imputes_none = getattr(part, "missing_values", 0) is None
    for name, each in zip(names, values or [()] * len(names), strict=False):
        if name is not None and (imputes_none or any(value is None for value in each)):
            columns.none.setdefault(name, type(part).__name__)
    if values is None and getattr(part, "statistics_", None) is not None:
        # A constant that fills gaps says nothing of the values around them; a text for gaps does.
        constant = getattr(part, "strategy", "") == "constant"
        gap = getattr(part, "missing_values", None)
        mark = [gap] if isinstance(gap, str) else []
        values = [mark if constant else [each, *mark] for each in part.statistics_]
    if values is not None and len(values) == len(names):
        for name, each in zip(names, values, strict=True):
            columns.note(name, _known(each, complete=hasattr(part, "categories_")))
    elif type(part).__module__.startswith("sklearn.") and not any(
        word in type(part).__name__ for word in ANY_TYPE
    ):
        for name in names:
            columns.note(name, Known("number", certain=False))


def _known(values: Any, *, complete: bool = True) -> Known | None:
    """The type of values that belong together; None where they are of several."""
    array = np.asarray(values)
    if array.dtype.kind == "M":
        return Known("date", certain=True)
    present = [each for each in np.asarray(values, dtype=object).tolist() if not _is_missing(each)]
    kinds: set[Kind] = set()
    foreign = None
    for each in present:
        if isinstance(each, str):
            kinds.add("string")
        elif isinstance(each, (bool, np.bool_)):
            kinds.add("bool")
        elif isinstance(each, (int, float, np.number)):
            kinds.add("number")
        elif isinstance(each, datetime) and each.tzinfo is None:  # pandas' own among them
            kinds.add("date")
        else:
            foreign = each
    if foreign is not None:
        return Known("string", certain=True, foreign=foreign)
    if len(kinds) != 1:
        return None
    kind = kinds.pop()
    categories = frozenset() if kind == "date" else frozenset(present)
    return Known(
        kind,
        certain=True,
        categories=categories,
        complete=complete and bool(categories),
        objects=complete and array.dtype.kind == "O",
    )


def _is_missing(value: Any) -> bool:
    """Whether it is None, NaN, NaT or pandas' NA, which is not even equal to itself."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or value != value


def _is_booster(part: Any) -> bool:
    return _library(part) in ("lightgbm", "xgboost", "catboost")


def _booster(part: Any, names: list[str | None], columns: Columns) -> None:
    """Boosters say which columns are categories; all others are numbers."""
    library = _library(part)
    reader = {"lightgbm": _lightgbm, "xgboost": _xgboost, "catboost": _catboost}[library]
    chosen: Mapping[int, Known | None] = reader(part, columns)
    for position, name in enumerate(names):
        if position not in chosen:
            columns.note(name, Known("number", certain=False))
        else:
            columns.note(name, chosen[position])
            if library != "catboost" and name is not None:
                columns.categorical.add(name)


def _lightgbm(part: Any, columns: Columns) -> dict[int, Known | None]:
    booster = getattr(part, "booster_", part)
    lists = getattr(booster, "pandas_categorical", None) or []
    infos = booster.dump_model(num_iteration=1)["feature_infos"]
    places = [
        i for i, name in enumerate(booster.feature_name()) if infos.get(name, {}).get("values")
    ]
    if len(places) != len(lists) and lists:
        columns.fault = (
            f"LightGBM holds {len(lists)} lists of categories and does not tell which columns they "
            "belong to, as when one of them is ordered or has a single category; encode that "
            "column in the pipeline (OrdinalEncoder), or leave it out"
        )
    return dict(zip(places, map(_known, lists), strict=False))


def _xgboost(part: Any, columns: Columns) -> dict[int, Known | None]:
    booster = part.get_booster() if hasattr(part, "get_booster") else part
    types = booster.feature_types or []
    places = [i for i, each in enumerate(types) if each == "c"]
    if places and not hasattr(booster, "get_categories"):
        columns.fault = (
            "this XGBoost does not store the categories of its columns, so they would be numbered "
            "by what a request holds; train with XGBoost 3.1 or newer, or encode categories in the "
            "pipeline (OrdinalEncoder)"
        )
    return {place: _known(values) for place, values in _categories(booster, places).items()}


def _categories(booster: Any, places: Sequence[int]) -> dict[int, Sequence[Any]]:
    """The categories of columns of XGBoost, which gives them away as Arrow's arrays only."""
    try:
        listed = booster.get_categories(export_to_arrow=True).to_arrow() if places else []
    except Exception:  # noqa: BLE001 - pyarrow is not installed, or knows nothing of them
        return dict.fromkeys(places, ())
    return {place: listed[place][1].to_pylist() for place in places}


def _catboost(part: Any, columns: Columns) -> dict[int, Known | None]:
    del columns
    texts = part.get_text_feature_indices() if hasattr(part, "get_text_feature_indices") else ()
    return dict.fromkeys(part.get_cat_feature_indices(), None) | dict.fromkeys(
        texts, Known("string", certain=True)
    )
