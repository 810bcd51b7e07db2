"""Fit estimators of many kinds and store each with samples, as a notebook would.

A program: `python sklearn_models.py OUTPUT` writes `<name>.joblib` and `<name>.npz` or
`<name>.csv`, and `answers/<name>.npz` with what scikit-learn itself answers.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn import (
    cluster,
    compose,
    datasets,
    decomposition,
    ensemble,
    feature_extraction,
    gaussian_process,
    impute,
    linear_model,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

SEED = 7
SAMPLES = 24


def numeric_classifiers() -> dict[str, Any]:
    """Estimators for iris, trained on arrays."""
    scaled = pipeline.make_pipeline(
        preprocessing.StandardScaler(), decomposition.PCA(3), linear_model.LogisticRegression()
    )
    return {
        "logistic": linear_model.LogisticRegression(max_iter=500),
        "pca-pipeline": scaled,
        "decision-tree": tree.DecisionTreeClassifier(max_depth=4, random_state=SEED),
        "random-forest": ensemble.RandomForestClassifier(20, max_depth=6, random_state=SEED),
        "gradient-boosting": ensemble.GradientBoostingClassifier(
            n_estimators=15, random_state=SEED
        ),
        "hist-boosting": ensemble.HistGradientBoostingClassifier(max_iter=15, random_state=SEED),
        "svc": svm.SVC(random_state=SEED),
        "linear-svc": svm.LinearSVC(random_state=SEED),
        "nearest-neighbours": neighbors.KNeighborsClassifier(5),
        "naive-bayes": naive_bayes.GaussianNB(),
        "neural-network": neural_network.MLPClassifier((12,), max_iter=400, random_state=SEED),
        "voting": ensemble.VotingClassifier(
            [("a", linear_model.LogisticRegression()), ("b", naive_bayes.GaussianNB())],
            voting="soft",
        ),
    }


def numeric_regressors() -> dict[str, Any]:
    """Estimators for the diabetes data, trained on arrays."""
    return {
        "ridge": linear_model.Ridge(),
        "random-forest-regressor": ensemble.RandomForestRegressor(20, random_state=SEED),
        "svr": svm.SVR(),
        "gaussian-process": gaussian_process.GaussianProcessRegressor(random_state=SEED),
    }


def others() -> dict[str, Any]:
    """Estimators without a target."""
    return {
        "k-means": cluster.KMeans(3, n_init=3, random_state=SEED),
        "isolation-forest": ensemble.IsolationForest(n_estimators=20, random_state=SEED),
        "scaler": preprocessing.MinMaxScaler(),
    }


def passengers() -> tuple[pd.DataFrame, pd.Series]:
    """A table with numbers, text, and missing values of both kinds."""
    random = np.random.default_rng(SEED)
    rows = 240
    frame = pd.DataFrame(
        {
            "age": random.uniform(1, 80, rows).round(1),
            "fare": random.exponential(30, rows).round(2),
            "children": random.integers(0, 4, rows),
            "port": random.choice(["Cherbourg", "Queenstown", "Southampton"], rows),
            "deck": random.choice(["A", "B", "C"], rows),
        }
    )
    target = ((frame["fare"] > 25) & (frame["deck"] != "C")).map({True: "yes", False: "no"})
    frame.loc[random.random(rows) < 0.15, "age"] = np.nan
    return frame, target


def with_columns(*, missing_text: bool) -> Any:
    """A pipeline that picks columns by name."""
    numbers = pipeline.make_pipeline(
        impute.SimpleImputer(strategy="median"), preprocessing.StandardScaler()
    )
    words: list[Any] = [preprocessing.OneHotEncoder(handle_unknown="ignore")]
    if missing_text:
        words.insert(0, impute.SimpleImputer(strategy="constant", fill_value="unknown"))
    columns = compose.ColumnTransformer(
        [
            ("numbers", numbers, ["age", "fare", "children"]),
            ("words", pipeline.make_pipeline(*words), ["port", "deck"]),
        ]
    )
    return pipeline.make_pipeline(columns, linear_model.LogisticRegression(max_iter=500))


def store(output: Path, name: str, estimator: Any, samples: Any) -> None:
    """The estimator, samples, and its own answers."""
    joblib.dump(estimator, output / f"{name}.joblib")
    if isinstance(samples, pd.DataFrame):
        samples.to_csv(output / f"{name}.csv", index=False)
    else:
        np.savez(output / f"{name}.npz", features=samples)
    method = estimator.predict if hasattr(estimator, "predict") else estimator.transform
    answer = np.asarray(method(samples))
    plain = answer.astype(np.str_) if answer.dtype.kind == "O" else answer
    np.savez(output / "answers" / f"{name}.npz", answer=plain)


def main() -> None:
    """Fit and store all of them."""
    output = Path(sys.argv[1])
    (output / "answers").mkdir(parents=True)
    x, y = datasets.load_iris(return_X_y=True)
    picked = np.random.default_rng(SEED).permutation(len(x))[:SAMPLES]
    # Samples that float32 holds exactly, so that both formats are asked the same.
    samples = x[picked].astype(np.float32).astype(np.float64)
    for name, estimator in numeric_classifiers().items():
        store(output, name, estimator.fit(x, y), samples)
    for name, estimator in others().items():
        store(output, name, estimator.fit(x), samples)
    x, y = datasets.load_diabetes(return_X_y=True)
    samples = x[:SAMPLES].astype(np.float32).astype(np.float64)
    for name, estimator in numeric_regressors().items():
        store(output, name, estimator.fit(x, y), samples)
    frame, target = passengers()
    whole = frame.dropna().reset_index(drop=True)
    store(output, "columns", with_columns(missing_text=False).fit(frame, target), frame[:SAMPLES])
    gaps = frame.copy()
    gaps.loc[gaps.index % 5 == 0, "port"] = np.nan
    store(output, "missing-text", with_columns(missing_text=True).fit(gaps, target), gaps[:SAMPLES])
    forest = ensemble.RandomForestClassifier(10, random_state=SEED)
    numbers = ["age", "fare"]
    store(
        output, "named-numbers", forest.fit(whole[numbers], whole["deck"]), whole[numbers][:SAMPLES]
    )
    words = pipeline.make_pipeline(
        feature_extraction.text.TfidfVectorizer(), linear_model.LogisticRegression()
    )
    texts = ["good and fine", "bad and sad", "fine day", "sad night", "good night", "bad day"]
    store(output, "tf-idf", words.fit(texts, [1, 0, 1, 0, 1, 0]), np.array(texts * 2))


if __name__ == "__main__":
    main()
