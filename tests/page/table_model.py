"""Train a model on a table of several types, and print what it answers in Python to some rows.

A program: `python table_model.py FOLDER ROWS` writes `m.joblib` and `s.json`; ROWS is a JSON list
of objects, and the labels and the probabilities of each are printed as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from engine.packaging.record import record
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def main(folder: Path, rows: str) -> None:
    """Train, record samples with the model's own answers, and answer."""
    count = np.arange(60)
    table = pd.DataFrame(
        {
            "age": np.where(count % 7 == 6, np.nan, count % 37 + 0.5),
            "port": ["Cherbourg", "Queenstown", "Southampton"] * 20,
            "class": [1, 2, 3, 3, 2, 1] * 10,
            "alone": [True, False, False] * 20,
        }
    )
    steps = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age"]),
        (OneHotEncoder(), ["port", "class"]),
        ("passthrough", ["alone"]),
    )
    target = np.where((table["class"] > 1) ^ (table["age"] > 15), "lived", "died")
    model = make_pipeline(steps, LogisticRegression()).fit(table, target)
    joblib.dump(model, folder / "m.joblib")
    record(model, table[::5], folder / "s.json")
    asked = pd.DataFrame(json.loads(rows)).astype(table.dtypes)
    answers = {
        "labels": model.predict(asked).tolist(),
        "classes": model.classes_.tolist(),
        "probabilities": model.predict_proba(asked).tolist(),
    }
    print(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
