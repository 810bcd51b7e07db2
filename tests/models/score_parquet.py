"""Score a Parquet file that pandas wrote, and compare with what the estimator says of the table."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from engine.packaging.options import Options
from engine.packaging.package import package
from engine.scoring.run import Job, run
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

ROWS = 40_000


def main() -> None:
    """Package, score, compare."""
    folder = Path(sys.argv[1])
    numbers = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "id": pd.array(range(ROWS), dtype="Int64"),
            "age": numbers.normal(40, 12, ROWS).astype(np.float32),
            "port": pd.Categorical(numbers.choice(["S", "C", "Q"], ROWS)),
            "visits": pd.array(numbers.integers(0, 9, ROWS), dtype="Int32"),
            "day": pd.date_range("2026-01-01", periods=ROWS, freq="min"),
        }
    )
    used = frame[["age", "port", "visits"]].astype({"port": str, "visits": int})
    target = np.where(used["age"] + used["visits"] > 44, "yes", "no")
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["port"]), remainder="passthrough"
    )
    estimator = make_pipeline(columns, HistGradientBoostingClassifier(max_iter=8))
    estimator.fit(used[:2000], target[:2000])
    joblib.dump(estimator, folder / "m.joblib")
    used[:8].to_parquet(folder / "samples.parquet")
    options = Options(name="visitors", samples=folder / "samples.parquet")
    package(str(folder / "m.joblib"), options, folder / "models")
    os.environ["MODELS_DIR"] = str(folder / "models")
    # The first row groups are smaller than a part, and one cell is missing that must not be.
    frame.loc[ROWS - 2, "visits"] = pd.NA
    frame.to_parquet(folder / "in.parquet", row_group_size=7_001)
    done = run(Job(folder / "in.parquet", folder / "out.parquet"), print)
    assert (done.rows, done.refused) == (ROWS, 1)
    (refused,) = pd.read_csv(folder / "out.refused.csv").to_dict("records")
    assert (refused["row"], refused["column"]) == (ROWS - 1, "visits")
    found = pd.read_parquet(folder / "out.parquet")
    right = frame.drop(index=ROWS - 2).reset_index(drop=True)
    pd.testing.assert_frame_equal(found[frame.columns], right)
    expected = estimator.predict(used.drop(index=ROWS - 2))
    assert found["label"].tolist() == expected.tolist()
    assert found["probabilities.no"].dtype == np.float64
    pieces = sorted(name for name in found.columns if name.startswith("probabilities."))
    answered = found[pieces].to_numpy()
    np.testing.assert_allclose(
        answered, estimator.predict_proba(used.drop(index=ROWS - 2)), rtol=1e-9
    )


if __name__ == "__main__":
    main()
