"""Fit a model on a table, and ask the service that has it with MLflow's own client.

A program: `python scoring_models.py fit FOLDER` writes `m.joblib`, `s.json` and `table.parquet`;
`python scoring_models.py ask FOLDER PORT` prints as JSON what the model and the service answer.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import requests
from engine.packaging.record import record
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def fit(folder: Path) -> None:
    """Train, and record samples with the model's own answers."""
    table = pd.DataFrame(
        {"age": np.arange(60) % 37 + 0.5, "port": ["C", "Q", "S"] * 20, "sex": ["f", "m"] * 30}
    )
    steps = make_column_transformer((StandardScaler(), ["age"]), (OneHotEncoder(), ["port", "sex"]))
    target = np.where((table.age > 18) ^ (table.port == "Q"), "lived", "died")
    model = make_pipeline(steps, LogisticRegression(C=99)).fit(table, target)
    joblib.dump(model, folder / "m.joblib")
    table.to_parquet(folder / "table.parquet")
    record(model, table[:12], folder / "s.json")


def ask(folder: Path, port: str) -> None:
    """Ask for a table, for its columns in another order, for one row, and with CSV."""
    model, table = joblib.load(folder / "m.joblib"), pd.read_parquet(folder / "table.parquet")
    client = ScoringServerClient("127.0.0.1", port)
    client.ping()
    given = [table, table[["sex", "age", "port"]], table.iloc[[5]]]
    answers = [client.invoke(each).get_predictions("ndarray").tolist() for each in given]
    wanted = [model.predict(each).tolist() for each in (table, table, table.iloc[[5]])]
    as_csv = requests.post(
        f"{client.url_prefix}/invocations",
        data=table.to_csv(index=False),
        headers={"Content-Type": "text/csv"},
        timeout=60,
    )
    answers.append(as_csv.json()["predictions"])
    wanted.append(wanted[0])
    print(json.dumps({"answers": answers, "wanted": wanted, "version": client.get_version()}))


if __name__ == "__main__":
    fit(Path(sys.argv[2])) if sys.argv[1] == "fit" else ask(Path(sys.argv[2]), sys.argv[3])
