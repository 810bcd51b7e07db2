"""Fit models of LightGBM, XGBoost, CatBoost and statsmodels, as a notebook would, with samples.

A program: `python boosting_models.py OUTPUT PART...` writes `<name>.joblib`, samples in a form that
`make model` reads, and `answers/<name>.npz` with what the model answered in this process. A part is
the name of a function.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import joblib
import lightgbm
import numpy as np
import pandas as pd
import xgboost
from engine.packaging.record import record
from sklearn import impute, linear_model, pipeline, preprocessing
from statsmodels.formula import api as formula
from statsmodels.regression.linear_model import OLS
from statsmodels.tools import add_constant

ROWS = 120
SAMPLES = 18

LIGHT: dict[str, Any] = {"n_estimators": 6, "min_child_samples": 4, "verbose": -1}
EXTREME: dict[str, Any] = {"n_estimators": 6, "enable_categorical": True}
CAT: dict[str, Any] = {"iterations": 6, "verbose": 0, "allow_writing_files": False}


def table(values: list[Any]) -> tuple[pd.DataFrame, Any]:
    """Ports of pandas' type category, ages; and classes that depend on both."""
    ports = pd.Series(values * (ROWS // len(values)))
    ages = [float(i % 50) for i in range(ROWS)]
    frame = pd.DataFrame({"port": ports.astype("category"), "age": ages})
    return frame, ((ports != values[2]) ^ (frame.age > 40)).astype(int)


def renamed() -> tuple[pd.DataFrame, Any, pd.DataFrame]:
    """Columns with blanks, classes, and the samples in another order and with underscores."""
    frame = pd.DataFrame({"mean radius": np.arange(ROWS) % 9.0, "b c": np.arange(ROWS) % 7 * 100.0})
    samples = frame[["b c", "mean radius"]].rename(columns=lambda name: name.replace(" ", "_"))
    return frame, (frame["mean radius"] > 4).astype(int), samples


def named() -> dict[str, tuple[Any, ...]]:
    """Models whose columns have blanks, another order in the samples, or codes that look whole."""
    frame, target, samples = renamed()
    constant = add_constant(frame)
    codes, of_codes = table(["01067", "02826", "80331"])
    text = codes.assign(port=codes.port.astype(str))
    rent = text.assign(rent=2 * text.age + text.port.str.len() + of_codes)
    raw = xgboost.DMatrix(codes, of_codes, enable_categorical=True)
    light, cat = lightgbm.LGBMClassifier, catboost.CatBoostClassifier
    mixed = pipeline.make_pipeline(
        preprocessing.OneHotEncoder(handle_unknown="ignore"), linear_model.LogisticRegression(C=99)
    )
    days = pd.DataFrame(
        {"day": pd.to_datetime(["2026-01-31", "2026-02-28", None] * 40), "n": [1.5, 2] * 60}
    )
    whole = pd.DataFrame({"n": pd.array([1, 2, None] * 40, dtype="Int64"), "high": [1.0, 2] * 60})
    imputed = pipeline.make_pipeline(impute.SimpleImputer(), linear_model.LogisticRegression())
    return {
        "lightgbm-blanks": (light(**LIGHT).fit(frame, target), frame, "csv", samples),
        "xgboost-blanks": (
            xgboost.XGBClassifier(**EXTREME).fit(frame, target),
            frame,
            "csv",
            samples,
        ),
        "catboost-blanks": (cat(**CAT).fit(frame, target), frame, "csv", samples),
        "statsmodels-frame": (
            OLS(target, constant).fit(),
            constant,
            "csv",
            constant[constant.columns[::-1]],
        ),
        "statsmodels-digits": (formula.ols("rent ~ C(port)", rent).fit(), text, "csv"),
        "xgboost-booster-codes": (
            xgboost.train({"objective": "binary:logistic"}, raw, 4),
            codes,
            "csv",
        ),
        "lightgbm-booster-codes": (light(**LIGHT).fit(codes, of_codes).booster_, codes, "csv"),
        "sklearn-dates": (mixed.fit(days, of_codes), days, "parquet"),
        "sklearn-whole-gaps": (imputed.fit(whole, of_codes), whole, "parquet"),
    }


def refused() -> dict[str, tuple[Any, ...]]:
    """Models that cannot be packaged from these samples without a guess."""
    words, of_words = table(["C", "Q", "S"])
    changed = words.assign(port=words.port.astype(str) + "x")
    ordered = words.assign(port=words.port.cat.as_ordered())
    gaps = words.assign(port=pd.Categorical([10, 20, None] * (ROWS // 3)))
    codes, of_codes = table(["01067", "02826", "80331"])
    text = codes.assign(port=codes.port.astype(str))
    light, extreme = lightgbm.LGBMClassifier, xgboost.XGBClassifier
    cat = catboost.CatBoostClassifier(**CAT, cat_features=["port"])
    return {
        "lightgbm-changed": (light(**LIGHT).fit(words, of_words), words, "csv", changed),
        "xgboost-changed": (extreme(**EXTREME).fit(words, of_words), words, "csv", changed),
        "xgboost-gaps": (extreme(**EXTREME).fit(gaps, of_words), gaps, "csv"),
        "lightgbm-ordered": (light(**LIGHT).fit(ordered, of_words), ordered, "csv"),
        "catboost-digits": (cat.fit(text, of_codes), text, "csv"),
    }


def models() -> dict[str, tuple[Any, ...]]:
    """Name to a fitted model, what it is called with, the form of its samples, and others."""
    words, of_words = table(["C", "Q", "S"])
    numbers, of_numbers = table([10, 20, 30])
    text = words.assign(port=words.port.astype(str))
    array = np.random.default_rng(3).uniform(0, 9, (ROWS, 2))
    of_array = (array[:, 0] > 4).astype(int)
    amounts = numbers.assign(port=numbers.port.astype(float))
    rent = pd.DataFrame({"area": amounts.age + 20, "town": text.port})
    rent["rent"] = 2 * rent.area + rent.town.map({"C": 0, "Q": 1, "S": 5}) + array[:, 1]
    raw = xgboost.DMatrix(array, of_array)
    pool = catboost.Pool(text, of_words, cat_features=["port"])
    light, light_numbers = lightgbm.LGBMClassifier, lightgbm.LGBMRegressor
    extreme, cat, cat_numbers = (
        xgboost.XGBClassifier, catboost.CatBoostClassifier, catboost.CatBoostRegressor
    )  # fmt: skip
    booster = light(**LIGHT).fit(array, of_array).booster_
    towns = rent[["area", "town"]]
    return {
        "lightgbm-array": (light(**LIGHT).fit(array, of_array), array, "npz"),
        "lightgbm-frame": (light_numbers(**LIGHT).fit(amounts, array[:, 1]), amounts, "csv"),
        "lightgbm-words": (light(**LIGHT).fit(words, of_words), words, "json"),
        "lightgbm-numbers": (light(**LIGHT).fit(numbers, of_numbers), numbers, "csv"),
        "lightgbm-parquet": (light(**LIGHT).fit(words, of_words), words, "parquet"),
        "xgboost-array": (extreme(**EXTREME).fit(array, of_array), array, "npz"),
        "xgboost-words": (extreme(**EXTREME).fit(words, of_words), words, "csv"),
        "xgboost-numbers": (extreme(**EXTREME).fit(numbers, of_numbers), numbers, "json"),
        "catboost-array": (cat(**CAT).fit(array, of_array), array, "npz"),
        "catboost-frame": (cat_numbers(**CAT).fit(amounts, array[:, 1]), amounts, "csv"),
        "catboost-words": (cat(**CAT).fit(pool), text, "json"),
        "lightgbm-booster": (booster, array, "npz"),
        "xgboost-booster": (xgboost.train({"objective": "binary:logistic"}, raw, 4), array, "npz"),
        "statsmodels-array": (OLS(array[:, 1], array).fit(), array, "npz"),
        "statsmodels-formula": (formula.ols("rent ~ area + C(town)", rent).fit(), towns, "csv"),
    }


def write_samples(model: Any, inputs: Any, path: Path) -> None:
    """The first rows in the form that the file's name says."""
    first = inputs[:SAMPLES]
    writers: dict[str, Callable[[], object]] = {
        ".npz": lambda: np.savez(path, X=first),
        ".csv": lambda: first.to_csv(path, index=False),
        ".parquet": lambda: first.to_parquet(path),
        ".json": lambda: record(model, first, path),
    }
    writers[path.suffix]()


def main() -> None:
    """Fit and store all of them."""
    output = Path(sys.argv[1])
    (output / "answers").mkdir()
    parts = {"models": models, "named": named, "refused": refused}
    chosen = {name: each for part in sys.argv[2:] for name, each in parts[part]().items()}
    for name, (model, inputs, form, *other) in chosen.items():
        joblib.dump(model, output / f"{name}.joblib")
        write_samples(model, other[0] if other else inputs, output / f"{name}.{form}")
        first = inputs[:SAMPLES]
        asked = first
        if isinstance(model, xgboost.Booster):
            asked = xgboost.DMatrix(first, enable_categorical=True)
        answers: dict[str, Any] = {"answer": np.asarray(model.predict(asked))}
        if hasattr(model, "predict_proba"):
            answers["probabilities"] = np.asarray(model.predict_proba(first))
        np.savez(output / "answers" / f"{name}.npz", **answers)


if __name__ == "__main__":
    main()
