"""Fit models of LightGBM, XGBoost, CatBoost and statsmodels, as a notebook would, with samples.

A program: `python boosting_models.py OUTPUT` writes `<name>.joblib`, samples in a form that `make
model` reads, and `answers/<name>.npz` with what the model answered in this process.
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
from statsmodels.formula import api as formula
from statsmodels.regression.linear_model import OLS

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


def models() -> dict[str, tuple[Any, Any, str]]:
    """Name to a fitted model, what it is called with, and the form of its samples."""
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
    for name, (model, inputs, form) in models().items():
        joblib.dump(model, output / f"{name}.joblib")
        write_samples(model, inputs, output / f"{name}.{form}")
        first = inputs[:SAMPLES]
        asked = xgboost.DMatrix(first) if isinstance(model, xgboost.Booster) else first
        answers: dict[str, Any] = {"answer": np.asarray(model.predict(asked))}
        if hasattr(model, "predict_proba"):
            answers["probabilities"] = np.asarray(model.predict_proba(first))
        np.savez(output / "answers" / f"{name}.npz", **answers)


if __name__ == "__main__":
    main()
